"""Whether a followed factor still predicts: an alarm that may be looked at after every bar.

Each bar's live RankIC lies in [-1, 1]. Against "its mean is still at least m" one bets at every bar
a share l of the wealth that it is less: the wealth is multiplied by 1 + l (m - RankIC), which on
average does not grow while m holds. A bet is begun anew at every bar (the Shiryaev-Roberts
e-detector of Shin, Ramdas and Rinaldo, "E-detectors", 2023), so that good months before do not hide
a decay, and the wealth of all of them, M, is the mean over a grid of shares. While m holds, M is on
average at most the number of bars, so that by Doob's inequality it reaches `YEAR_BARS / ALARM`
within a year of hourly bars with a probability of at most ALARM, whatever RankIC's distribution.

"weakening" is said against what the verdict promised, "dead" against half of it; the second never
comes before the first. Labels of `horizon_bars` above 1 overlap: then every phase of bars that far
apart has a detector of its own and the highest counts, which keeps the bound. What is assumed is
that at each bar of a phase the mean is at least m given those before: a factor that waits for
regimes may break it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from alphamill.frames import FloatArray

ALARM = 0.05  # probability of a false alarm in YEAR_BARS bars
YEAR_BARS = 8_760  # a year of hourly bars
THRESHOLD = YEAR_BARS / ALARM
_SHARES = (0.125, 0.25, 0.5, 0.75, 0.95)  # of the most that may be bet
_SMALL_SHARES = (0.01, 0.02, 0.04, 0.08)


class Health(StrEnum):
    """What live RankIC says of a factor."""

    UNKNOWN = "unknown"  # nothing was promised, or too little is known
    HOLDING = "holding"
    WEAKENING = "weakening"  # less than what was promised
    DEAD = "dead"  # less than half of it


@dataclass(frozen=True, slots=True)
class Decay:
    """The state of the alarm after some bars.

    weakening, dead: M over its threshold, 1 and above is an alarm. at_bar: how many bars in when
    the graver alarm first rang, None if none did. mean_low, mean_high: a confidence sequence of
    the mean RankIC, 95 % at all times at once.
    """

    health: Health
    bars: int
    weakening: float
    dead: float
    at_bar: int | None
    mean_low: float
    mean_high: float


def decay_of(ic: FloatArray, promised_ic: float | None, horizon_bars: int = 1) -> Decay:
    """From RankIC by bar, in order; NaN where there is none.

    promised_ic: in the direction in which the factor is traded, above 0; else the health is
    UNKNOWN. Raises ValueError for a RankIC outside of [-1, 1].
    """
    known = ic[np.isfinite(ic)]
    if known.size and float(np.abs(known).max()) > 1 + 1e-9:
        raise ValueError("a RankIC lies in [-1, 1]")
    low, high = mean_sequence(known[::horizon_bars])
    if promised_ic is None or not 0 < promised_ic < 1 or not known.size:
        return Decay(Health.UNKNOWN, int(known.size), 0.0, 0.0, None, low, high)
    weakening, dead = (
        detector_path(ic[None, :], least, horizon_bars)[0] / THRESHOLD
        for least in (promised_ic, promised_ic / 2)
    )
    rang = {
        Health.DEAD: np.flatnonzero(dead >= 1),
        Health.WEAKENING: np.flatnonzero(weakening >= 1),
    }
    health = next((one for one, at in rang.items() if at.size), Health.HOLDING)
    at_bar = int(rang[health][0]) + 1 if health in rang else None
    return Decay(health, int(known.size), float(weakening[-1]), float(dead[-1]), at_bar, low, high)


def detector_path(ic: FloatArray, least: float, horizon_bars: int = 1) -> FloatArray:
    """M after each bar, (paths, bars), of RankIC (paths, bars): against a mean of at least `least`.

    A NaN leaves it as it was.
    """
    paths, bars = ic.shape
    most = 1 / (1 - least)  # a RankIC of 1 then takes all that was bet
    shares = most * np.array([*_SMALL_SHARES, *_SHARES])
    wealth = np.zeros((paths, horizon_bars, len(shares)))
    path = np.empty((paths, bars))
    highest = np.zeros(paths)
    for bar in range(bars):
        phase = bar % horizon_bars
        now = ic[:, bar]
        known = np.isfinite(now)
        factor = 1 + shares * np.where(known, least - now, 0.0)[:, None]
        grown = (wealth[:, phase] + 1) * factor
        wealth[:, phase] = np.where(known[:, None], grown, wealth[:, phase])
        highest = wealth.mean(axis=2).max(axis=1)
        path[:, bar] = highest
    return path


def mean_sequence(ic: FloatArray, alpha: float = ALARM) -> tuple[float, float]:
    """A confidence sequence of the mean at its last bar, in [-1, 1].

    Of all the intervals that this gives as bars are added, all hold the mean with a probability of
    at least 1 - alpha. Source: Waudby-Smith and Ramdas (2024), Theorem 2, predictable plug-in
    empirical Bernstein, without their running intersection.
    """
    if not ic.size:
        return -1.0, 1.0
    x = (ic + 1) / 2
    count = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (count + 1)
    before = np.concatenate([[0.5], mean[:-1]])
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (count + 1)
    variance_before = np.concatenate([[0.25], variance[:-1]])
    log_term = math.log(2 / alpha)
    bets = np.minimum(np.sqrt(2 * log_term / (variance_before * count * np.log1p(count))), 0.5)
    surprise = 4 * (x - before) ** 2 * (-np.log1p(-bets) - bets) / 4
    centre = float((bets * x).sum() / bets.sum())
    half = float((log_term + surprise.sum()) / bets.sum())
    return max(-1.0, 2 * (centre - half) - 1), min(1.0, 2 * (centre + half) - 1)
