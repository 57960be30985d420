"""What a library of factors shows out of sample, alone and combined: FactorMiner's table.

IC at t: Spearman's correlation, over the coins, of a factor with the return from the next bar's
open to its close. A library is the 40 factors with the largest |mean IC| in the first half of the
bars; signs, and the weights of the IC-weighted sum, come from there too. Everything that is said of
it is measured in the second half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np

from alphamill.combination import FactorRanks
from alphamill.evaluation import information_coefficient
from alphamill.evaluation.correlation import mean_ic
from alphamill.factors import Factor
from alphamill.factors.compute import compute_many
from alphamill.frames import FloatArray, IntArray

SIZE = 40
_CORRELATED_EVERY = 16  # bars: correlations of signals vary slowly
_ROWS = 2048  # at a time


def next_bar_return(fields: Mapping[str, FloatArray]) -> FloatArray:
    """From the next bar's open to its close, (bars, symbols); NaN in the last row."""
    found = np.full(fields["open"].shape, np.nan)
    found[:-1] = fields["close"][1:] / fields["open"][1:] - 1.0
    return found


def library_figures(
    factors: Sequence[Factor],
    fields: Mapping[str, FloatArray],
    n_train: int,
    size: int = SIZE,
    file: BinaryIO | None = None,
) -> dict[str, float]:
    """Of the `size` factors that were best in the first n_train bars, on the bars from there on.

    fields: float64 (bars, symbols). A return that reaches from the one part into the other counts
    in neither. file: for the factors' ranks, as `FactorRanks` has it; default: memory.
    Raises ValueError where fewer factors than `size` have any IC in the first part.
    """
    ahead = next_bar_return(fields)
    ahead[n_train - 1] = np.nan
    n_bars, n_symbols = ahead.shape
    ranks = FactorRanks(len(factors), n_bars, n_symbols, file)
    ic = np.full((len(factors), n_bars), np.nan)
    for index, values in compute_many(factors, fields):
        ranks.put(index, values)
        ic[index] = information_coefficient(values, ahead)
    learnt = np.array([mean_ic(one[:n_train]) for one in ic])
    able = np.flatnonzero(np.isfinite(learnt))
    if len(able) < size:
        raise ValueError(f"{len(able)} factors have an IC; a library takes {size}")
    chosen = able[np.argsort(-np.abs(learnt[able]), kind="stable")[:size]]
    alone = [_summary(ic[index, n_train:]) for index in chosen]
    found = {
        "ic_percent": float(np.mean([one[0] for one in alone])),
        "icir": float(np.mean([one[1] for one in alone])),
        "mean_abs_correlation": mean_abs_correlation(ranks, chosen, n_train),
    }
    for name, weights in (("equal", np.sign(learnt[chosen])), ("ic_weighted", learnt[chosen])):
        signal = weighted(ranks, chosen, weights, n_train)
        found[f"{name}_ic_percent"], found[f"{name}_icir"] = _summary(
            information_coefficient(signal, ahead[n_train:])
        )
    return found


def _summary(ic: FloatArray) -> tuple[float, float]:
    """|Mean| in percent, and over the standard deviation."""
    known = ic[np.isfinite(ic)]
    mean = abs(float(known.mean()))
    return 100 * mean, mean / float(known.std(ddof=1))


def weighted(
    ranks: FactorRanks, chosen: IntArray, weights: FloatArray, first_row: int
) -> FloatArray:
    """The weighted sum of centred ranks from a row on; NaN where no factor has a value."""
    n_bars, n_symbols = ranks.shape[1:]
    found = np.empty((n_bars - first_row, n_symbols))
    for start in range(first_row, n_bars, _ROWS):
        rows = slice(start, min(start + _ROWS, n_bars))
        signal = np.tensordot(weights, ranks.read(rows, chosen), axes=1)
        signal[~ranks.present(rows, chosen).any(axis=0)] = np.nan
        found[start - first_row : rows.stop - first_row] = signal
    return found


def mean_abs_correlation(ranks: FactorRanks, chosen: IntArray, first_row: int) -> float:
    """Mean over pairs of |the mean over bars of two factors' rank correlation|.

    Of every 16th bar; a coin without a value counts as the middle rank.
    """
    total = np.zeros((len(chosen), len(chosen)))
    bars = np.zeros_like(total)
    for row in range(first_row, ranks.shape[1], _CORRELATED_EVERY):
        values = ranks.read(slice(row, row + 1), chosen)[:, 0]
        length = np.sqrt((values**2).sum(axis=1))
        both = np.outer(length, length)
        there = both > 0
        total[there] += (values @ values.T)[there] / both[there]
        bars += there
    pairs = np.triu(bars > 0, 1)
    return float(np.abs(total[pairs] / bars[pairs]).mean())
