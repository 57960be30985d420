"""Averages that never quite forget, several at once: each waits for its own last value alone.

Where a value is a ratio of such averages, a price at rest would leave it to what moved before the
rest, however long ago, and at last to numbers too small to divide. So they forget at once after
`rest` bars without movement.
"""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.kernels import GRID, HighLowClose, Pair, Triple
from alphamill.jit import inline, kernel

_PIECE = 512  # bars whose divisions, which wait for nothing, are made together


@kernel
def emas_and_gap(
    x: FloatArray, a_bars: int, gap_bars: int, c_bars: int, d_bars: int, out: FloatArray
) -> None:
    """Rows of `out`: EMAs of ascending lengths, each seeded by the mean of its first bars.

    The second row is x less its EMA, made of the steps of x: so it dies away with them, where the
    difference would keep the rounding of both.
    """
    n = x.shape[0]
    a_out, gap_out, c_out, d_out = out[0], out[1], out[2], out[3]
    a_step, keep = 2.0 / (a_bars + 1), 1.0 - 2.0 / (gap_bars + 1)
    c_step, d_step = 2.0 / (c_bars + 1), 2.0 / (d_bars + 1)
    a = gap = c = d = total = 0.0
    for i in range(min(n, d_bars)):
        total += x[i]
        a = total / (i + 1) if i < a_bars else a + (x[i] - a) * a_step
        gap = x[i] - total / (i + 1) if i < gap_bars else (gap + (x[i] - x[i - 1])) * keep
        c = total / (i + 1) if i < c_bars else c + (x[i] - c) * c_step
        d = total / (i + 1)
        a_out[i] = a if i >= a_bars - 1 else np.nan
        gap_out[i] = gap if i >= gap_bars - 1 else np.nan
        c_out[i] = c if i >= c_bars - 1 else np.nan
        d_out[i] = d if i >= d_bars - 1 else np.nan
    for i in range(d_bars, n):
        a += (x[i] - a) * a_step
        gap = (gap + (x[i] - x[i - 1])) * keep
        c += (x[i] - c) * c_step
        d += (x[i] - d) * d_step
        a_out[i] = a
        gap_out[i] = gap
        c_out[i] = c
        d_out[i] = d


@kernel
def accumulation_gap(flow: FloatArray, fast_bars: int, slow_bars: int, out: FloatArray) -> None:
    """EMA fast less EMA slow of the running sum of `flow`, both seeded by its first value.

    Made of the sum's distances from both: the sum itself keeps the rounding of all it ever held.
    """
    out[: slow_bars - 1] = np.nan
    fast_keep, slow_keep = 1.0 - 2.0 / (fast_bars + 1), 1.0 - 2.0 / (slow_bars + 1)
    over_fast = over_slow = 0.0
    for i in range(1, flow.shape[0]):
        over_fast = (over_fast + flow[i]) * fast_keep
        over_slow = (over_slow + flow[i]) * slow_keep
        if i >= slow_bars - 1:
            out[i] = over_slow - over_fast


@inline
def _share(i: int, bars: int, settled: float) -> float:
    """What the i-th value counts for, i from 1: a mean of the first bars, then an average."""
    return 1.0 / i if i <= bars else settled


@inline
def _share_or_all(i: int, bars: int, settled: float, still: int, rest: int) -> float:
    """As `_share`; after a rest the new value alone counts."""
    return 1.0 if still >= rest else _share(i, bars, settled)


@kernel
def convergence(
    x: FloatArray, fast_bars: int, slow_bars: int, signal_bars: int, out: Triple
) -> None:
    """EMA fast less EMA slow, the EMA of that, and the difference of both.

    The fast one is seeded by the bars that end with the slow one's seed, as in TA-Lib.
    """
    line, signal, rest = out
    late, first = slow_bars - fast_bars, slow_bars + signal_bars - 2
    line[:first] = signal[:first] = rest[:first] = np.nan
    fast_step, slow_step = 2.0 / (fast_bars + 1), 2.0 / (slow_bars + 1)
    signal_step = 2.0 / (signal_bars + 1)
    fast = slow = mean = 0.0
    n, settled = x.shape[0], first + 1
    for i in range(min(n, settled)):
        slow += (x[i] - slow) * _share(i + 1, slow_bars, slow_step)
        if i >= late:
            fast += (x[i] - fast) * _share(i + 1 - late, fast_bars, fast_step)
        if i >= slow_bars - 1:
            gap = fast - slow
            mean += (gap - mean) * _share(i + 2 - slow_bars, signal_bars, signal_step)
            if i >= first:
                line[i] = gap
                signal[i] = mean
                rest[i] = gap - mean
    for i in range(settled, n):
        slow += (x[i] - slow) * slow_step
        fast += (x[i] - fast) * fast_step
        gap = fast - slow
        mean += (gap - mean) * signal_step
        line[i] = gap
        signal[i] = mean
        rest[i] = gap - mean


@kernel
def triple_change(x: FloatArray, bars: int, out: FloatArray) -> None:
    """Change a bar, in percent, of an EMA of an EMA of an EMA."""
    step = 2.0 / (bars + 1)
    wait = bars - 1
    out[: 3 * wait + 1] = np.nan
    a = b = c = 0.0
    n, settled = x.shape[0], 3 * bars
    for i in range(min(n, settled)):
        before = c
        a += (x[i] - a) * _share(i + 1, bars, step)
        if i >= wait:
            b += (a - b) * _share(i + 1 - wait, bars, step)
        if i >= 2 * wait:
            c += (b - c) * _share(i + 1 - 2 * wait, bars, step)
        if i > 3 * wait:
            out[i] = (c / before - 1.0) * 100.0
    for i in range(settled, n):
        before = c
        a += (x[i] - a) * step
        b += (a - b) * step
        c += (b - c) * step
        out[i] = (c / before - 1.0) * 100.0


@inline
def _strengths(gain: FloatArray, loss: FloatArray, out: FloatArray, count: int) -> None:
    for j in range(count):
        moved = gain[j] + loss[j]
        share = 100.0 * (gain[j] / moved)
        out[j] = share if moved > 0 else 50.0


@kernel
def two_rsis(x: FloatArray, a_bars: int, b_bars: int, rest: int, out: Pair) -> None:
    """Wilder's relative strength for two lengths; 50 until x moves, at first and after a rest."""
    a_out, b_out = out
    n = x.shape[0]
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a_gain = a_loss = b_gain = b_loss = 0.0
    still = 0
    sums = np.empty((4, _PIECE))
    for first in range(1, n, _PIECE):
        count = min(_PIECE, n - first)
        for j in range(count):
            i = first + j
            step = x[i] - x[i - 1]
            gain, loss = max(step, 0.0), max(-step, 0.0)
            still = still + 1 if step == 0 else 0
            a_share = _share_or_all(i, a_bars, a_step, still, rest)
            b_share = _share_or_all(i, b_bars, b_step, still, rest)
            a_gain += (gain - a_gain) * a_share
            a_loss += (loss - a_loss) * a_share
            b_gain += (gain - b_gain) * b_share
            b_loss += (loss - b_loss) * b_share
            sums[0, j], sums[1, j], sums[2, j], sums[3, j] = a_gain, a_loss, b_gain, b_loss
        _strengths(sums[0], sums[1], a_out[first:], count)
        _strengths(sums[2], sums[3], b_out[first:], count)
    a_out[:a_bars] = b_out[:b_bars] = np.nan


@kernel
def two_atrs(prices: HighLowClose, a_bars: int, b_bars: int, rest: int, out: Pair) -> None:
    """Wilder's average true range for two lengths; 0 after a rest."""
    high, low, close = prices
    a_out, b_out = out
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a = b = 0.0
    still = 0
    for i in range(1, high.shape[0]):
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        still = still + 1 if step == 0 else 0
        a += (step - a) * _share_or_all(i, a_bars, a_step, still, rest)
        b += (step - b) * _share_or_all(i, b_bars, b_step, still, rest)
        a_out[i], b_out[i] = a, b
    a_out[:a_bars] = b_out[:b_bars] = np.nan


@inline
def _percent(part: float, whole: float) -> float:
    return 100.0 * (part / whole) if whole > 0 else 0.0


@kernel
def directional(prices: HighLowClose, w: int, rest: int, out: Triple) -> None:
    """Wilder's +DI and -DI (1978) from bar w, ADX from bar 2w - 1; 0 without movement either way.

    Seeds as TA-Lib has them: sums of the first w - 1 steps, then the mean of w DX. Moves up and
    down that are equal as decimals are equal.
    """
    high, low, close = prices
    plus_di, minus_di, adx = out
    plus_di[:w] = minus_di[:w] = adx[: 2 * w - 1] = np.nan
    plus = minus = ranges = index = 0.0
    keep = 1.0 - 1.0 / w
    still = 0
    for i in range(1, high.shape[0]):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        lead, same = up - down, GRID * high[i]
        step_up = up if up > 0 and lead > same else 0.0
        step_down = down if down > 0 and -lead > same else 0.0
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        fade = 1.0 if i < w else keep
        still = still + 1 if step_up + step_down == 0 else 0
        kept = 0.0 if still >= rest else fade
        plus = plus * kept + step_up
        minus = minus * kept + step_down
        ranges = ranges * fade + step
        if i < w:
            continue
        plus_di[i], minus_di[i] = _percent(plus, ranges), _percent(minus, ranges)
        moved = plus + minus
        if moved > 0 and ranges > 0:
            dx = 100.0 * (abs(plus - minus) / moved)
            index = index + dx / w if i < 2 * w else index + (dx - index) / w
        else:
            index = 0.0
        if i >= 2 * w - 1:
            adx[i] = index


@kernel
def parabolic_stop(
    high: FloatArray, low: FloatArray, step: float, maximum: float, out: FloatArray
) -> None:
    """Wilder's stop (1978), begun as TA-Lib has it; a price that touches it turns the trend.

    It is touched where the decimals are equal. While the trend falls, prices and the stop are
    mirrored (times -1): `near` is the price's side of the stop, `far` the other.
    """
    n = high.shape[0]
    out[:1] = np.nan
    if n < 2:
        return
    rose, fell = high[1] - high[0], low[0] - low[1]
    side = -1.0 if fell > 0 and fell - rose > GRID * high[1] else 1.0
    stop, extreme, pace = (low[0], high[1], step) if side > 0 else (-high[0], -low[1], step)
    before = 1
    for i in range(1, n):
        near, far = (low[i], high[i]) if side > 0 else (-high[i], -low[i])
        last = low[before] if side > 0 else -high[before]
        if near - stop <= GRID * high[i]:
            last_far = high[before] if side > 0 else -low[before]
            side = -side
            near, far, last = -far, -near, -last_far
            stop, extreme, pace = min(-extreme, last, near), far, step
            out[i] = side * stop
        else:
            out[i] = side * stop
            if far > extreme:
                extreme, pace = far, min(pace + step, maximum)
        stop = min(stop + pace * (extreme - stop), last, near)
        before = i


@kernel
def adaptive_mean(x: FloatArray, w: int, fast: float, slow: float, out: FloatArray) -> None:
    """Kaufman's mean: an EMA of weight slow**2 to fast**2 by the efficiency ratio of w bars.

    From bar w, seeded by the bar before it. A window that did not move has ratio 1, as in TA-Lib,
    which takes its path from a running sum that keeps what rounding left of it.
    """
    out[:w] = np.nan
    if x.shape[0] <= w:
        return
    mean = x[w - 1]
    for i in range(w, x.shape[0]):
        window = x[i - w : i + 1]
        path = 0.0
        for j in range(w):
            path += abs(window[j + 1] - window[j])
        way = abs(window[w] - window[0])
        ratio = way / path if path > way else 1.0
        weight = ratio * (fast - slow) + slow
        mean += (x[i] - mean) * weight * weight
        out[i] = mean
