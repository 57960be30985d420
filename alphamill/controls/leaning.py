"""A known factor in a run's own bars: the sign of each bar's returns leans to its ranks.

Bars are mirrored as those of noise are, but the coin is no fair one: it falls more often so that
the coming returns are ordered as the factor orders the coins now. Nothing else is added, so that
sizes of returns, their clusters, tails and correlations are the recorded ones at any strength.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alphamill.controls.mirrored import Mirror, mirrored
from alphamill.errors import GiveUp
from alphamill.evaluation import forward_returns, information_coefficient
from alphamill.factors import compute
from alphamill.frames import FloatArray, Panel
from alphamill.language import read_expression
from alphamill.settings import SegmentSettings
from alphamill.sim.market.planted import FORMULAS, WARMUP_BARS, Formula, scores

_READ = ("close", "volume", "taker_buy_base")  # what FORMULAS are made of
_LEAST_COINS = 3
_PILOT = 0.5  # strength at which it is measured how much RankIC a strength gives

Members = NDArray[np.bool_]


def leaning_signs(
    panel: Panel, formula: Formula, strength: float, seed: int, members: Members | None = None
) -> FloatArray:
    """1 or -1 a bar, (bars,), equal for equal arguments.

    strength: 0 for a fair coin, 1 for signs that always agree with the formula's ranks, as it
    stands at the close before, over those who belong. Before its windows are full the coin is fair.
    """
    mirror = Mirror(panel)
    draws = np.random.Generator(np.random.PCG64([seed, 13])).random(panel.n_bars)
    moves, signs = mirror.moves["close"], np.ones(panel.n_bars)
    past = {name: np.full_like(moves, np.nan) for name in _READ}
    before = mirror.start.copy()
    for bar in range(panel.n_bars):
        agreement = 0.0
        if strength and bar >= WARMUP_BARS:
            with np.errstate(divide="ignore", invalid="ignore"):  # bars without a trade
                values = formula({name: past[name][:bar] for name in _READ})
            agreement = _agreement(values, moves[bar], None if members is None else members[bar])
        signs[bar] = 1.0 if draws[bar] < (1 + strength * agreement) / 2 else -1.0
        row = mirror.rows(slice(bar, bar + 1), before[None], signs[bar : bar + 1, None])
        for name in _READ:
            past[name][bar] = row[name][0]
        before += np.nan_to_num(moves[bar]) * signs[bar]
    return signs


def _agreement(values: FloatArray, moves: FloatArray, members: Members | None) -> float:
    """Whether the moves are ordered as the values are, 1, or against them, -1; 0 if neither."""
    known = np.isfinite(values) & np.isfinite(moves)
    if members is not None:
        known &= members
    if known.sum() < _LEAST_COINS:
        return 0.0
    return float(np.sign(scores(values[known]) @ scores(moves[known])))


def most_ic(
    panel: Panel, expression: str, segments: SegmentSettings, members: Members | None = None
) -> float:
    """The RankIC that strength 1 gives the formula in these bars; another gives its part of that.

    Measured at one strength, against the same draws without. Raises GiveUp where the formula has no
    value on these bars.
    """
    formula = FORMULAS[expression]
    there, not_there = (
        realised_ic(
            replace(
                panel, fields=mirrored(panel, leaning_signs(panel, formula, strength, 0, members))
            ),
            expression,
            segments,
            members,
        )
        for strength in (_PILOT, 0.0)
    )
    most = (there - not_there) / _PILOT
    if math.isnan(most):
        raise GiveUp(f"{expression} has no value on these bars: name another --formula")
    return most


def realised_ic(
    panel: Panel, expression: str, segments: SegmentSettings, members: Members | None = None
) -> float:
    """Mean RankIC of the expression over the whole panel, at the run's horizon and lag."""
    values = compute(read_expression(expression), panel, members=members)
    returns = forward_returns(panel, segments.horizon_bars, segments.entry_lag_bars)
    found = information_coefficient(values, returns)
    return float(np.nanmean(found)) if np.isfinite(found).any() else math.nan
