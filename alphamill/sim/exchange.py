"""The simulated exchange as an HTTP server: one process, one event loop, so that counts are exact.

GET /api/v3, /fapi/v1, /dapi/v1: ping, time, exchangeInfo, klines, ticker/24hr
GET /data/{spot,futures/um,futures/cm}/{monthly,daily}/klines/...  the archive's zips and checksums
GET /__sim__/stats   what was used of every limit window; neither counted nor disturbed
GET /__sim__/market  what is served: recordings and their ranges, or the planted factors
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from alphamill.clock import Clock, SystemClock
from alphamill.frames import Market
from alphamill.sim.api import Answer, ExchangeApi
from alphamill.sim.archive import ArchiveFault
from alphamill.sim.bars import BarSource
from alphamill.sim.faults import Fault, FaultKind, FaultPlan
from alphamill.sim.replay import ReplaySource
from alphamill.sim.synthetic import SyntheticMarket, SyntheticSource
from alphamill.sim.windows import Limits

_SPOT_LIMITS = Limits()
_FUTURES_LIMITS = Limits(weight=2400, requests=None)


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """All that can be chosen about the simulated exchange.

    replay: a folder of recordings; None serves `synthetic`. Both exist in memory only.
    clock_offset_ms: the server's clock less the machine's; limits and running bars follow it.
    latency_ms: least and most of a seeded uniform delay, half of it before the request is counted.
    hang_s: how long a `timeout` fault keeps a client waiting that does not give up itself.
    """

    port: int = 0  # 0: a free one
    host: str = "127.0.0.1"
    replay: Path | None = None
    replay_market: Market = Market.SPOT  # of a folder without spot, um, cm folders in it
    synthetic: SyntheticMarket = field(default_factory=SyntheticMarket)
    spot_limits: Limits = _SPOT_LIMITS
    futures_limits: Limits = _FUTURES_LIMITS  # USD-M and COIN-M each count for themselves
    clock_offset_ms: int = 0
    latency_ms: tuple[float, float] = (0.0, 0.0)
    faults: tuple[Fault, ...] = ()
    archive_faults: tuple[ArchiveFault, ...] = ()
    seed: int = 0  # of faults and latency
    hang_s: float = 120.0

    def __post_init__(self) -> None:
        if not 0 <= self.latency_ms[0] <= self.latency_ms[1]:
            raise ValueError("latency_ms must be two delays, the shorter first")

    def source(self) -> BarSource:
        """Open the recordings or generate the market; raises Misconfigured."""
        if self.replay is not None:
            return ReplaySource(self.replay, self.replay_market)
        return SyntheticSource(self.synthetic)


class _Doorway:
    """What the request handlers share: the API behind delays and faults."""

    def __init__(self, config: ExchangeConfig, source: BarSource, clock: Clock) -> None:
        limits = dict.fromkeys(Market, config.futures_limits) | {Market.SPOT: config.spot_limits}
        self.config = config
        self.api = ExchangeApi(
            source,
            limits,
            lambda: clock.now_ms() + config.clock_offset_ms,
            config.archive_faults,
        )
        self.faults = FaultPlan(config.faults, config.seed)
        self._rng = np.random.Generator(np.random.PCG64([config.seed, 1]))

    def delay_s(self) -> float:
        """Half of this request's latency."""
        low, high = self.config.latency_ms
        return float(low + (high - low) * self._rng.random()) / 2000

    def stats(self) -> dict[str, Any]:
        """The API's counts and the faults caused."""
        counted = self.api.stats()
        counted["totals"]["faults"] = dict(self.faults.caused)
        return counted


class _Handler(RequestHandler):
    """Every path; GET only."""

    def initialize(self, doorway: _Doorway) -> None:
        self._doorway = doorway
        self._gone = asyncio.Event()

    def compute_etag(self) -> None:
        """The exchange sends none."""

    def on_connection_close(self) -> None:
        self._gone.set()

    async def get(self, path: str) -> None:
        """Look up, delay, break or answer."""
        reports = {
            "/__sim__/stats": self._doorway.stats,
            "/__sim__/market": self._doorway.api.market,
        }
        if path in reports:
            self._reply(Answer(200, json.dumps(reports[path]()).encode()))
            return
        delay_s = self._doorway.delay_s()
        if delay_s:
            await asyncio.sleep(delay_s)
        answer = self._doorway.api.answer(
            path,
            [(name, value) for name, values in self._query().items() for value in values],
            str(self.request.remote_ip),
            self.request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND",
        )
        fault = self._doorway.faults.next()
        if delay_s:
            await asyncio.sleep(delay_s)
        if fault is None:
            self._reply(answer)
        else:
            await self._break(fault, answer)

    def _query(self) -> Mapping[str, list[str]]:
        arguments: Mapping[str, list[bytes]] = self.request.query_arguments
        return {
            name: [value.decode("utf-8", "replace") for value in values]
            for name, values in arguments.items()
        }

    def _reply(self, answer: Answer) -> None:
        self.set_status(answer.status)
        self.set_header("Server", "nginx")
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.set_header(name, value)
        self.finish(answer.body)

    async def _break(self, fault: FaultKind, answer: Answer) -> None:
        if fault in _FAULT_ANSWERS:
            broken = _FAULT_ANSWERS[fault]
            headers = answer.headers if fault is FaultKind.HTTP_500 else {}
            self._reply(Answer(broken.status, broken.body, {**headers, **broken.headers}))
        elif fault is FaultKind.TIMEOUT:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), self._doorway.config.hang_s)
            self._drop(b"")
        elif fault is FaultKind.RESET:
            stream = self.detach()
            abrupt = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)
            stream.close()
        else:
            length = len(answer.body)
            head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {length}\r\n\r\n".encode()
            self._drop(head + answer.body[: length // 2])

    def _drop(self, last_words: bytes) -> None:
        stream = self.detach()
        if last_words and not stream.closed():
            stream.write(last_words)
        stream.close()


_PAGE = b"<html><head><title>%s</title></head><body><center><h1>%s</h1></center></body></html>"
_HTML = {"Content-Type": "text/html"}
_FAULT_ANSWERS: Mapping[FaultKind, Answer] = {
    FaultKind.HTTP_500: Answer(
        500, b'{"code":-1000,"msg":"An unknown error occurred while processing the request."}'
    ),
    FaultKind.HTML: Answer(502, _PAGE % (b"502 Bad Gateway", b"502 Bad Gateway"), _HTML),
    FaultKind.WAF: Answer(403, _PAGE % (b"403 Forbidden", b"403 Forbidden"), _HTML),
}


def _silent(_handler: RequestHandler) -> None:
    """Refusals are what a simulator is for: counted in the statistics, not logged."""


async def _serve(
    config: ExchangeConfig, doorway: _Doorway, stop: asyncio.Event, ready: Callable[[int], None]
) -> None:
    """Listen until `stop` is set; replies under way are cut off then."""
    app = Application([(r"(/.*)", _Handler, {"doorway": doorway})], log_function=_silent)
    server = HTTPServer(app)
    listening = socket.create_server((config.host, config.port), backlog=512)
    listening.setblocking(False)
    server.add_socket(listening)
    try:
        ready(listening.getsockname()[1])
        await stop.wait()
    finally:
        server.stop()
        await server.close_all_connections()


def run_exchange(config: ExchangeConfig, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT, then return; `ready` is told the port once it listens.

    Main thread only. Raises Misconfigured for bad recordings, OSError for a port in use.
    """
    doorway = _Doorway(config, config.source(), SystemClock())

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await _serve(config, doorway, stop, ready)

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
        self._doorway = _Doorway(
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
            return self._doorway.stats()
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
        return self._doorway.stats()

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

        await _serve(self._config, self._doorway, self._stop, ready)
