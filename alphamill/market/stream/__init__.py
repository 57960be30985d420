"""Websocket streams of klines: read, subscribed to and kept up, without sockets but in `client`.

messages   what a frame says, and whether it can be true
plan       which streams over which connection, in which messages
connection, relay   one websocket; websockets that follow each other without a hole
skew       this machine's clock against the exchange's
expected   which bars are to come, and what became of each
streams    all of it for one market: the core that a follower asks
client     its connections as real sockets
arrivals   when each bar came, for the lake, and what that sums up to
"""

from alphamill.market.stream.connection import Action, Close, Open, Send
from alphamill.market.stream.expected import Series, Standing
from alphamill.market.stream.messages import StreamBar, klines_of, read_message, stream_name
from alphamill.market.stream.relay import Patience
from alphamill.market.stream.skew import ClockSkew
from alphamill.market.stream.streams import Absent, Closed, Event, KlineStreams, Notice, NoticeKind

__all__ = [
    "Absent",
    "Action",
    "ClockSkew",
    "Close",
    "Closed",
    "Event",
    "KlineStreams",
    "Notice",
    "NoticeKind",
    "Open",
    "Patience",
    "Send",
    "Series",
    "Standing",
    "StreamBar",
    "klines_of",
    "read_message",
    "stream_name",
]
