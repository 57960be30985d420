"""The websockets of the simulated exchange: /ws/<stream>, /stream?streams=<stream>/<stream>.

Futures, which are other hosts at the exchange, lie under /um and /cm.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from alphamill.frames import Market
from alphamill.sim.exchange.streams import Event, KlineStreams, in_microseconds
from alphamill.sim.exchange.subscriptions import BadCommand, Subscriptions

ROUTE = r"(?:/(um|cm))?/(ws|stream)(?:/(.*))?"
_POLICY_VIOLATION = 1008
_GOING_AWAY = 1001


class StreamHandler(WebSocketHandler):
    """One connection; a `Listener` of the streams."""

    def initialize(self, streams: KlineStreams) -> None:
        self._streams = streams
        self._rules = streams.rules
        self._timers: list[Any] = []
        self._unanswered: list[bytes] = []
        self._heard_s: deque[float] = deque(maxlen=self._rules.messages_per_s)
        self._micros = False
        self.market = Market.SPOT
        self._wants = Subscriptions(self._rules.streams, combined=False)

    @property
    def names(self) -> dict[str, None]:
        """Of the streams it wants."""
        return self._wants.names

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - tornado's signature
        """The exchange serves pages of any origin."""
        return True

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """The handshake, unless the address has tried too often."""
        if self._streams.admits(str(self.request.remote_ip), IOLoop.current().time()):
            await super().get(*args, **kwargs)
        else:
            self.set_status(429)
            self.finish()

    def open(self, market: str | None, kind: str, path: str | None) -> None:
        """Subscribe to what the URL names; a name that says nothing is taken and stays silent."""
        self.market = Market(market or Market.SPOT)
        self._wants.combined = kind == "stream"
        named = self.get_query_argument("streams", "") if self._wants.combined else path or ""
        self._micros = self.get_query_argument("timeUnit", "").upper() == "MICROSECOND"
        try:
            self._wants.add([name for name in named.split("/") if name])
        except BadCommand as error:
            self.close(_POLICY_VIOLATION, error.args[1])
            return
        self._streams.join(self)
        self._later(self._rules.ping_s, self._ping)
        self._later(self._rules.life_s, self._end, _GOING_AWAY, "end of life")

    def on_message(self, message: str | bytes) -> None:
        """A command."""
        if self._hears():
            self._write(self._wants.reply_to(message))

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002 - tornado's signature
        """Answered by tornado."""
        self._hears()

    def on_pong(self, data: bytes) -> None:
        """Only the payload of a ping of ours answers it, and those before it."""
        if self._hears() and data in self._unanswered:
            del self._unanswered[: self._unanswered.index(data) + 1]

    def on_close(self) -> None:
        """Whoever closed."""
        for timer in self._timers:
            timer.cancel()
        self._streams.leave(self)

    def tell(self, name: str, event: Event) -> None:
        """Send an event of stream `name`."""
        told = in_microseconds(event) if self._micros else event
        self._write({"stream": name, "data": told} if self._wants.combined else told)

    def shut(self, event: Event) -> None:
        """Send the last event, close, and do not wait for the client's answer."""
        self.tell("!serverShutdown", event)
        self._end(_GOING_AWAY, "shutdown")
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None:
            stream.close()

    def _hears(self) -> bool:
        """Count what came; False, and an end, if it came too fast."""
        now_s = IOLoop.current().time()
        full = len(self._heard_s) == self._rules.messages_per_s
        if full and now_s - self._heard_s[0] < 1:
            self._end(_POLICY_VIOLATION, "Too many requests")
            return False
        self._heard_s.append(now_s)
        return True

    def _ping(self) -> None:
        payload = str(self._streams.now_ms()).encode()
        self._unanswered.append(payload)
        try:
            self.ping(payload)
        except WebSocketClosedError:
            return
        self._later(self._rules.pong_within_s, self._expect_pong, payload)
        self._later(self._rules.ping_s, self._ping)

    def _expect_pong(self, payload: bytes) -> None:
        if payload in self._unanswered:
            self._end(_POLICY_VIOLATION, "Pong timeout")

    def _end(self, code: int, reason: str) -> None:
        self._streams.ended[reason] += 1
        self._streams.leave(self)
        self.close(code, reason)

    def _later(self, delay_s: float, call: Any, *args: Any) -> None:
        self._timers = [timer for timer in self._timers if timer.when() > _loop_time()]
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, call, *args))

    def _write(self, message: dict[str, Any]) -> None:
        try:
            self.write_message(json.dumps(message, separators=(",", ":"), ensure_ascii=False))
        except WebSocketClosedError:
            self._streams.leave(self)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
