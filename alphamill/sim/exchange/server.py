"""The simulated exchange as an HTTP server: one process, one event loop, so that counts are exact.

GET /api/v3, /fapi/v1, /dapi/v1: ping, time, exchangeInfo, klines, ticker/24hr; of futures
    fundingRate, premiumIndexKlines, markPriceKlines, indexPriceKlines, and /futures/data/...
GET /data/{spot,futures/um,futures/cm}/{monthly,daily}/klines/...  the archive's zips and checksums
GET /data/futures/{um,cm}/...  those of funding, metrics, premium index, mark and index klines
WS  /ws/<stream>, /stream?streams=<stream>/<stream>  klines and bookTicker as they happen
    /um/{public,market,private}/ws/..., /cm/ws/...   those of futures
GET /__sim__/stats   what was used of every limit window; neither counted nor disturbed
GET /__sim__/market  what is served: recordings and their ranges, or the planted factors
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from alphamill.clock import Clock, SystemClock
from alphamill.sim.exchange.config import ExchangeConfig
from alphamill.sim.exchange.http import HttpHandler, SimulatedExchange
from alphamill.sim.exchange.websocket import ROUTE, StreamHandler
from alphamill.sim.market import BarSource

# Between looks at what is due: at the longest, since subscriptions and clocks moved by hand are not
# foreseen, and at the least.
_LONGEST_STEP_S, _SHORTEST_STEP_S = 0.05, 0.001


def _silent(_handler: RequestHandler) -> None:
    """Refusals are what a simulator is for: counted in the statistics, not logged."""


async def _serve(
    exchange: SimulatedExchange, stop: asyncio.Event, ready: Callable[[int], None]
) -> None:
    """Listen until `stop` is set; replies under way are cut off then."""
    routes: list[Any] = [
        (ROUTE, StreamHandler, {"streams": exchange.streams}),
        (r"(/.*)", HttpHandler, {"exchange": exchange}),
    ]
    server = HTTPServer(Application(routes, log_function=_silent))
    listening = socket.create_server((exchange.config.host, exchange.config.port), backlog=512)
    listening.setblocking(False)
    server.add_socket(listening)
    pushing = asyncio.create_task(_push(exchange))
    try:
        ready(listening.getsockname()[1])
        await stop.wait()
    finally:
        server.stop()
        pushing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pushing
        exchange.streams.shut_down()
        exchange.archive.close()
        await server.close_all_connections()


async def _push(exchange: SimulatedExchange) -> None:
    while True:
        due_ms = exchange.streams.push()
        due_s = (due_ms - exchange.now_ms()) / (1000 * exchange.config.speed)
        await asyncio.sleep(min(_LONGEST_STEP_S, max(_SHORTEST_STEP_S, due_s)))


def run_exchange(config: ExchangeConfig, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT, then return; `ready` is told the port once it listens.

    Main thread only. Raises Misconfigured for bad recordings, OSError for a port in use.
    """
    exchange = SimulatedExchange(config, config.source(), SystemClock())

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await _serve(exchange, stop, ready)

    asyncio.run(main())


class ExchangeServer:
    """The simulated exchange in a background thread: `with ExchangeServer(config) as exchange`.

    `source` and `clock` take the place of what the config names; the source may be shared.
    """

    def __init__(
        self,
        config: ExchangeConfig | None = None,
        source: BarSource | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config or ExchangeConfig()
        self._exchange = SimulatedExchange(
            self._config, source or self._config.source(), clock or SystemClock()
        )
        self._thread = threading.Thread(target=self._run, name="sim-exchange", daemon=True)
        self._started = threading.Event()
        self._port = 0
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        return f"http://{self._config.host}:{self._port}"

    def stats(self) -> dict[str, Any]:
        """As GET /__sim__/stats, also after the server has stopped."""
        if self._loop is None or not self._thread.is_alive():
            return self._exchange.stats()
        return asyncio.run_coroutine_threadsafe(self._stats(), self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _stats(self) -> dict[str, Any]:
        return self._exchange.stats()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()

        def ready(port: int) -> None:
            self._port = port
            self._started.set()

        await _serve(self._exchange, self._stop, ready)
