"""Kline streams in a thread of their own: closed bars and notices for whoever follows."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable

from alphamill.clock import Clock
from alphamill.errors import AlphamillError
from alphamill.frames import Interval, Market
from alphamill.live.complaints import Complaints
from alphamill.live.feed import PATIENCE_MS, ClosedBar, Heard
from alphamill.market.exchange import Exchange
from alphamill.market.stream import Absent, Closed, Event, KlineStreams, Notice
from alphamill.market.stream.client import StreamClient

_log = logging.getLogger(__name__)

_ASK_TIME_S = 300.0  # frames tell the time as well
_AGAIN_S = 10.0  # where it did not answer
_SILENT_MS = 10_000  # see KlineStreams


class Listener:
    """`Streams` over the exchange's websockets.

    heard: where closed bars are put. exchange: asked for its clock now and then, so that the first
    bars are taken for the right ones. speed: of the exchange's clock and `clock`'s, 1 but for a
    simulator's.
    """

    def __init__(
        self,
        market: Market,
        url: str,
        exchange: Exchange,
        clock: Clock,
        heard: Heard,
        speed: float = 1.0,
    ) -> None:
        self.problem = ""
        self._exchange, self._clock, self._heard = exchange, clock, heard
        # Waits of a network's own are as long as ever beside a clock that is faster.
        self._streams = KlineStreams(
            market,
            url,
            (),
            clock,
            patience_ms=round(PATIENCE_MS * speed),
            silent_ms=round(_SILENT_MS * speed),
            speed=speed,
        )
        self._skew_ms = 0
        self._knows_time = False
        self._ask_at_s = -1e9
        self._asking = threading.Lock()
        self._complaints = Complaints(_log, clock)
        self._wanted: frozenset[tuple[str, Interval]] = frozenset()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"streams-{market}", daemon=True)
        self._thread.start()

    def now_ms(self) -> int:
        """The exchange's clock, as frames and its API tell it; this machine's until they do."""
        return self._clock.now_ms() - self._skew_ms

    def follow(self, wanted: Iterable[tuple[str, Interval]]) -> None:
        """From now on hear these series and no others."""
        series = frozenset(wanted)
        if series and self._clock.monotonic_s() >= self._ask_at_s and not self._asking.locked():
            # Aside: an exchange that hangs must hold up nothing that streams bring.
            threading.Thread(target=self._ask_again, name="exchange-time", daemon=True).start()
        if series != self._wanted and self._tell(self._follow, sorted(series)):
            self._wanted = series

    def learn_time(self) -> None:
        """Know the exchange's clock from now on. Raises RetryLater while nobody tells it."""
        if not self._knows_time:
            self._ask_time()

    def close(self) -> None:
        """Let go of the connections."""
        self._tell(self._stop.set)
        self._thread.join(10.0)

    def _tell(self, what: Callable[..., None], *args: object) -> bool:
        """Have it done by the streams' thread; False if that has ended."""
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:  # the loop is closed: `problem` says why
            return False
        return True

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        client = StreamClient(self._streams, self._told)
        try:
            self._loop.run_until_complete(client.run(self._stop))
        except AlphamillError as error:
            self.problem = str(error)
            _log.error("streams ended: %s", error)
        finally:
            self._loop.close()

    def _follow(self, series: list[tuple[str, Interval]]) -> None:
        try:
            self._streams.follow(series)
            self.problem = ""
        except AlphamillError as error:
            self.problem = str(error)
            _log.error("these streams cannot be followed: %s", error)

    def _told(self, event: Event) -> None:
        skew_ms = self._streams.skew.at(self._clock.now_ms())
        if skew_ms is not None:
            self._skew_ms, self._knows_time = skew_ms, True
        if isinstance(event, Closed):
            bar = event.bar
            at_ms = event.received_ms - event.skew_ms
            self._heard.put(
                ClosedBar(
                    bar.symbol,
                    bar.interval,
                    bar.open_ms,
                    bar.values,
                    at_ms,
                    "stream",
                    event.skew_ms,
                    event,
                )
            )
        elif isinstance(event, Absent):
            self._heard.put(event)
        elif isinstance(event, Notice):
            _log.info("streams: %s", event.text)

    def _ask_again(self) -> None:
        try:
            self._ask_time()
        except AlphamillError as error:
            self._complaints.warn("time", f"the exchange does not tell its time: {error}")

    def _ask_time(self) -> None:
        with self._asking:
            self._ask_at_s = self._clock.monotonic_s() + _AGAIN_S
            sent_ms = self._clock.now_ms()
            server_ms = self._exchange.server_time_ms()
            received_ms = self._clock.now_ms()
            self._ask_at_s = self._clock.monotonic_s() + _ASK_TIME_S
        self._tell(self._streams.skew.asked, server_ms, sent_ms, received_ms)
        if not self._knows_time:  # frames tell it better
            self._skew_ms = (sent_ms + received_ms) // 2 - server_ms
            self._knows_time = True
