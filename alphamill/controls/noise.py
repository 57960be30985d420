"""Searches of a run's own bars with worthless returns: how many of them claim anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alphamill.controls.calibration import uniformity
from alphamill.controls.mirrored import fair_signs, mirrored
from alphamill.controls.own_bars import Change, Searched
from alphamill.runs.figures import finite


def worthless(seed: int) -> Change:
    """The bars with a fair coin's sign for each bar's returns; see `mirrored`."""
    return lambda panel: mirrored(panel, fair_signs(seed, panel.n_bars))


@dataclass(frozen=True, slots=True)
class NoiseCount:
    """Over the seeds that were searched whole; shares are NaN without any.

    low_frac, high_frac: 95 % Clopper-Pearson interval of the share that claims. worst_claims: of
    one seed. best_t: the t of each seed's best trial on validation, which luck alone made.
    incomplete: seeds that are left out, since a job of theirs failed or a budget was spent. ks_p:
    of the seeds' first p-values against the uniform.
    """

    seeds: int
    claiming: int
    low_frac: float
    high_frac: float
    mean_claims: float
    worst_claims: int
    trials: int
    mean_best_t: float
    worst_best_t: float
    ks_p: float
    incomplete: int
    cost_usd_micros: int

    @property
    def claiming_frac(self) -> float:
        """Share of searches that admitted a factor."""
        return self.claiming / self.seeds if self.seeds else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN."""
        plain = asdict(self) | {"claiming_frac": self.claiming_frac}
        return {name: finite(value) for name, value in plain.items()}


def count_noise(searches: Sequence[Searched]) -> NoiseCount:
    """What the searches say together."""
    whole = [one for one in searches if not one.failed]
    claims = [one.claims for one in whole]
    best = [arm.best_validation_t for one in whole for arm in one.arms]
    known = [t for t in best if t is not None]
    claiming = sum(bool(count) for count in claims)
    low, high = interval_of_share(claiming, len(whole))
    return NoiseCount(
        seeds=len(whole),
        claiming=claiming,
        low_frac=low,
        high_frac=high,
        mean_claims=_mean(claims),
        worst_claims=max(claims, default=0),
        trials=sum(one.trials for one in whole),
        mean_best_t=_mean(known),
        worst_best_t=max(known, default=math.nan),
        ks_p=uniformity([one.p_value for one in whole if one.p_value is not None])[1],
        incomplete=len(searches) - len(whole),
        cost_usd_micros=sum(one.cost_usd_micros for one in searches),
    )


def interval_of_share(hits: int, tries: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a share; NaN without tries."""
    if not tries:
        return math.nan, math.nan
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, tries - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, tries - hits, 1 - tail)) if hits < tries else 1.0
    return low, high


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
