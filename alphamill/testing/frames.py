"""Tables of klines, lakes that hold them, and runs over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from alphamill.frames import (
    KLINE_FIELDS,
    KLINES,
    FloatArray,
    IntArray,
    Interval,
    Market,
    months_between,
    rows_within,
)
from alphamill.grid import next_ms
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, MonthFacts, write_klines

START_MS = 1_609_459_200_000  # 2021-01-01


def klines_at(
    opens_ms: Sequence[int] | IntArray, interval: Interval = Interval.H1, **columns: Any
) -> pa.Table:
    """KLINES of bars that open at these times.

    columns: one value, or one a bar; those not given depend on a bar's open time alone.
    """
    opens = np.array(opens_ms, dtype=np.int64)
    values: dict[str, Any] = dict.fromkeys(KLINE_FIELDS, opens // 60_000 % 9973 / 8 + 1)
    values |= {
        "open_time": opens,
        "close_time": np.array([next_ms(interval, int(t)) - 1 for t in opens], dtype=np.int64),
        "trades": opens // 60_000 % 997,
    }
    values |= {name: np.broadcast_to(value, opens.shape) for name, value in columns.items()}
    return pa.table([pa.array(values[f.name]).cast(f.type) for f in KLINES], schema=KLINES)


def random_klines(
    n_bars: int, start_ms: int = START_MS, interval: Interval = Interval.H1, seed: int = 0
) -> pa.Table:
    """KLINES of bars in a row whose close is a random walk. Equal arguments, equal bars."""
    close = 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, n_bars)))
    columns = dict.fromkeys(KLINE_FIELDS, close) | {
        "high": close * 1.01,
        "low": close * 0.99,
        "volume": close * 3,
        "quote_volume": close * 9,
        "trades": np.arange(n_bars),
    }
    return klines_at(start_ms + interval.ms * np.arange(n_bars), interval, **columns)


def random_fields(n_bars: int, n_symbols: int, seed: int = 0) -> dict[str, FloatArray]:
    """Fields of a panel whose closes are random walks. Equal arguments, equal values."""
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, shape), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.001, shape))
    volume = rng.lognormal(5, 1, shape)
    return {
        "open": open_,
        "close": close,
        "high": np.maximum(open_, close) * (1 + 0.001 * rng.random(shape)),
        "low": np.minimum(open_, close) * (1 - 0.001 * rng.random(shape)),
        "volume": volume,
        "quote_volume": volume * (open_ + close) / 2,
    }


def put_klines(
    lake: Lake,
    symbol: str,
    table: pa.Table,
    market: Market = Market.SPOT,
    interval: Interval = Interval.H1,
) -> None:
    """Write KLINES into the lake as fetch does, a file a month."""
    times = table["open_time"].cast(pa.int64())
    for month in months_between(times[0].as_py(), times[-1].as_py() + 1):
        facts, rows = MonthFacts("rest", month.range), rows_within(table, month.range)
        write_klines(lake, market, symbol, interval, month, rows, facts)


def spec_of(*symbols: str, n_bars: int = 1000, **fields: Any) -> RunSpec:
    """A mining run over the first bars of `random_klines`; fields: what is otherwise."""
    interval = fields.get("intervals", (Interval.H1,))[0]
    plain: dict[str, Any] = {
        "kind": RunKind.MINE,
        "lake": "lake",
        "market": Market.SPOT,
        "symbols": symbols,
        "intervals": (interval,),
        "start_ms": START_MS,
    }
    if "end_ms" not in fields:
        plain["end_ms"] = START_MS + n_bars * interval.ms
    return RunSpec(**plain | fields)
