"""`alphamill worker stream`: follows the lives of every market, or stands by for who does.

Not a Celery worker: nothing is queued for it. One process a market and egress follows at a time,
held by a lease in Redis, and any number may stand by, on any machine.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
from dataclasses import dataclass

from alphamill.clock import Clock, FastClock, SystemClock
from alphamill.errors import AlphamillError
from alphamill.frames import Market
from alphamill.lake import Lake
from alphamill.live.feed import ClosedBar
from alphamill.live.follower import Follower
from alphamill.live.listener import Listener
from alphamill.settings import Settings
from alphamill.stack.pools import STREAM
from workers.announce import Announcer
from workers.resources import resources

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Market:
    follower: Follower
    listener: Listener

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set."""
        try:
            while not stop.is_set():
                try:
                    self.follower.step()
                except AlphamillError as error:
                    _log.warning("%s: %s", self.follower.market, error)
                    stop.wait(1.0)
        finally:
            self.follower.close()
            self.listener.close()


def _clock(settings: Settings) -> Clock:
    speed = settings.binance.clock_speed
    return SystemClock() if speed == 1 else FastClock(SystemClock(), speed)


def _market(market: Market, settings: Settings) -> _Market:
    process = resources()
    exchange, binance = process.exchange(market), settings.binance
    clock, heard = _clock(settings), queue.SimpleQueue[ClosedBar]()
    listener = Listener(market, binance.stream_for(market), exchange, clock, heard)
    follower = Follower(
        market,
        Lake(settings.lake_uri),
        process.redis,
        exchange,
        listener,
        heard,
        clock,
        listener.now_ms,
        egress=binance.egress,
        who=f"{socket.gethostname()}:{os.getpid()}",
        secret=settings.webhook_secret.get_secret_value() if settings.webhook_secret else "",
    )
    return _Market(follower, listener)


def main() -> None:
    """Until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(name)s: %(message)s"
    )
    stop = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: stop.set())
    announcer = Announcer()
    announcer.start(f"{STREAM}-{os.getpid()}@{socket.gethostname()}", (), 1, STREAM)
    settings = resources().settings
    threads = [
        threading.Thread(target=_market(market, settings).run, args=(stop,), name=market.value)
        for market in Market
    ]
    for thread in threads:
        thread.start()
    _log.info("ready")
    while not stop.wait(1.0):
        if not all(thread.is_alive() for thread in threads):
            _log.error("a market's thread has ended; stopping, to be started again")
            stop.set()
    for thread in threads:
        thread.join()
    announcer.stop()
    _log.info("stopped")


if __name__ == "__main__":
    main()
