"""Slower variants by rule: what predicts but costs more to trade than it earns, smoothed.

An exponential average of a signal is what a book would hold that moves a fixed part of the way to
its target at each bar (Garleanu and Pedersen 2013); here it is an expression, so that it is a trial
like any other, counted and judged. Discovery's figures alone say what is smoothed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alphamill.runs.rows import Trial

SMOOTHED_OVER = (3, 12, 24)  # horizons; a span in bars is so many times the run's


def too_fast(trial: Trial, cost_bps: float, least_t: float) -> bool:
    """Whether it predicts on discovery, and earns less there than trading it costs."""
    t, pays = trial.discovery.association_t, trial.discovery.break_even_bps
    return trial.evaluated and abs(t or 0.0) >= least_t and pays is not None and pays < cost_bps


def slower(
    trials: Sequence[Trial], cost_bps: float, least_t: float, horizon_bars: int
) -> Iterator[tuple[Trial, str]]:
    """(trial, expression) of each variant, those of the strongest trials first.

    least_t: |t| on discovery from which a trial is worth it; horizon_bars: of the run.
    """
    worth = [one for one in trials if too_fast(one, cost_bps, least_t)]
    worth.sort(key=lambda one: (-abs(one.discovery.association_t or 0.0), one.hash or ""))
    for one in worth:
        for times in SMOOTHED_OVER:
            yield one, f"ema({one.text}, {times * horizon_bars})"
