"""The simulated exchange without its sockets: a path, a query and an address in, a reply out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import Any

from alphamill.frames import Interval, Market, Wide
from alphamill.sim.exchange.funding import print_funding, read_funding_query, select_funding
from alphamill.sim.exchange.klines import kline_weight, read_kline_query, select_bars
from alphamill.sim.exchange.limits import Admission, Limits, Windows
from alphamill.sim.exchange.listing import exchange_info, printed_decimals, ticker
from alphamill.sim.exchange.messages import (
    ALWAYS,
    HTML,
    JSON,
    SYMBOL,
    ApiError,
    Parameter,
    Reply,
    read_parameters,
)
from alphamill.sim.exchange.metrics import ENDPOINTS, print_metrics, read_metrics_query
from alphamill.sim.exchange.metrics import PREFIX as DATA_PREFIX
from alphamill.sim.exchange.print_rows import (
    SPOT_DECIMALS,
    PrintedRows,
    print_rows,
    unfinished_on_grid,
)
from alphamill.sim.exchange.tape import Tapes
from alphamill.sim.exchange.trades import (
    TRADE_ENDPOINTS,
    read_trades_query,
    trades_page,
    trades_weight,
)
from alphamill.sim.market import BarSource
from alphamill.sim.market.bars import close_ms

Pairs = Sequence[tuple[str, str]]

PREFIXES: Mapping[str, Market] = {
    "/api/v3/": Market.SPOT,
    "/fapi/v1/": Market.USD_M,
    "/dapi/v1/": Market.COIN_M,
}
_FUNDING = "fundingRate"
_PRICES: Mapping[str, Wide] = {
    "premiumIndexKlines": Wide.PREMIUM,
    "markPriceKlines": Wide.MARK,
    "indexPriceKlines": Wide.INDEX,
}
_MINI_TICKER = (
    "symbol",
    "openPrice",
    "highPrice",
    "lowPrice",
    "lastPrice",
    "volume",
    "quoteVolume",
    "openTime",
    "closeTime",
    "firstId",
    "lastId",
    "count",
)
_TOTALS = (
    "status_429",
    "status_418",
    "bad_requests",
    "kline_rows",
    "funding_requests",
    "data_requests",
    "funding_rows",
    "trade_rows",
)
_SYMBOLS = (Parameter("symbol", SYMBOL), Parameter("symbols"))


class ExchangeApi:
    """Answers requests and counts them. Not thread-safe: one event loop owns it.

    limits: of spot, and of both futures markets as those of USD-M; their windows follow `now_ms`.
    speed: how fast that clock is; Retry-After, which clients wait on their own, is shorter by it.
    burned_fracs: by market, ids that belong to no trade, a trade.
    """

    def __init__(
        self,
        source: BarSource,
        limits: Mapping[Market, Limits],
        now_ms: Callable[[], int],
        speed: float = 1.0,
        burned_fracs: Mapping[Market, float] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._tapes = Tapes(source, burned_fracs)
        self._now_ms = now_ms
        self._speed = speed
        # As of 2026-06-30: what is used of one futures market, the other has less.
        spot, futures = Windows(limits[Market.SPOT]), Windows(limits[Market.USD_M])
        self._pools = {"spot": spot, "um+cm": futures}
        self._windows = {market: futures if market.has_funding else spot for market in Market}
        self._rows: dict[tuple[Market, str, Wide | None, Interval], PrintedRows] = {}
        self._totals: Counter[str] = Counter()

    def reply(self, path: str, pairs: Pairs, address: str, micros: bool = False) -> Reply:
        """To GET `path`. `micros`: the spot client asked for times in microseconds."""
        now_ms = self._now_ms()
        market, endpoint = _place(path, pairs)
        if market is None or endpoint not in _WEIGHTS or _is_absent(market, endpoint):
            return Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", HTML)
        if market is not Market.SPOT:  # takes symbols in lower case as well
            named = ("symbol", "pair")
            pairs = [(name, text.upper() if name in named else text) for name, text in pairs]
        windows = self._windows[market]
        weight, funding = _WEIGHTS[endpoint](market, pairs), endpoint == _FUNDING
        data = endpoint in ENDPOINTS
        own = "funding" if funding else "data" if data else ""
        admission = windows.admit(address, weight, now_ms, own)
        self._totals["funding_requests"] += funding and admission.status == 200
        self._totals["data_requests"] += data and admission.status == 200
        headers = {**JSON, **ALWAYS}
        if not ((funding or data) and market is Market.USD_M):  # fapi's fundingRate does not say it
            headers["X-MBX-USED-WEIGHT-1M"] = str(admission.used_weight)
        if market is Market.SPOT:
            headers["X-MBX-USED-WEIGHT"] = str(admission.used_weight)
        self._totals[f"status_{admission.status}"] += 1
        if admission.status != 200:
            headers["Retry-After"] = str(ceil(admission.retry_after_s / self._speed))
            return Reply(
                admission.status, _refusal(market, address, admission, windows.limits), headers
            )
        try:
            unit = 1000 if micros and market is Market.SPOT else 1
            body = self._body(market, endpoint, pairs, now_ms, unit)
        except ApiError as error:
            self._totals["bad_requests"] += 1
            return Reply(error.status, _json({"code": error.code, "msg": error.message}), headers)
        return Reply(200, body, headers)

    def stats(self) -> dict[str, Any]:
        """Every remembered window of every pool and address, and sums over all time."""
        windows = [
            {
                "pool": pool,
                "address": window.address,
                "start_ms": window.start_ms,
                "limit": window.limit,
                "weight": window.weight,
                "requests": window.requests,
                "refused": window.refused,
            }
            for pool, counted in self._pools.items()
            for window in counted.history()
        ]
        windows.sort(key=lambda window: int(str(window["start_ms"])))
        totals = {
            "requests": self._totals["status_200"],
            "refused": self._totals["status_429"] + self._totals["status_418"],
            **{name: self._totals[name] for name in _TOTALS},
            "weight": sum(counted.total_weight for counted in self._pools.values()),
            "bans": sum(counted.total_bans for counted in self._pools.values()),
            "into_bans": sum(counted.total_into_bans for counted in self._pools.values()),
        }
        return {"windows": windows, "totals": totals}

    def use_up(self, path: str, address: str) -> None:
        """As if others had used up what the address may do on the market of `path` for now."""
        market, _ = _place(path)
        if market is not None:
            self._windows[market].use_up(address, self._now_ms())

    def ban(self, path: str, address: str) -> None:
        """Ban the address from the market of `path`."""
        market, _ = _place(path)
        if market is not None:
            self._windows[market].ban(address, self._now_ms())

    def market(self) -> dict[str, Any]:
        """What the source is: recordings with their ranges, or the planted factors."""
        return dict(self._source.describe())

    def _body(self, market: Market, endpoint: str, pairs: Pairs, now_ms: int, unit: int) -> bytes:
        if endpoint == "klines" or endpoint in _PRICES:
            of = _PRICES.get(endpoint)
            return self._klines(market, _by_symbol(market, pairs, of), now_ms, unit, of)
        if endpoint == _FUNDING or endpoint in ENDPOINTS:
            return self._beside_bars(endpoint, market, pairs, now_ms)
        if endpoint in TRADE_ENDPOINTS:
            return self._trades(market, endpoint, pairs, now_ms, unit)
        if endpoint == "exchangeInfo":
            return self._exchange_info(market, pairs, now_ms)
        if endpoint == "ticker/24hr":
            return self._ticker(market, pairs, now_ms)
        read_parameters(pairs, ())
        return _json({"serverTime": now_ms * unit} if endpoint == "time" else {})

    def _klines(
        self, market: Market, pairs: Pairs, now_ms: int, unit: int, of: Wide | None = None
    ) -> bytes:
        query = read_kline_query(market, pairs)
        self._check_symbol(market, query.symbol)
        where = (market, query.symbol)
        key = (*where, of, query.interval)
        if key not in self._rows:
            if of is None:
                found = self._source.bars(*where, query.interval)
                decimals = printed_decimals(self._source, *where)
            else:
                found, decimals = self._source.prices(*where, of, query.interval), SPOT_DECIMALS
            if found is None:
                return b"[]"
            self._rows[key] = PrintedRows(found, query.interval, decimals)
        rows, bars = self._rows[key], self._rows[key].bars
        first, stop = select_bars(market, query, bars, now_ms)
        running = stop > first and close_ms(int(bars.open_ms[stop - 1]), query.interval) >= now_ms
        closed = stop - 1 if running else stop
        if unit == 1:
            texts = list(rows.texts(first, closed))
        else:
            texts = print_rows(bars.rows(first, closed), query.interval, unit, rows.decimals)
        if running:
            last = bars.rows(closed, stop)
            last = unfinished_on_grid(last, query.interval, now_ms, rows.decimals)
            texts += print_rows(last, query.interval, unit, rows.decimals)
        self._totals["kline_rows"] += len(texts)
        return f"[{','.join(texts)}]".encode()

    def _beside_bars(self, endpoint: str, market: Market, pairs: Pairs, now_ms: int) -> bytes:
        if endpoint == _FUNDING:
            return self._funding(market, pairs, now_ms)
        query = read_metrics_query(market, pairs, now_ms)
        symbol = f"{query.name}_PERP" if market is Market.COIN_M else query.name
        self._check_symbol(market, symbol)
        known = self._source.metrics(market, symbol)
        if known is None:
            return b"[]"
        return print_metrics(endpoint, market, symbol, query, known, now_ms)

    def _funding(self, market: Market, pairs: Pairs, now_ms: int) -> bytes:
        query = read_funding_query(pairs)
        self._check_symbol(market, query.symbol)
        known = self._source.funding(market, query.symbol)
        if known is None:
            return b"[]"
        found = select_funding(query, known, now_ms)
        self._totals["funding_rows"] += len(found)
        return print_funding(query.symbol, found).encode()

    def _trades(self, market: Market, endpoint: str, pairs: Pairs, now_ms: int, unit: int) -> bytes:
        query = read_trades_query(market, endpoint, pairs)
        self._check_symbol(market, query.symbol)
        tape = self._tapes.of(market, query.symbol)
        if tape is None:
            return b"[]"
        body, rows = trades_page(market, query, tape, now_ms, unit)
        self._totals["trade_rows"] += rows
        return body.encode()

    def _exchange_info(self, market: Market, pairs: Pairs, now_ms: int) -> bytes:
        spot_only = (
            Parameter("permissions"),
            Parameter("showPermissionSets"),
            Parameter("symbolStatus"),
        )
        accepted = (*_SYMBOLS, *spot_only) if market is Market.SPOT else ()
        values = read_parameters(pairs, accepted)
        symbols = self._asked(market, values)
        if symbols is None:
            symbols = list(self._source.symbols(market))
        limits = self._windows[market].limits
        return _json(exchange_info(self._source, market, symbols, limits, now_ms))

    def _ticker(self, market: Market, pairs: Pairs, now_ms: int) -> bytes:
        accepted = (*_SYMBOLS, Parameter("type")) if market is Market.SPOT else _SYMBOLS[:1]
        values = read_parameters(pairs, accepted)
        kind = values.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise ApiError(-1130, "Data sent for parameter 'type' is not valid.")
        asked = self._asked(market, values)
        symbols = self._source.symbols(market) if asked is None else asked
        tickers = [ticker(self._source, market, symbol, now_ms) for symbol in symbols]
        if kind == "MINI":
            tickers = [{name: found[name] for name in _MINI_TICKER} for found in tickers]
        alone = "symbol" in values and market is not Market.COIN_M
        return _json(tickers[0] if alone else tickers)

    def _asked(self, market: Market, values: Mapping[str, str]) -> list[str] | None:
        """Symbols named by the query, None if it names none; raises ApiError."""
        if "symbol" in values and "symbols" in values:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if "symbol" in values:
            symbols = [values["symbol"]]
        elif "symbols" in values:
            symbols = _symbol_list(values["symbols"])
        else:
            return None
        for symbol in symbols:
            self._check_symbol(market, symbol)
        return symbols

    def _check_symbol(self, market: Market, symbol: str) -> None:
        if symbol not in self._source.symbols(market):
            raise ApiError(-1121, "Invalid symbol.")


def _place(path: str, pairs: Pairs = ()) -> tuple[Market | None, str]:
    """The market whose API `path` belongs to, and the endpoint.

    /futures/data is of both futures markets, which are two hosts at Binance: only COIN-M's is asked
    by pair. Futures also lie under /um and /cm, as their streams do: so that one address,
    http://host/um, leads to all of a market.
    """
    if path.startswith(("/um/fapi/", "/cm/dapi/", f"/um{DATA_PREFIX}", f"/cm{DATA_PREFIX}")):
        path = path[3:]
    if path.startswith(DATA_PREFIX):
        by_pair = any(name == "pair" for name, _ in pairs)
        market = Market.COIN_M if by_pair else Market.USD_M
        return market, path.removeprefix(DATA_PREFIX)
    prefix = next((known for known in PREFIXES if path.startswith(known)), None)
    return (None, path) if prefix is None else (PREFIXES[prefix], path.removeprefix(prefix))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _symbol_list(text: str) -> list[str]:
    illegal = ApiError(
        -1100,
        "Illegal characters found in parameter 'symbols'; legal range is "
        '\'^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$\'.',
    )
    try:
        symbols = json.loads(text)
    except json.JSONDecodeError:
        raise illegal from None
    if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) for s in symbols):
        raise illegal
    return symbols


def _is_absent(market: Market, endpoint: str) -> bool:
    if endpoint in ENDPOINTS:
        return market not in ENDPOINTS[endpoint]
    return endpoint in (_FUNDING, *_PRICES) and not market.has_funding


def _by_symbol(market: Market, pairs: Pairs, of: Wide | None) -> Pairs:
    """A query by pair as one by the symbol of the perpetual; index klines are asked for so."""
    if of is not Wide.INDEX:
        return pairs
    ending = "_PERP" if market is Market.COIN_M else ""
    return [
        ("symbol", f"{text}{ending}") if name == "pair" else (name, text) for name, text in pairs
    ]


def _of_data(market: Market, _pairs: Pairs) -> int:
    return 1 if market is Market.COIN_M else 0


def _one(_market: Market, _pairs: Pairs) -> int:
    return 1


def _exchange_info_weight(market: Market, _pairs: Pairs) -> int:
    return 20 if market is Market.SPOT else 1


def _ticker_weight(market: Market, pairs: Pairs) -> int:
    names = dict(pairs)
    if market is not Market.SPOT:
        return 1 if "symbol" in names else 40
    if "symbol" in names:
        return 2
    if "symbols" in names:
        asked = names["symbols"].count(",") + 1
        return 2 if asked <= 20 else 40 if asked <= 100 else 80
    return 80


def _trades_weight(endpoint: str, market: Market, _pairs: Pairs) -> int:
    return trades_weight(market, endpoint)


_WEIGHTS: Mapping[str, Callable[[Market, Pairs], int]] = {
    "ping": _one,
    "time": _one,
    "exchangeInfo": _exchange_info_weight,
    "klines": kline_weight,
    **dict.fromkeys(_PRICES, kline_weight),
    **dict.fromkeys(ENDPOINTS, _of_data),
    _FUNDING: _one,
    "ticker/24hr": _ticker_weight,
    **{name: partial(_trades_weight, name) for name in TRADE_ENDPOINTS},
}


def _refusal(market: Market, address: str, admission: Admission, limits: Limits) -> bytes:
    """Body of a 429 or 418, in the words of the market's own documentation."""
    avoid = "Please use WebSocket Streams for live updates to avoid"
    futures_avoid = "Please use the websocket for live updates to avoid"
    spot = market is Market.SPOT
    if admission.status == 418:
        until = f"banned until {admission.banned_until_ms}."
        way = f"Way too much request weight used; IP {until} {avoid} bans."
        futures_way = f"Way too many requests; IP({address}) {until} {futures_avoid} bans."
        return _json({"code": -1003, "msg": way if spot else futures_way})
    if admission.over in ("funding", "data"):
        most = limits.funding if admission.over == "funding" else limits.data
        windows = limits.funding_windows if admission.over == "funding" else limits.data_windows
        message = f"Too many requests; current limit of IP({address}) is {most} requests"
        message += f" per {windows} minutes."
    elif not spot:
        message = f"Too many requests; current limit of IP({address}) is {limits.weight} requests"
        message += f" per minute. {futures_avoid} polling the API."
    elif admission.over == "weight":
        message = f"Too much request weight used; current limit is {limits.weight} request weight"
        message += f" per 1 MINUTE. {avoid} polling the API."
    else:
        message = f"Too many requests; current limit is {limits.requests} requests per"
        message += f" {limits.request_windows} MINUTE. {avoid} polling the API."
    return _json({"code": -1003, "msg": message})
