"""What a combination adds to as many random formulas under the same combiner."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.combination.control import icir
from alphamill.evaluation.gates import finite_or_none
from alphamill.evaluation.significance import normal_cdf
from alphamill.frames import FloatArray

_BLOCKS_PER_LABEL = 5  # a block is at least so many labels long
_FEWEST_BLOCKS = 10  # below so many an interval would be a guess
_AT_ONCE = 200  # resamples


@dataclass(frozen=True, slots=True)
class Excess:
    """Mean RankIC of a combination beside that of the control's draws, over the same bars.

    excess: mean_ic less random_mean_ic. low, high: its interval at `confidence`, over other
    stretches of time and other draws; NaN below ten blocks of bars. percentile: the share of draws
    with a lower mean, 0 to 1; equal ones count half. p_value: (1 + draws at least as high) /
    (1 + draws).
    """

    mean_ic: float
    random_mean_ic: float
    excess: float
    low: float
    high: float
    confidence: float
    percentile: float
    p_value: float
    icir: float
    random_icir: float  # mean over draws
    draws: int
    bars: int
    block_bars: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN."""
        return {
            name: finite_or_none(value) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def excess_over_random(
    ic: FloatArray,
    control: NDArray[np.floating],
    horizon_bars: int,
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Excess:
    """Excess of a combination's RankIC (bars,) over draws' (draws, bars), NaN where there is none.

    The interval resamples blocks of bars, the same for the combination and every draw, so that what
    moves them together cancels; and, with each, the draws. A block is the longer of five labels and
    the square root of the number of bars, so that labels which overlap stay together.
    Sources: Kuensch (1989) on blocks, Owen (2007) on resampling two things at once, Hesterberg
    (2015) on how far out its ends lie where blocks are few.
    Raises ValueError where the bars differ or there is no draw.
    """
    if control.ndim != 2 or not len(control) or control.shape[1:] != ic.shape:
        raise ValueError(
            f"draws {control.shape} do not fit a series of {ic.shape}: give one draw or more, over "
            "the same bars"
        )
    n_bars = len(ic)
    block = max(_BLOCKS_PER_LABEL * horizon_bars, math.isqrt(max(n_bars, 1)))
    both = np.vstack([np.asarray(ic, dtype=np.float64)[None], control])
    sums, counts = _by_block(both, block)
    means = _ratio(sums.sum(axis=1), counts.sum(axis=1))
    own, drawn = float(means[0]), means[1:]
    low, high = math.nan, math.nan
    if sums.shape[1] >= _FEWEST_BLOCKS:
        found = _resampled(sums, counts, resamples, np.random.default_rng(seed))
        tail = _tail(sums.shape[1], confidence)
        low, high = (float(edge) for edge in np.nanquantile(found, [tail, 1 - tail]))
    known = drawn[np.isfinite(drawn)]
    average = float(known.mean()) if known.size else math.nan
    ratios = np.array([icir(one) for one in control])
    ratios = ratios[np.isfinite(ratios)]
    return Excess(
        mean_ic=own,
        random_mean_ic=average,
        excess=own - average,
        low=low,
        high=high,
        confidence=confidence,
        percentile=float(((known < own) + 0.5 * (known == own)).mean()) if known.size else math.nan,
        p_value=float((1 + (known >= own).sum()) / (1 + len(known))),
        icir=icir(ic),
        random_icir=float(ratios.mean()) if ratios.size else math.nan,
        draws=len(control),
        bars=n_bars,
        block_bars=block,
    )


def _tail(n_blocks: int, confidence: float) -> float:
    """The share of resamples beyond either end, for so few blocks that percentiles are too narrow.

    Source: Hesterberg (2015), the expanded percentile interval.
    """
    from scipy.special import stdtrit

    t = float(stdtrit(n_blocks - 1, (1 + confidence) / 2))
    return normal_cdf(-math.sqrt(n_blocks / (n_blocks - 1)) * t)


def _by_block(series: FloatArray, block: int) -> tuple[FloatArray, FloatArray]:
    """Sums and numbers of known values a block: (series, blocks); the last may be shorter."""
    starts = np.arange(0, series.shape[1], block)
    known = np.isfinite(series)
    filled = np.where(known, series, 0.0)
    return (
        np.add.reduceat(filled, starts, axis=1),
        np.add.reduceat(known.astype(np.float64), starts, axis=1),
    )


def _resampled(
    sums: FloatArray, counts: FloatArray, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Excesses under other blocks and other draws: (resamples,)."""
    n_blocks, n_draws = sums.shape[1], len(sums) - 1
    found = []
    for start in range(0, resamples, _AT_ONCE):
        many = min(_AT_ONCE, resamples - start)
        blocks = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=many)
        draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=many)
        means = _ratio(sums @ blocks.T, counts @ blocks.T)
        drawn = np.where(np.isfinite(means[1:]), means[1:], 0.0)
        weights = draws.T * np.isfinite(means[1:])
        found.append(means[0] - _ratio((drawn * weights).sum(axis=0), weights.sum(axis=0)))
    return np.concatenate(found)


def _ratio(total: FloatArray, number: FloatArray) -> FloatArray:
    found: FloatArray = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return found
