"""The websockets of the simulated exchange: /ws/<stream>, /stream?streams=<stream>/<stream>.

Futures, which are other hosts at the exchange, lie under /um and /cm; on USD-M the route comes
next, as in /um/market/ws/<stream>.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from alphamill.frames import Market
from alphamill.sim.exchange.connection import GOING_AWAY, POLICY_VIOLATION, Upkeep
from alphamill.sim.exchange.kline_feed import Event
from alphamill.sim.exchange.stream_rules import SPOT_STREAMS, Route
from alphamill.sim.exchange.streams import MarketStreams, in_microseconds
from alphamill.sim.exchange.subscriptions import TOO_MANY_STREAMS, BadCommand, Subscriptions

ROUTE = r"(?:/(um|cm))?(?:(?<=/um)/(public|market|private))?/(ws|stream)(?:/(.*))?"

# A frame's head as RFC 6455 lays it out: a whole text, whose length is in the next two bytes.
_TEXT_FRAME = struct.Struct("!BBH")
_FINAL_TEXT, _LENGTH_FOLLOWS = 0x81, 126


def _json(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def _note(written: asyncio.Future[None]) -> None:
    """A client that died before it had a message is no error here; `on_close` sees to it."""
    if not written.cancelled():
        written.exception()


class StreamHandler(WebSocketHandler):
    """One connection; a `Listener` of the streams."""

    def initialize(self, streams: MarketStreams) -> None:
        self._streams = streams
        self._micros = False
        self._upkeep = Upkeep(SPOT_STREAMS, 0.0)
        self.market = Market.SPOT
        self.route: Route | None = None
        self._wants = Subscriptions(SPOT_STREAMS.streams, combined=False)

    @property
    def names(self) -> dict[str, None]:
        """Of the streams it wants."""
        return self._wants.names

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - tornado's signature
        """The exchange serves pages of any origin."""
        return True

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """The handshake, unless the address has tried too often."""
        if self._streams.admits(Market(args[0] or Market.SPOT), str(self.request.remote_ip)):
            await super().get(*args, **kwargs)
        else:
            self.set_status(429)
            self.finish()

    def open(self, market: str | None, route: str | None, kind: str, path: str | None) -> None:
        """Subscribe to what the URL names; a name that says nothing is taken and stays silent."""
        self.market = Market(market or Market.SPOT)
        self.route = Route(route) if route else None
        rules, combined = self._streams.rules[self.market], kind == "stream"
        self._upkeep = Upkeep(rules, self._streams.now_s())
        self._wants = Subscriptions(rules.streams, combined)
        named = self.get_query_argument("streams", "") if combined else path or ""
        unit = self.get_query_argument("timeUnit", "").upper()
        self._micros = unit == "MICROSECOND" and self.market is Market.SPOT
        try:
            self._wants.add([name for name in named.split("/") if name])
        except BadCommand as error:
            self._end(POLICY_VIOLATION, error.args[1])
            return
        self._streams.join(self)

    def on_message(self, message: str | bytes) -> None:
        """A command, which is text."""
        if not self._hears():
            return
        if isinstance(message, bytes):
            self._end(POLICY_VIOLATION, "Invalid request")
            return
        if len(message.encode()) > self._streams.rules[self.market].message_bytes:
            return  # as if it had never come
        reply = self._wants.reply_to(message)
        self._streams.resubscribe()
        self._write(_json(reply))
        if reply.get("error", {}).get("code") == TOO_MANY_STREAMS:
            self._end(POLICY_VIOLATION, reply["error"]["msg"])

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002 - tornado's signature
        """Answered by tornado."""
        self._hears()

    def on_pong(self, data: bytes) -> None:
        """Perhaps the answer to a ping of ours."""
        if self._hears():
            self._upkeep.answered(data)

    def on_close(self) -> None:
        """Whoever closed."""
        self._streams.leave(self)

    def attend(self, now_s: float) -> None:
        """Ping or end the connection if it is time."""
        ending = self._upkeep.ending(now_s)
        if ending is not None:
            self._end(*ending)
        elif self._upkeep.wants_ping(now_s):
            payload = str(self._streams.now_ms()).encode()
            self._upkeep.pinged(payload, now_s)
            try:
                self.ping(payload)
            except WebSocketClosedError:
                self._streams.leave(self)

    def tell(self, name: str, event: Event, *, half: bool = False) -> None:
        """Send an event of stream `name`, or the half of its JSON."""
        text = self._text(name, event)
        self._write(text[: len(text) // 2] if half else text)

    def announce(self, event: Event) -> None:
        """Of the end; on spot alone."""
        if self.market is Market.SPOT:
            self.tell("!serverShutdown", event)

    def shut(self) -> None:
        """Close, and do not wait for the client's answer."""
        self._end(GOING_AWAY, "shutdown")
        self._cut()

    def drop(self) -> None:
        """Cut the connection without a closing frame."""
        self._streams.ended["dropped"] += 1
        self._streams.leave(self)
        self._cut()

    def break_off(self, name: str, event: Event) -> None:
        """Send half of the event's frame, and cut the connection."""
        payload = self._text(name, event).encode()
        frame = _TEXT_FRAME.pack(_FINAL_TEXT, _LENGTH_FOLLOWS, len(payload)) + payload
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None and not stream.closed():
            stream.write(frame[: len(frame) // 2])
        self._streams.ended["broken off"] += 1
        self._streams.leave(self)
        self._cut()

    def _cut(self) -> None:
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None:
            stream.close()

    def _hears(self) -> bool:
        """Count what came; False, and an end, if it came too fast."""
        fine = self._upkeep.hears(self._streams.now_s())
        if not fine:
            self._end(POLICY_VIOLATION, "Too many requests")
        return fine

    def _end(self, code: int, reason: str) -> None:
        self._streams.ended[reason] += 1
        self._streams.leave(self)
        self.close(code, reason)

    def _text(self, name: str, event: Event) -> str:
        told = in_microseconds(event) if self._micros else event
        return _json({"stream": name, "data": told} if self._wants.combined else told)

    def _write(self, message: str) -> None:
        try:
            written = self.write_message(message)
        except WebSocketClosedError:
            self._streams.leave(self)
        else:
            written.add_done_callback(_note)
