"""What trades: the bodies of exchangeInfo and ticker/24hr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alphamill.frames import FloatArray, Interval, Market
from alphamill.sim.exchange.limits import Limits
from alphamill.sim.exchange.print_rows import SPOT_DECIMALS, Decimals, number_text
from alphamill.sim.market import Bars, BarSource
from alphamill.sim.market.bars import EMPTY, close_ms
from alphamill.sim.market.instruments import Instrument, split_pair

_DAY_MS = 86_400_000
_SILENT_MS = 2 * _DAY_MS  # without a bar, and a symbol has ended; longer than any halt recorded
_NO_DELIVERY_MS = 4_133_404_800_000  # how the exchange dates a perpetual contract's end
_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET"]


def decimals_of(values: FloatArray) -> int:
    """Fewest decimals, at most 8, that print every value exactly."""
    for decimals in range(8):
        if np.array_equal(np.round(values, decimals), values):
            return decimals
    return 8


def rate_limits(limits: Limits) -> list[dict[str, Any]]:
    """The limits in force. A minute here lasts `limits.window_ms`, which only tests change."""
    stated: list[dict[str, Any]] = [_rate_limit("REQUEST_WEIGHT", 1, limits.weight)]
    if limits.requests is not None:
        stated.append(_rate_limit("RAW_REQUESTS", limits.request_windows, limits.requests))
    return stated


def _rate_limit(kind: str, minutes: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": "MINUTE", "intervalNum": minutes, "limit": limit}


def exchange_info(
    source: BarSource, market: Market, symbols: Sequence[str], limits: Limits, now_ms: int
) -> dict[str, Any]:
    """The body for `symbols`; `sim` says that this is a simulation and of what kind."""
    lives = _lives(source, market, now_ms)
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": rate_limits(limits),
        "exchangeFilters": [],
        "symbols": [
            _describe_spot(source, symbol, lives[symbol])
            if market is Market.SPOT
            else _describe_futures(source, market, symbol, lives[symbol])
            for symbol in symbols
        ],
        "sim": {"kind": source.describe()["kind"]},
    }


@dataclass(frozen=True, slots=True)
class _Life:
    """When a symbol's bars begin and end, and what time it is on its market: no later than bars go.

    A symbol has ended whose last bar closed long before the market's, or which was delivered.
    """

    begins_ms: int
    ends_ms: int
    now_ms: int

    def ended(self, delivery_ms: int | None) -> bool:
        if delivery_ms is not None and delivery_ms <= self.now_ms:
            return True
        return self.ends_ms + _SILENT_MS < self.now_ms

    def status(self, delivery_ms: int | None, before: str, after: str) -> str:
        """TRADING, or what the exchange calls a symbol before its first bar or after its last."""
        if self.begins_ms > self.now_ms:
            return before
        return after if self.ended(delivery_ms) else "TRADING"


def _lives(source: BarSource, market: Market, now_ms: int) -> dict[str, _Life]:
    recorded = source.describe()["kind"] == "replay"
    spans = {symbol: _span(source, market, symbol, recorded) for symbol in source.symbols(market)}
    today_ms = min(now_ms, max((end_ms for _, end_ms in spans.values()), default=now_ms))
    return {symbol: _Life(*span, today_ms) for symbol, span in spans.items()}


def _span(source: BarSource, market: Market, symbol: str, recorded: bool) -> tuple[int, int]:
    """From the open of the first bar to the end of the last, of the shortest interval; of
    recordings, which may cover different times, of all.
    """
    spans = []
    for interval in source.intervals(market, symbol):
        bars = source.bars(market, symbol, interval)
        if bars is not None and len(bars):
            spans.append((int(bars.open_ms[0]), close_ms(int(bars.open_ms[-1]), interval) + 1))
            if not recorded:
                break
    begins, ends = zip(*spans, strict=True) if spans else ((0,), (0,))
    return min(begins), max(ends)


def printed_decimals(source: BarSource, market: Market, symbol: str) -> Decimals:
    """Of the symbol's bars: eight on spot, those of its prices and quantities on futures.

    A quote volume is a price times a quantity there; on COIN-M it counts coins.
    """
    return SPOT_DECIMALS if market is Market.SPOT else traded_decimals(source, market, symbol)


def traded_decimals(source: BarSource, market: Market, symbol: str) -> Decimals:
    """Of the symbol's tick and lot, and of what a trade can come to."""
    price, quantity = price_and_lot_decimals(source, market, symbol)
    return Decimals(price, quantity, 8 if market is Market.COIN_M else min(8, price + quantity))


def price_and_lot_decimals(source: BarSource, market: Market, symbol: str) -> tuple[int, int]:
    """Decimals of prices and of quantities, from the latest bars."""
    for interval in source.intervals(market, symbol):
        bars = source.bars(market, symbol, interval)
        if bars is not None:
            recent = bars.rows(max(0, len(bars) - 500), len(bars))
            return decimals_of(recent.close), decimals_of(recent.volume)
    return 8, 8


def _step(decimals: int) -> str:
    return number_text(float(f"1e-{decimals}"))


def _filters(price_decimals: int, quantity_decimals: int) -> list[dict[str, Any]]:
    tick, step = _step(price_decimals), _step(quantity_decimals)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": tick,
            "maxPrice": "1000000.00000000",
            "tickSize": tick,
        },
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "1000000.00000000",
            "stepSize": "0.00000000",
        },
    ]


def _describe_spot(source: BarSource, symbol: str, life: _Life) -> dict[str, Any]:
    base, quote = split_pair(symbol)
    notional = {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        "maxNotional": "9000000.00000000",
        "applyMaxToMarket": False,
        "avgPriceMins": 5,
    }
    return {
        "symbol": symbol,
        "status": life.status(None, "BREAK", "BREAK"),
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [*_filters(*price_and_lot_decimals(source, Market.SPOT, symbol)), notional],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _describe_futures(
    source: BarSource, market: Market, symbol: str, life: _Life
) -> dict[str, Any]:
    contract = Instrument.named(symbol)
    base, quote, delivery_ms = contract.base, contract.quote, contract.delivery_ms
    price_decimals, quantity_decimals = price_and_lot_decimals(source, market, symbol)
    coin_margined = market is Market.COIN_M
    status = "contractStatus" if coin_margined else "status"
    minimum = {"filterType": "MIN_NOTIONAL", "notional": "5"}
    described: dict[str, Any] = {
        "symbol": symbol,
        "pair": contract.pair,
        "contractType": contract.contract_type(life.now_ms),
        "deliveryDate": delivery_ms
        or (life.ends_ms if life.ended(None) else _NO_DELIVERY_MS),  # a delisting has its day
        "onboardDate": life.begins_ms,
        status: life.status(delivery_ms, "PENDING_TRADING", "SETTLING"),
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": base if coin_margined else quote,
        "pricePrecision": price_decimals,
        "quantityPrecision": quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": contract.underlying,
        "underlyingSubType": [] if contract.underlying == "COIN" else ["TradFi"],
        "orderTypes": _ORDER_TYPES[::2],
        "filters": [*_filters(price_decimals, quantity_decimals), minimum],
    }
    if coin_margined:
        described["contractSize"] = 100 if base == "BTC" else 10
    else:
        described["permissionSets"] = ["GRID", "COPY"]
    return described


def ticker(source: BarSource, market: Market, symbol: str, now_ms: int) -> dict[str, Any]:
    """Statistics of 24 hours up to the last bar that has closed by now, however long ago."""
    day, until_ms = _last_day(source, market, symbol, now_ms)
    opened, last = (float(day.open[0]), float(day.close[-1])) if len(day) else (0.0, 0.0)
    volume, quote_volume = float(day.volume.sum()), float(day.quote_volume.sum())
    average = quote_volume / volume if volume else 0.0
    if market is Market.COIN_M:
        average = volume / quote_volume if quote_volume else 0.0
    figures: Mapping[str, float] = {
        "priceChange": round(last - opened, 8),
        "weightedAvgPrice": round(average, 8),
        "lastPrice": last,
        "openPrice": opened,
        "highPrice": float(day.high.max(initial=0.0)),
        "lowPrice": float(day.low.min()) if len(day) else 0.0,
        "volume": round(volume, 8),
        ("baseVolume" if market is Market.COIN_M else "quoteVolume"): round(quote_volume, 8),
    }
    return {
        "symbol": symbol,
        "priceChangePercent": f"{100 * (last / opened - 1) if opened else 0.0:.3f}",
        **{name: number_text(value) for name, value in figures.items()},
        "openTime": until_ms - _DAY_MS,
        "closeTime": until_ms,
        "firstId": -1,
        "lastId": -1,
        "count": int(day.trades.sum()),
    }


def _last_day(source: BarSource, market: Market, symbol: str, now_ms: int) -> tuple[Bars, int]:
    for interval in source.intervals(market, symbol):
        bars = source.bars(market, symbol, interval)
        if bars is not None and interval is not Interval.MO1 and interval.ms <= _DAY_MS:
            stop = bars.stop_at(now_ms - interval.ms + 1)  # closed bars only
            until_ms = close_ms(int(bars.open_ms[stop - 1]), interval) if stop else now_ms
            return bars.rows(bars.start_at(until_ms - _DAY_MS + 1), stop), until_ms
    return EMPTY, now_ms
