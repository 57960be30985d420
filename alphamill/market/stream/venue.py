"""How the streams of Binance's three markets are reached and what a connection may do.

Sources: "WebSocket Streams" of Spot, "Websocket Market Streams" and "Important WebSocket Change
Notice" of USD-M, "Websocket Market Streams" of COIN-M.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.market.venues import VENUES


@dataclass(frozen=True, slots=True)
class StreamVenue:
    """One market's streams.

    path: of combined streams, after the host; on USD-M with the route, without which klines are
    acknowledged and silent. variable: the setting of the host. streams: a connection at most.
    messages_per_s: from us, answers to pings included. life_s: after which the exchange ends a
    connection. attempts: to connect, of one address in five minutes, as far as is known.
    """

    path: str
    variable: str
    streams: int
    messages_per_s: int
    life_s: float
    attempts: int


_DAY_S = 86_400.0
_ATTEMPTS = 300  # documented of spot alone; futures are asked no oftener

STREAM_VENUES: Mapping[Market, StreamVenue] = {
    Market.SPOT: StreamVenue("/stream", "ALPHAMILL_STREAM_URL", 1024, 5, _DAY_S, _ATTEMPTS),
    Market.USD_M: StreamVenue(
        "/market/stream", "ALPHAMILL_UM_STREAM_URL", 1024, 10, _DAY_S, _ATTEMPTS
    ),
    Market.COIN_M: StreamVenue("/stream", "ALPHAMILL_CM_STREAM_URL", 1024, 10, _DAY_S, _ATTEMPTS),
}


def check_streams(market: Market, intervals: set[Interval]) -> None:
    """Raises GiveUp for an interval that the market has no bars of."""
    absent = intervals - VENUES[market].intervals
    if absent:
        has = ", ".join(one for one in Interval if one in VENUES[market].intervals)
        raise GiveUp(f"{market} has no streams of {', '.join(sorted(absent))}; it has {has}")
