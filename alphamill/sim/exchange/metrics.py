"""The /futures/data endpoints and the archive's files of metrics: queries, rows, labels.

Labels are as the exchange has them: in both the end of the five minutes on USD-M up to 2026-06-24,
the start from 2026-06-25 on, and always the start on COIN-M. Of longer periods the last five
minutes are told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from alphamill.frames import FloatArray, IntArray, Market, TimeRange
from alphamill.sim.exchange.messages import (
    NUMBER,
    SYMBOL,
    ApiError,
    Parameter,
    read_limit,
    read_parameters,
    whole_number,
)
from alphamill.sim.exchange.print_rows import number_text
from alphamill.sim.market.beside import RATIOS, STEP_MS, Metrics

PREFIX = "/futures/data/"
CSV_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,count_long_short_ratio,"
    "sum_taker_long_short_vol_ratio"
)
STARTS_FROM_MS = int(datetime(2026, 6, 25, tzinfo=UTC).timestamp() * 1000)
_REACH_MS = 30 * 86_400_000
_OUT_AFTER_MS = 20_000  # how long after its five minutes a row is told
_PERIODS = {"5m": 1, "15m": 3, "30m": 6, "1h": 12, "2h": 24, "4h": 48, "6h": 72, "12h": 144}
_PERIODS |= {"1d": 288}
_ACCOUNTS: Mapping[str, str] = {
    "topLongShortAccountRatio": RATIOS[0],
    "topLongShortPositionRatio": RATIOS[1],
    "globalLongShortAccountRatio": RATIOS[2],
}
ENDPOINTS: Mapping[str, frozenset[Market]] = {
    **dict.fromkeys(("openInterestHist", *_ACCOUNTS), frozenset({Market.USD_M, Market.COIN_M})),
    "takerlongshortRatio": frozenset({Market.USD_M}),
    "takerBuySellVol": frozenset({Market.COIN_M}),
}
"""Which markets have which."""


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """A checked query; times are labels in milliseconds, both ends included."""

    name: str  # of the symbol, on COIN-M of the pair
    steps: int
    start_ms: int | None
    end_ms: int | None
    limit: int


def read_metrics_query(
    market: Market, pairs: Sequence[tuple[str, str]], now_ms: int
) -> MetricsQuery:
    """The query of a request; raises ApiError, also for what is older than 30 days."""
    inverse = market is Market.COIN_M
    named = Parameter("pair" if inverse else "symbol", SYMBOL, mandatory=True)
    times = (Parameter("startTime", NUMBER), Parameter("endTime", NUMBER))
    others = (Parameter("contractType"),) if inverse else ()
    period = Parameter("period", mandatory=True)
    accepted = (named, period, *times, Parameter("limit", NUMBER), *others)
    values = read_parameters(pairs, accepted)
    if values["period"] not in _PERIODS:
        raise ApiError(-1130, "Data sent for parameter 'period' is not valid.")
    limit = read_limit(values, 30, 500)
    start_ms, end_ms = whole_number(values, "startTime"), whole_number(values, "endTime")
    if start_ms is not None and start_ms < now_ms - _REACH_MS:
        raise ApiError(-1130, "parameter 'startTime' is invalid.")
    return MetricsQuery(values[named.name], _PERIODS[values["period"]], start_ms, end_ms, limit)


def labels_ms(opens_ms: IntArray, market: Market, starts_from_ms: int = STARTS_FROM_MS) -> IntArray:
    """What the exchange calls the five minutes that begin there."""
    ends = (market is Market.USD_M) & (opens_ms < starts_from_ms)
    labels: IntArray = np.where(ends, opens_ms + STEP_MS, opens_ms)
    return labels


def print_metrics(
    endpoint: str, market: Market, symbol: str, query: MetricsQuery, known: Metrics, now_ms: int
) -> bytes:
    """The oldest of a range with a start, else the latest, as the exchange prints them."""
    labels = labels_ms(known.open_ms, market)
    here = known.open_ms + STEP_MS + _OUT_AFTER_MS <= now_ms
    here &= (known.open_ms + STEP_MS) // STEP_MS % query.steps == 0
    if query.start_ms is not None:
        here &= labels >= query.start_ms
    if query.end_ms is not None:
        here &= labels <= query.end_ms
    rows = np.flatnonzero(here)
    rows = rows[-query.limit :] if query.start_ms is None else rows[: query.limit]
    columns = {name: values[rows] for name, values in known.values.items()}
    named: dict[str, object] = {"symbol": symbol}
    if market is Market.COIN_M:
        named = {"pair": query.name}
        if endpoint in ("openInterestHist", "takerBuySellVol"):
            named["contractType"] = "PERPETUAL"
    said = _row_of(endpoint, columns)
    found = [
        {**named, **said(at), "timestamp": label} for at, label in enumerate(labels[rows].tolist())
    ]
    if endpoint == "takerlongshortRatio":
        found = [{key: value for key, value in row.items() if key != "symbol"} for row in found]
    return json.dumps(found, separators=(",", ":")).encode()


def _row_of(endpoint: str, columns: Mapping[str, FloatArray]) -> Callable[[int], dict[str, object]]:
    if endpoint == "openInterestHist":
        amounts, values = columns["open_interest"], columns["open_interest_value"]
        return lambda at: {
            "sumOpenInterest": number_text(float(amounts[at])),
            "sumOpenInterestValue": number_text(float(values[at])),
        }
    if endpoint in _ACCOUNTS:
        ratios = columns[_ACCOUNTS[endpoint]]
        kind = "Position" if endpoint == "topLongShortPositionRatio" else "Account"
        return lambda at: {
            "longShortRatio": f"{ratios[at]:.4f}",
            f"long{kind}": f"{ratios[at] / (1 + ratios[at]):.4f}",
            f"short{kind}": f"{1 / (1 + ratios[at]):.4f}",
        }
    taken = columns[RATIOS[3]]
    if endpoint == "takerBuySellVol":
        return lambda at: {
            "takerBuyVol": number_text(round(100 * float(taken[at]), 8)),
            "takerSellVol": "100.00000000",
        }
    return lambda at: {
        "buySellRatio": f"{taken[at]:.4f}",
        "buyVol": f"{100 * taken[at]:.4f}",
        "sellVol": "100.0000",
    }


def metrics_csv(known: Metrics, market: Market, symbol: str, day: TimeRange) -> str | None:
    """The text of a day's file of the archive; None where it has no row."""
    first, stop = np.searchsorted(known.open_ms, [day.start_ms, day.end_ms])
    rows = np.arange(first, stop)[known.filed[first:stop]]
    if not rows.size:
        return None
    labels = labels_ms(known.open_ms[rows], market)
    columns = [
        [number_text(value) for value in known.values[name][rows].tolist()] for name in _NAMES
    ]
    lines = [
        ",".join([f"{datetime.fromtimestamp(label / 1000, UTC):%Y-%m-%d %H:%M:%S}", symbol, *row])
        for label, *row in zip(labels.tolist(), *columns, strict=True)
    ]
    return "\n".join([CSV_HEADER, *lines]) + "\n"


_NAMES = ("open_interest", "open_interest_value", *RATIOS)
