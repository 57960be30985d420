"""Binance's REST API for spot, USD-M and COIN-M klines."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import requests

from alphamill import grid
from alphamill.clock import Clock
from alphamill.errors import GiveUp, Misconfigured, RetryLater
from alphamill.frames import Interval, Market, TimeRange, rows_within, times_ms
from alphamill.market import replies
from alphamill.market.exchange import Klines, RequestGate, SymbolInfo
from alphamill.market.http import BAD_URL, cause_of, open_session
from alphamill.market.klines.parse import closed, merge_klines, parse_klines, split_off_grid
from alphamill.market.replies import Reply
from alphamill.market.venues import VENUES

_INFO_TTL_S = 6 * 3600.0
_SETTLED_MS = 300_000  # a range that ended longer ago needs no fresh look at the clock
_CLOCKS_APART_MS = 10_000  # the exchange's clock and its Date header; more is a fault of one
_SOON_S = 5.0  # what may pass sooner is asked again by the client, and the pages it has are kept
_AGAIN_AFTER_S = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Info:
    symbols: Mapping[str, SymbolInfo]
    weight_limit: int
    read_s: float


class Binance:
    """An `Exchange` over HTTP; safe to share between threads.

    Every request passes the gate first. What fails and may pass within seconds (no answer, a broken
    or malformed one, 5xx) is sent `tries` times in all before it is raised. exchangeInfo is read
    before the first klines, so that the gate knows the exchange's own limit, and kept six hours.
    """

    def __init__(
        self,
        market: Market,
        base_url: str,
        gate: RequestGate,
        clock: Clock,
        timeout_s: float = 15.0,
        session: requests.Session | None = None,
        tries: int = 3,
    ) -> None:
        self._venue = VENUES[market]
        self._url = base_url.rstrip("/")
        self._gate = gate
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = session or open_session()
        self._tries = tries
        self._lock = threading.Lock()
        self._info: _Info | None = None
        self._seen_ms = 0  # the latest time that the exchange's clock is known to have reached

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def server_time_ms(self) -> int:
        """GET {prefix}/time, weight 1, "Check server time".

        Never later than the reply's own Date: a bar that still runs must not be taken for closed.
        RetryLater if the two are far apart, since one of them is wrong.
        """
        return self._patiently(self._ask_time)

    def _ask_time(self) -> int:
        slot, reply = self._get("/time", {}, 1)
        now_ms = _milliseconds(self._object(reply).get("serverTime"))
        if now_ms is None:
            raise RetryLater(f"{self._url} sent no server time", 5.0)
        date_ms = reply.date_ms()
        if date_ms is not None and abs(now_ms - date_ms) > _CLOCKS_APART_MS:
            self._observe(slot, reply)
            apart_s = (now_ms - date_ms) / 1000
            raise RetryLater(
                f"{self._url} has a clock that is off: its time and its Date header are "
                f"{apart_s:+.0f} s apart",
                5.0,
            )
        used = reply.used_weight()
        if used is not None:
            self._gate.observe(slot, used, now_ms)
        known_ms = now_ms if date_ms is None else min(now_ms, date_ms)
        self._seen_ms = max(self._seen_ms, known_ms)
        return known_ms

    def reached_ms(self, wanted_ms: int) -> int:
        """A time that the exchange's clock has reached; asked anew if the known one is earlier."""
        if self._seen_ms < wanted_ms:
            self.server_time_ms()
        return self._seen_ms

    def symbols(self, max_age_s: float | None = None) -> Mapping[str, SymbolInfo]:
        """GET {prefix}/exchangeInfo, weight 20 (futures 1), "Exchange information"; cached."""
        return self._exchange_info(_INFO_TTL_S if max_age_s is None else max_age_s).symbols

    def weight_limit(self) -> int:
        """REQUEST_WEIGHT a minute as exchangeInfo states it; cached."""
        return self._exchange_info().weight_limit

    def quote_volumes(self) -> Mapping[str, float]:
        """GET {prefix}/ticker/24hr, weight 80 (futures 40), "24hr Ticker Price Change Statistics".

        The last 24 hours' volume of every symbol, in quote units (on COIN-M in US dollars).
        """
        weight = self._venue.ticker_weight
        return self.ask("/ticker/24hr", {}, weight, self._read_quote_volumes)

    def _read_quote_volumes(self, body: bytes) -> Mapping[str, float]:
        try:
            return {item["symbol"]: _quote_volume(item) for item in json.loads(body)}
        except (ValueError, TypeError, KeyError) as error:
            raise RetryLater(
                f"{self._url} sent a malformed ticker/24hr ({error!r})", 5.0
            ) from error

    def klines(
        self,
        symbol: str,
        interval: Interval,
        start_ms: int,
        end_ms: int,
        path: str = "/klines",
        named: Mapping[str, str] | None = None,
    ) -> Klines:
        """GET {prefix}/klines, "Kline/Candlestick data"; weight 2, on futures by the page.

        Closed bars with start_ms <= open_time < end_ms. path: of klines of another kind, which may
        be asked for by other names than the symbol. Raises GiveUp for a symbol or interval that the
        exchange does not have, RetryLater for all that may pass.
        """
        if interval not in self._venue.intervals:
            raise GiveUp(f"{symbol}: this market has no {interval} klines")
        self._exchange_info()
        now_ms = self.reached_ms(grid.next_ms(interval, end_ms) + _SETTLED_MS)
        pages, cursor_ms = [], grid.ceil_ms(interval, start_ms)
        end_ms = min(end_ms, now_ms)
        requests_made = 0
        names = named or {"symbol": symbol}
        while cursor_ms < end_ms:
            page, window_end_ms = self._page(path, names, interval, cursor_ms, end_ms)
            requests_made += 1
            if page.num_rows:
                cursor_ms = _after(page, symbol, interval, cursor_ms)
                pages.append(page)
            else:
                cursor_ms = window_end_ms
        table = rows_within(merge_klines(pages), TimeRange(start_ms, max(start_ms, end_ms)))
        table, off_grid = split_off_grid(table, interval)
        return Klines(closed(table, interval, now_ms), now_ms, requests_made, off_grid=off_grid)

    def _page(
        self, path: str, named: Mapping[str, str], interval: Interval, start_ms: int, end_ms: int
    ) -> tuple[pa.Table, int]:
        """The oldest bars of [start_ms, end_ms) and the end of the window that was asked for."""
        venue, first = self._venue, grid.index_at(interval, start_ms)
        if venue.span_ms:
            end_ms = min(end_ms, start_ms + venue.span_ms)
        page = venue.page(grid.index_at(interval, end_ms - 1) - first + 1)
        if venue.latest_first:
            end_ms = min(end_ms, grid.open_ms(interval, first + page.limit))
        query: dict[str, str | int] = {
            **named,
            "interval": interval.value,
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": page.limit,
        }
        read = partial(parse_klines, symbol=next(iter(named.values())), interval=interval)
        return self.ask(path, query, page.weight, read), end_ms

    def ask(
        self,
        path: str,
        query: Mapping[str, str | int],
        weight: int,
        read: Callable[[bytes], T],
        gate: RequestGate | None = None,
    ) -> T:
        """GET {prefix}{path}: what `read` makes of the body; asked again if it raises RetryLater.

        path: one under /futures/ stands beside the prefix. gate: to pass instead of the market's
        own, for an endpoint with a limit of its own.
        """
        self._exchange_info()

        def once() -> T:
            slot, reply = self._get(path, query, weight, gate)
            self._observe(slot, reply, gate)
            return read(reply.body)

        return self._patiently(once)

    def _exchange_info(self, max_age_s: float = _INFO_TTL_S) -> _Info:
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._info is None or now_s - self._info.read_s > max_age_s:
                self._info = self._patiently(self._ask_info)
                self._gate.configure(self._info.weight_limit)
            return self._info

    def _ask_info(self) -> _Info:
        slot, reply = self._get("/exchangeInfo", {}, self._venue.info_weight)
        self._observe(slot, reply)
        return _read_info(self._object(reply), self._clock.monotonic_s(), self._url)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, asked again while its failure may pass within seconds."""
        for tried in range(1, self._tries):
            try:
                return ask()
            except RetryLater as error:
                if not error.counts or error.after_s > _SOON_S:
                    raise
                jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads the askers
                self._clock.sleep(jitter * _AGAIN_AFTER_S * 4 ** (tried - 1))
        return ask()

    def _object(self, reply: Reply) -> dict[str, Any]:
        try:
            data = json.loads(reply.body)
        except ValueError as error:
            raise RetryLater(f"{self._url} did not answer with JSON ({error})", 5.0) from error
        if not isinstance(data, dict):
            raise RetryLater(f"{self._url} answered with a {type(data).__name__}", 5.0)
        return data

    def _observe(self, slot: object, reply: Reply, gate: RequestGate | None = None) -> None:
        used = reply.used_weight()
        if used is not None:
            (gate or self._gate).observe(slot, used, None)

    def _get(
        self,
        path: str,
        query: Mapping[str, str | int],
        weight: int,
        gate: RequestGate | None = None,
    ) -> tuple[object, Reply]:
        """A 200 and its slot, which the caller reports on; anything else is raised."""
        gate = gate or self._gate
        slot = gate.reserve(weight)
        reply = self._send(path, query)
        pause = replies.pause_asked(reply, self._clock.now_ms())
        if reply.status != 200 or pause:
            self._observe(slot, reply, gate)
        if pause:
            gate.pause(pause.for_s, pause.reason)
            raise RetryLater(pause.reason, pause.for_s, counts=False)
        if reply.status == 400 and replies.is_unknown_symbol(reply):
            raise self._unknown_symbol(str(query.get("symbol") or query.get("pair")))
        if reply.status == 400 and replies.is_unknown_interval(reply):
            raise GiveUp(f"the exchange has no {query.get('interval')} klines")
        if replies.is_beyond_reach(reply):
            raise GiveUp(
                f"{query.get('symbol')}: the exchange's API has the last 48 h of trades only"
            )
        error = replies.error_of(reply, self._url, self._venue.variable)
        if error:
            raise error
        return slot, reply

    def _send(self, path: str, query: Mapping[str, str | int]) -> Reply:
        prefix = "" if path.startswith("/futures/") else self._venue.prefix
        url = f"{self._url}{prefix}{path}"
        try:
            got = self._session.get(
                url, params=dict(query), timeout=self._timeout_s, allow_redirects=False
            )
        except BAD_URL as error:
            raise Misconfigured(
                self._venue.variable, f"{self._url!r} is not a URL", "give http(s)://host"
            ) from error
        except requests.RequestException as error:
            raise RetryLater(
                f"no answer from {self._url} ({cause_of(error)}); check the network, or set "
                f"{self._venue.variable} to a host that can be reached",
                5.0,
            ) from error
        return Reply(got.status_code, got.content, got.headers)

    def _unknown_symbol(self, symbol: str) -> GiveUp:
        try:
            known = tuple(self.symbols())
        except RetryLater:
            known = ()  # the verdict stands without the hint
        return replies.unknown_symbol(symbol, known)


def _after(page: pa.Table, symbol: str, interval: Interval, cursor_ms: int) -> int:
    times = times_ms(page)
    if times[0] < cursor_ms:
        raise RetryLater(f"{symbol} {interval}: bars from before the range that was asked for", 5.0)
    return grid.next_ms(interval, int(times[-1]))


def _milliseconds(value: object) -> int | None:
    if not isinstance(value, int) or value <= 0:
        return None
    return value // 1000 if value >= 10**14 else value


def _read_info(data: Mapping[str, Any], now_s: float, url: str) -> _Info:
    try:
        symbols = {item["symbol"]: read_symbol(item) for item in data["symbols"]}
        limits = [
            int(rule["limit"] * 60 / (_SECONDS[rule["interval"]] * rule["intervalNum"]))
            for rule in data["rateLimits"]
            if rule["rateLimitType"] == "REQUEST_WEIGHT"
        ]
        return _Info(symbols, min(limits), now_s)
    except (KeyError, TypeError, ValueError) as error:
        raise RetryLater(f"{url} sent a malformed exchangeInfo ({error!r})", 5.0) from error


_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}


def read_symbol(item: Mapping[str, Any]) -> SymbolInfo:
    """A row of exchangeInfo; what a market does not say of its symbols is "", None or False."""
    return SymbolInfo(
        symbol=item["symbol"],
        status=item.get("status") or item.get("contractStatus", ""),  # COIN-M has the latter
        base=item["baseAsset"],
        quote=item["quoteAsset"],
        contract_type=item.get("contractType") or "",
        underlying_type=item.get("underlyingType") or "",
        onboard_ms=_milliseconds(item.get("onboardDate")),
        delivery_ms=_milliseconds(item.get("deliveryDate")),
        contract_usd=_contract_usd(item.get("contractSize")),
        leveraged="LEVERAGED" in _permissions(item),
    )


def _contract_usd(value: object) -> int | None:
    """Of COIN-M, whose sizes are whole US dollars; USD-M and spot state none."""
    if value is None:
        return None
    size = float(str(value))
    if size <= 0 or not size.is_integer():
        raise ValueError(f"contractSize {value!r}")
    return int(size)


def _permissions(item: Mapping[str, Any]) -> set[str]:
    """Of spot: `permissions` in old listings, a list of lists in `permissionSets` since 2023."""
    sets = [item.get("permissions") or [], *(item.get("permissionSets") or [])]
    return {name for names in sets if isinstance(names, list) for name in names}


def _quote_volume(item: Mapping[str, Any]) -> float:
    if "quoteVolume" in item:
        return float(item["quoteVolume"])
    return float(item["baseVolume"]) * float(item["lastPrice"])  # COIN-M counts in base units
