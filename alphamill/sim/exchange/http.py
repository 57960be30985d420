"""What the simulated exchange does with an HTTP request: delay it, break it or answer it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
from tornado.httputil import format_timestamp
from tornado.web import RequestHandler

from alphamill.clock import Clock, FastClock
from alphamill.frames import Market
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.exchange.config import ExchangeConfig
from alphamill.sim.exchange.fault_replies import faulty_reply
from alphamill.sim.exchange.faults import FaultKind, FaultPlan
from alphamill.sim.exchange.messages import Reply
from alphamill.sim.exchange.stream_faults import StreamFaultPlan
from alphamill.sim.exchange.streams import MarketStreams
from alphamill.sim.market import BarSource

_ZIP_FROM_BYTES = 1024
_ZIP_LEVEL = 1  # 39 % of a page is left, 34 % at level 6, which takes 3.6 times as long


class SimulatedExchange:
    """One exchange, whatever asks it: its clock, API, archive, streams and faults."""

    def __init__(self, config: ExchangeConfig, source: BarSource, clock: Clock) -> None:
        limits = dict.fromkeys(Market, config.futures_limits) | {Market.SPOT: config.spot_limits}
        self.config = config
        self._clock = FastClock(clock, config.speed, config.clock_offset_ms)
        burned = dict.fromkeys(Market, config.futures_streams.burned_frac)
        burned[Market.SPOT] = config.spot_streams.burned_frac
        self.api = ExchangeApi(source, limits, self.now_ms, config.speed, burned)
        self.archive = SimulatedArchive(source, self.now_ms, config.archive_faults, burned)
        rules = dict.fromkeys(Market, config.futures_streams) | {Market.SPOT: config.spot_streams}
        rules = {
            market: replace(rule, life_s=rule.life_s / config.speed)
            for market, rule in rules.items()
        }
        plan = StreamFaultPlan(config.stream_faults, config.seed)
        self.streams = MarketStreams(source, rules, self.now_ms, clock.monotonic_s, plan)
        self.faults = FaultPlan(config.faults, config.seed)
        self._rng = np.random.Generator(np.random.PCG64([config.seed, 1]))

    def now_ms(self) -> int:
        """The exchange's clock."""
        return self._clock.now_ms()

    def delay_s(self) -> float:
        """Half of this request's latency."""
        low, high = self.config.latency_ms
        return float(low + (high - low) * self._rng.random()) / 2000

    def stats(self) -> dict[str, Any]:
        """The API's counts, the archive's and the streams', and the faults caused."""
        counted = self.api.stats()
        counted["totals"] |= {
            **{name: self.archive.served[name] for name in ("archive_files", "archive_missing")},
            "faults": dict(self.faults.caused),
        }
        counted["streams"] = self.streams.stats()
        return counted


class HttpHandler(RequestHandler):
    """Every path; GET only."""

    def initialize(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self._gone = asyncio.Event()

    def compute_etag(self) -> None:
        """The exchange sends none."""

    def on_connection_close(self) -> None:
        self._gone.set()

    async def get(self, path: str) -> None:
        """Look up, delay, break or answer."""
        reports = {
            "/__sim__/stats": self._exchange.stats,
            "/__sim__/market": self._exchange.api.market,
        }
        if path in reports:
            self._send_whole(Reply(200, json.dumps(reports[path]()).encode()))
            return
        delay_s = self._exchange.delay_s()
        if delay_s:
            await asyncio.sleep(delay_s)
        fault = self._exchange.faults.next(path)
        reply = await self._reply_to(path, fault)
        if delay_s:
            await asyncio.sleep(delay_s)
        await self._send(reply, fault)

    async def _reply_to(self, path: str, fault: FaultKind | None) -> Reply:
        exchange, address = self._exchange, str(self.request.remote_ip)
        if path.startswith("/data/"):
            return await exchange.archive.reply(path)
        query = self._query()
        if path == "/" and query.keys() & {"prefix", "delimiter", "marker"}:
            return exchange.archive.listing({name: values[-1] for name, values in query.items()})
        if fault is FaultKind.HTTP_429:
            exchange.api.use_up(path, address)
        elif fault is FaultKind.HTTP_418:
            exchange.api.ban(path, address)
        micros = self.request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"
        pairs = [(name, value) for name, values in query.items() for value in values]
        return exchange.api.reply(path, pairs, address, micros)

    def _query(self) -> Mapping[str, list[str]]:
        arguments: Mapping[str, list[bytes]] = self.request.query_arguments
        return {
            name: [value.decode("utf-8", "replace") for value in values]
            for name, values in arguments.items()
        }

    async def _send(self, reply: Reply, fault: FaultKind | None) -> None:
        if fault is FaultKind.TIMEOUT:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), self._exchange.config.hang_s)
            self._drop(b"")
        elif fault is FaultKind.RESET:
            stream = self.detach()
            abrupt = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)
            stream.close()
        elif fault is FaultKind.TRUNCATE:
            length = len(reply.body)
            head = f"HTTP/1.1 {reply.status} OK\r\nContent-Length: {length}\r\n\r\n".encode()
            self._drop(head + reply.body[: length // 2])
        elif fault is None:
            self._send_whole(reply)
        else:
            self._send_whole(faulty_reply(fault, reply, self._exchange.config.skew_ms))

    def _send_whole(self, reply: Reply) -> None:
        self.set_status(reply.status)
        self.set_header("Server", "nginx")
        self.set_header("Date", format_timestamp(self._exchange.now_ms() / 1000))
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.set_header(name, value)
        if "X-MBX-USED-WEIGHT-1M" in reply.headers:
            self.set_header("X-MBX-UUID", str(uuid4()))
        self.finish(self._encoded(reply))

    def _encoded(self, reply: Reply) -> bytes:
        """The body, zipped where the client takes that; the archive's files are zips already."""
        text = "octet-stream" not in reply.headers.get("Content-Type", "")
        accepted = "gzip" in self.request.headers.get("Accept-Encoding", "")
        if not text or len(reply.body) < _ZIP_FROM_BYTES:
            return reply.body
        self.set_header("Vary", "Accept-Encoding")
        if not accepted:
            return reply.body
        self.set_header("Content-Encoding", "gzip")
        return gzip.compress(reply.body, _ZIP_LEVEL, mtime=0)

    def _drop(self, last_words: bytes) -> None:
        stream = self.detach()
        if last_words and not stream.closed():
            stream.write(last_words)
        stream.close()
