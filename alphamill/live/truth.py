"""The bars of a live as the lake has them now: what parity and the book hold it to."""

from __future__ import annotations

import numpy as np

from alphamill.evaluation.costs import FUNDING
from alphamill.frames import KLINE_FIELDS, FloatArray, Panel, times_ms
from alphamill.grid import index_at, indices, open_ms
from alphamill.indicators import compute_indicators
from alphamill.lake import Lake, read_klines
from alphamill.language import read_given
from alphamill.live.engine import indicators_of
from alphamill.live.spec import LiveSpec
from alphamill.stages.funding import read_owed
from alphamill.stages.panel import funding_column


def truth_panel(lake: Lake, spec: LiveSpec, start_ms: int, end_ms: int) -> Panel:
    """Bars that open in [start_ms, end_ms), symbols as in `spec`: float64 (bars, symbols).

    The fields of KLINES, the indicators that its factors name and, on futures, `funding_rate`; NaN
    where the lake has no bar. Indicators are settled from `history_bars` of the spec on.
    """
    interval = spec.interval
    first, last = index_at(interval, start_ms), index_at(interval, end_ms - 1)
    times = np.array([open_ms(interval, n) for n in range(first, last + 1)], dtype=np.int64)
    names = indicators_of([read_given(followed.expression) for followed in spec.factors])
    shape = len(times), len(spec.symbols)
    fields = {name: np.full(shape, np.nan) for name in (*KLINE_FIELDS, *names)}
    for column, symbol in enumerate(spec.symbols):
        table = read_klines(lake, spec.market, symbol, interval, int(times[0]), end_ms)
        rows = indices(interval, times_ms(table)) - first
        for name in KLINE_FIELDS:
            values: FloatArray = table[name].to_numpy().astype(np.float64)
            fields[name][rows, column] = values
        if names and table.num_rows:
            computed = compute_indicators(table.to_pandas(), names, interval)
            for name in names:
                fields[name][rows, column] = computed[name].to_numpy()
    if spec.market.has_funding and len(times):
        fields[FUNDING] = _funding(lake, spec, times)
    return Panel(interval, times, spec.symbols, fields)


def _funding(lake: Lake, spec: LiveSpec, times: np.ndarray) -> FloatArray:
    length_ms = open_ms(spec.interval, index_at(spec.interval, int(times[-1])) + 1) - int(times[-1])
    columns = []
    for symbol in spec.symbols:
        end_ms = int(times[-1]) + length_ms
        owed = read_owed(lake, spec.market, symbol, spec.interval, int(times[0]), end_ms)
        columns.append(funding_column(owed, times, length_ms))
    return np.stack(columns, axis=1)
