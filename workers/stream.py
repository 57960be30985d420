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
from typing import Any

from alphamill.clock import Clock, FastClock, SystemClock
from alphamill.errors import AlphamillError
from alphamill.frames import Market
from alphamill.lake import Lake
from alphamill.live.feed import PATIENCE_MS, ClosedBar
from alphamill.live.follower import Follower
from alphamill.live.listener import Listener
from alphamill.market.exchange import Exchange
from alphamill.market.stream import Absent
from alphamill.redis_address import open_as
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.settings import load_settings
from alphamill.stack.pools import STREAM
from workers.announce import Announcer
from workers.connections import Connections
from workers.kernels import compile_aside
from workers.memory import leave_libraries_out

_log = logging.getLogger(__name__)

# Shorter than elsewhere: while Redis hangs bars are released between two tries.
_REDIS: dict[str, Any] = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def _clock(exchange: Exchange, speed: float, stop: threading.Event) -> Clock:
    """This machine's clock; beside a simulated exchange whose clock is faster, one like that."""
    if speed == 1:
        return SystemClock()
    told = ""
    while not stop.is_set():
        try:
            ahead_ms = exchange.server_time_ms() - SystemClock().now_ms()
            return FastClock(SystemClock(), speed, ahead_ms)
        except AlphamillError as error:
            if told != str(error):
                _log.info("waiting for the simulated exchange: %s", told := str(error))
            stop.wait(1.0)
    return SystemClock()


def _follow(market: Market, process: Connections, stop: threading.Event) -> None:
    """Follow a market's lives, or stand by, until `stop` is set."""
    settings = process.settings
    binance = settings.binance
    client = open_as(PipelinedRedis, settings.redis_url, **_REDIS)
    exchange, heard = process.exchange(market), queue.SimpleQueue[ClosedBar | Absent]()
    clock = _clock(exchange, binance.clock_speed, stop)
    listener = Listener(
        market, binance.streams_for(market), exchange, clock, heard, binance.clock_speed
    )
    follower = Follower(
        market,
        Lake(settings.lake_uri),
        client,
        exchange,
        listener,
        heard,
        clock,
        listener.now_ms,
        egress=binance.egress,
        who=f"{socket.gethostname()}:{os.getpid()}",
        secret=settings.webhook_secret.get_secret_value() if settings.webhook_secret else "",
        patience_ms=round(PATIENCE_MS * binance.clock_speed),
        compiled_for=compile_aside,
    )
    try:
        while not stop.is_set():
            try:
                follower.step()
            except AlphamillError as error:
                _log.warning("%s: %s", market, error)
                stop.wait(1.0)
    finally:
        follower.close()
        listener.close()


def main() -> None:
    """Until SIGTERM or Ctrl-C."""
    leave_libraries_out()
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(name)s: %(message)s"
    )
    stop = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: stop.set())
    process = Connections(load_settings())
    announcer = Announcer(lambda: process)
    announcer.start(f"{STREAM}-{os.getpid()}@{socket.gethostname()}", (), 1, STREAM)
    threads = [
        threading.Thread(target=_follow, args=(market, process, stop), name=market.value)
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
