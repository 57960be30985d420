"""Binance's REST API for metrics: five endpoints under /futures/data, with a limit of their own.

Source: developers.binance.com, "Open Interest Statistics", "Top Trader Long/Short Ratio (Accounts)"
and "(Positions)", "Long/Short Ratio", "Taker Buy/Sell Volume" of USD-M and COIN-M. They reach back
30 days, and print ratios with four decimals where the archive has eight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from alphamill.errors import RetryLater
from alphamill.frames import IntArray, Market, TimeRange, rows_within
from alphamill.market.binance import Binance
from alphamill.market.exchange import RequestGate
from alphamill.market.metrics.labels import STEP_MS, VALUES, metrics_table, opens_of_reply

PAGE_ROWS = 499  # five minutes of a page; a label more may lie at its end
REACH_MS = 30 * 86_400_000
_LIMIT = 500
_Row = Mapping[str, Any]


def _number(name: str) -> Callable[[_Row], float]:
    return lambda row: float(row[name])


def _of_takers(row: _Row) -> float:
    """COIN-M sends what takers bought and sold, and not the ratio."""
    bought, sold = float(row["takerBuyVol"]), float(row["takerSellVol"])
    return bought / sold if sold else float("nan")


_RATIO = _number("longShortRatio")
_SHARED = {
    "topLongShortAccountRatio": {"toptrader_account_ratio": _RATIO},
    "topLongShortPositionRatio": {"toptrader_position_ratio": _RATIO},
    "globalLongShortAccountRatio": {"long_short_account_ratio": _RATIO},
}
_INTEREST = {
    "open_interest": _number("sumOpenInterest"),
    "open_interest_value": _number("sumOpenInterestValue"),
}
# By market: what is asked where, and read from a row how.
_ENDPOINTS: Mapping[Market, Mapping[str, Mapping[str, Callable[[_Row], float]]]] = {
    Market.USD_M: {
        "openInterestHist": _INTEREST,
        **_SHARED,
        "takerlongshortRatio": {"taker_long_short_ratio": _number("buySellRatio")},
    },
    Market.COIN_M: {
        "openInterestHist": _INTEREST,
        **_SHARED,
        "takerBuySellVol": {"taker_long_short_ratio": _of_takers},
    },
}
_BY_CONTRACT_TYPE = ("openInterestHist", "takerBuySellVol")  # of COIN-M
_WEIGHTS = {Market.USD_M: 0, Market.COIN_M: 1}
REQUESTS_A_PAGE = 5


class BinanceMetrics:
    """A `MetricsExchange` over a futures market's client; safe to share between threads.

    gate: passes a request only if the market's limits and that of /futures/data have room.
    """

    def __init__(self, api: Binance, market: Market, gate: RequestGate) -> None:
        self._api = api
        self._market = market
        self._gate = gate

    def reached_ms(self, wanted_ms: int) -> int:
        """See `Binance.reached_ms`."""
        return self._api.reached_ms(wanted_ms)

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """GET /futures/data/..., five requests; weight 0 on USD-M, 1 each on COIN-M.

        METRICS of the five minutes that begin at start_ms <= t < end_ms, at most 499. What one of
        the endpoints lacks is null. Raises GiveUp for a symbol that the exchange does not have,
        RetryLater for all that may pass.
        """
        self._gate.configure(self._api.weight_limit())
        found: dict[str, dict[int, float]] = {name: {} for name in VALUES}
        for endpoint, columns in _ENDPOINTS[self._market].items():
            read = partial(_read, columns=columns, market=self._market, endpoint=endpoint)
            query = self._query(endpoint, symbol, start_ms, end_ms)
            weight = _WEIGHTS[self._market]
            path = f"/futures/data/{endpoint}"
            for name, values in self._api.ask(path, query, weight, read, self._gate).items():
                found[name] |= values
        opens = np.array(sorted({at for values in found.values() for at in values}), dtype=np.int64)
        columns_of = {
            name: np.array([values.get(at, np.nan) for at in opens.tolist()], dtype=np.float64)
            for name, values in found.items()
        }
        return rows_within(metrics_table(opens, columns_of), TimeRange(start_ms, end_ms))

    def _query(
        self, endpoint: str, symbol: str, start_ms: int, end_ms: int
    ) -> dict[str, str | int]:
        by_pair = self._market is Market.COIN_M
        named = {"pair": symbol.partition("_")[0]} if by_pair else {"symbol": symbol}
        if by_pair and endpoint in _BY_CONTRACT_TYPE:
            named["contractType"] = "PERPETUAL"
        end_ms += STEP_MS - 1  # a label may be the end of its five minutes
        return {**named, "period": "5m", "startTime": start_ms, "endTime": end_ms, "limit": _LIMIT}


def _read(
    body: bytes, columns: Mapping[str, Callable[[_Row], float]], market: Market, endpoint: str
) -> dict[str, dict[int, float]]:
    """By column, when five minutes begin -> its value. RetryLater for anything malformed."""
    try:
        rows = json.loads(body)
        labels: IntArray = np.array([int(row["timestamp"]) for row in rows], dtype=np.int64)
        opens = opens_of_reply(labels, market).tolist()
        return {
            name: dict(zip(opens, [value(row) for row in rows], strict=True))
            for name, value in columns.items()
        }
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RetryLater(f"malformed {endpoint} ({error!r})", 5.0) from error
