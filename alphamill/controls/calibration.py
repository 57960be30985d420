"""What many control markets say together: false discoveries, power, uniform p-values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alphamill.controls.direct import Alone
from alphamill.controls.planted import FALSE_BELOW, Fate, Outcome
from alphamill.controls.survivors import Trap
from alphamill.evaluation import Grade

TRADABLE = Grade.TRADABLE.value
ADMITTED = {grade.value for grade in Grade if grade.admitted}


@dataclass(frozen=True, slots=True)
class Power:
    """Planted formulas of one strength: judged alone, and where their markets were mined.

    met: a trial was the formula in other words. kept, found: an admitted factor stands
    for it, of those met and of all. too_fast: its book does not earn its trading costs.
    """

    target_ic: float
    planted: int
    predictive_alone: int  # or tradable
    failed_alone: dict[str, int]  # gate -> formulas that failed it
    too_fast: int
    too_fast_tradable: int  # of them, called tradable alone or by a factor that stands for them
    mined: int
    met: int
    kept: int
    found: int

    @property
    def alone_frac(self) -> float:
        """Of all, judged alone."""
        return self.predictive_alone / self.planted if self.planted else math.nan

    @property
    def kept_frac(self) -> float:
        """Of the formulas that were met; NaN if none was."""
        return self.kept / self.met if self.met else math.nan

    @property
    def found_frac(self) -> float:
        """Of all that were mined; NaN if none was."""
        return self.found / self.mined if self.mined else math.nan


@dataclass(frozen=True, slots=True)
class Calibration:
    """Shares are NaN where there is nothing to share.

    noise_called: noise markets in which anything was called predictive or tradable.
    ks_p: Kolmogorov-Smirnov test of uniform p-values, one a noise market (its first trial's on
    validation): trials of one market are not independent.
    called: factors of planted markets that were admitted; false_called: those less than
    FALSE_BELOW like everything planted, in the direction that they trade.
    decoys_through: decoys that were measured as if they were factors.
    traps_seen_through: markets of `survivors` whose factor is not admitted with the dead coins in;
    traps_baited: those that call it predictive among survivors, without which a trap says nothing.
    """

    noise_markets: int
    noise_called: int
    noise_called_upper_frac: float  # 95 % Clopper-Pearson bound of the share
    ks_statistic: float
    ks_p: float
    planted_markets: int
    called: int
    false_called: int
    power: tuple[Power, ...]
    decoys: int
    decoys_through: int
    trials: int
    traps: int = 0
    traps_seen_through: int = 0
    traps_baited: int = 0

    @property
    def noise_called_frac(self) -> float:
        """Share of noise markets in which anything was called predictive."""
        return self.noise_called / self.noise_markets if self.noise_markets else math.nan

    @property
    def false_discovery_rate(self) -> float:
        """Share of what was called in planted markets that is not there."""
        return self.false_called / self.called if self.called else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN."""
        plain = asdict(self) | {
            "noise_called_frac": self.noise_called_frac,
            "false_discovery_rate": self.false_discovery_rate,
            "power": [
                asdict(one)
                | {
                    "alone_frac": one.alone_frac,
                    "kept_frac": one.kept_frac,
                    "found_frac": one.found_frac,
                }
                for one in self.power
            ],
        }
        plain["power"] = [_finite(one) for one in plain["power"]]
        return _finite(plain)


def _finite(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in plain.items()
    }


def calibrate(
    outcomes: Iterable[Outcome], traps: Sequence[Trap] = (), alone: Sequence[Alone] = ()
) -> Calibration:
    """Count over markets with something planted and without.

    alone: formulas of markets that were not mined.
    """
    every = list(outcomes)
    noise = [outcome for outcome in every if not outcome.market.planted]
    planted = [outcome for outcome in every if outcome.market.planted]
    called = [factor for outcome in planted for factor in outcome.called]
    statuses = Counter(status for outcome in every for status in outcome.decoys.values())
    noise_called = sum(bool(outcome.called) for outcome in noise)
    statistic, p = uniformity([one.p_value for one in noise if one.p_value is not None])
    return Calibration(
        noise_markets=len(noise),
        noise_called=noise_called,
        noise_called_upper_frac=upper_bound(noise_called, len(noise)),
        ks_statistic=statistic,
        ks_p=p,
        planted_markets=len(planted),
        called=len(called),
        false_called=sum((factor.likeness or 0.0) < FALSE_BELOW for factor in called),
        power=_powers([fate for outcome in planted for fate in outcome.fates], alone),
        decoys=sum(statuses.values()),
        decoys_through=statuses["evaluated"],
        trials=sum(outcome.n_trials for outcome in every),
        traps=len(traps),
        traps_seen_through=sum(not trap.whole.grade.admitted for trap in traps),
        traps_baited=sum(trap.survivors.grade.admitted for trap in traps),
    )


def _powers(fates: Sequence[Fate], alone: Sequence[Alone]) -> tuple[Power, ...]:
    strengths = sorted({fate.target_ic for fate in fates} | {one.target_ic for one in alone})
    return tuple(
        power_of(
            target_ic,
            [fate for fate in fates if fate.target_ic == target_ic],
            [one for one in alone if one.target_ic == target_ic],
        )
        for target_ic in strengths
    )


def power_of(target_ic: float, fates: Sequence[Fate], not_mined: Sequence[Alone] = ()) -> Power:
    """What became of formulas of one strength; not_mined: those that were only judged alone."""
    judged = [(fate.alone, fate.verdict) for fate in fates] + [(one, "") for one in not_mined]
    held = [fate for fate in fates if fate.verdict in ADMITTED]
    fast = [(one.verdict, mined) for one, mined in judged if one.too_fast]
    return Power(
        target_ic,
        planted=len(judged),
        predictive_alone=sum(one.verdict in ADMITTED for one, _ in judged),
        failed_alone=dict(Counter(name for one, _ in judged for name in one.failed)),
        too_fast=len(fast),
        too_fast_tradable=sum(TRADABLE in verdicts for verdicts in fast),
        mined=len(fates),
        met=sum(fate.met for fate in fates),
        kept=sum(fate.met for fate in held),
        found=len(held),
    )


def uniformity(p_values: Sequence[float]) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic and p against the uniform; NaN below five values."""
    if len(p_values) < 5:
        return math.nan, math.nan
    from scipy.stats import kstest  # 0.5 s to import

    result = kstest(np.asarray(p_values), "uniform")
    return float(result.statistic), float(result.pvalue)


def upper_bound(hits: int, tries: int, confidence: float = 0.95) -> float:
    """One-sided Clopper-Pearson bound of a share; NaN without tries."""
    if not tries:
        return math.nan
    if hits == tries:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(hits + 1, tries - hits, confidence))
