"""How often the decay alarm rings on factors that hold, and how soon on those that do not.

Planted factors: at each bar the values of 50 symbols, and returns that follow them with noise.
RankIC is by `information_coefficient`, of returns over 1 and over 4 bars, whose labels overlap. A
year is 8,760 bars. Target: at most 5 % of the years with an alarm.

    python benchmarks/decay_alarm.py [YEARS]
"""

from __future__ import annotations

import sys

import numpy as np

from alphamill.evaluation import information_coefficient
from alphamill.live.decay import ALARM, THRESHOLD, YEAR_BARS, detector_path

SYMBOLS = 50
GOOD_BARS = 2_000  # that a factor holds before it decays


def rank_ics(share: np.ndarray, horizon: int, draw: np.random.Generator) -> np.ndarray:
    """RankIC of a path of bars, of which `share` (bars,) is what returns owe to values."""
    bars = len(share)
    values = draw.normal(size=(bars, SYMBOLS))
    noise = draw.standard_t(4, size=(bars + horizon, SYMBOLS))
    noise = np.lib.stride_tricks.sliding_window_view(noise, horizon, axis=0).sum(axis=2)[:bars]
    returns = share[:, None] * np.sqrt(2 * horizon) * values + noise
    return information_coefficient(values, returns)


def paths(shares: np.ndarray, horizon: int, count: int, seed: int) -> np.ndarray:
    """`count` paths of it."""
    draw = np.random.default_rng(seed)
    return np.stack([rank_ics(shares, horizon, draw) for _ in range(count)])


def main() -> None:
    years = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    worst = 0.0
    print(f"{years} years of {YEAR_BARS:,} bars, {SYMBOLS} symbols; delays are medians in bars")
    print("horizon  mean IC  years with an alarm  halves: weakening  vanishes: weakening   dead")
    for horizon in (1, 4):
        for share in (0.03, 0.05):
            holds = paths(np.full(YEAR_BARS, share), horizon, years, 1)
            promised = float(np.nanmean(holds))
            rang = detector_path(holds, promised, horizon).max(axis=1) >= THRESHOLD
            worst = max(worst, float(rang.mean()))
            delays = []
            for left, least in ((0.5, promised), (0.0, promised), (0.0, promised / 2)):
                shares = np.full(YEAR_BARS, share)
                shares[GOOD_BARS:] *= left
                path = detector_path(paths(shares, horizon, years // 4, 2), least, horizon)
                after = path[:, GOOD_BARS:] >= THRESHOLD
                found = np.where(after.any(axis=1), after.argmax(axis=1) + 1.0, np.inf)
                delays.append(float(np.median(found)))
            half, gone, dead = (f"{delay:,.0f}" for delay in delays)
            print(
                f"{horizon:7d}  {promised:7.4f}  {rang.mean():18.1%}  {half:>17}"
                f"  {gone:>19}  {dead:>5}"
            )
    print(f"most alarms {worst:.1%}; target at most {ALARM:.0%}")
    if worst > ALARM:
        sys.exit(1)


if __name__ == "__main__":
    main()
