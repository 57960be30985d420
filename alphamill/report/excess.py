"""What combining factors came to, in words: the excess over random formulas before any figure."""

from __future__ import annotations

from collections.abc import Sequence

from alphamill.report.values import counted, number, percent, whole
from alphamill.runs.combined import CombinedSignal
from alphamill.runs.published import PublishedRun

COMBINED_LEGEND = (
    "excess: mean RankIC after discovery, less that of as many random formulas under the same "
    "method (random), with its interval; beats: of their draws, those that are lower; p: of a draw "
    "that is as high; t: Newey-West t of the RankIC on validation and holdout; SR net: Sharpe "
    "ratio a year after costs, on validation; turn: turnover a bar; even: cost of trading, in bps "
    "one way, at which the profit is gone. Every signal is walked forward: weights have seen "
    "matured labels alone."
)


def headline(rows: Sequence[CombinedSignal]) -> str:
    """Of the method that validation puts first: its excess over random formulas, before any figure.

    Another may have the larger excess: to choose by that would be to choose after the holdout.
    """
    if not rows:
        return "Nothing was combined."
    best = rows[0]
    first = f", first of {len(rows)} methods on validation," if len(rows) > 1 else ""
    judged = f"{best.method}{first} is {best.judged.verdict}"
    if best.excess_rank_ic is None:
        return f"{judged}; {best.why_no_control or 'its control arm has no figure'}"
    return (
        f"{judged}: RankIC {number(best.excess_rank_ic, 4, signed=True)} over "
        f"{counted(best.n_factors, 'random formula')} under the same method, "
        f"{_interval(best)}"
    )


def raw_line(row: CombinedSignal) -> str:
    """The combination's own RankIC and that of the draws, or why there are none."""
    if not row.random_draws:
        return row.why_no_control
    return (
        f"combined RankIC {number(row.combined_rank_ic, 4, signed=True)} (ICIR "
        f"{number(row.combined_icir, 3, signed=True)}) over {whole(row.excess_bars)} bars, random "
        f"{number(row.random_rank_ic, 4, signed=True)} ({number(row.random_icir, 3, signed=True)}) "
        f"in {counted(row.random_draws, 'draw')}"
    )


def asked_line(run: PublishedRun) -> str:
    """How many factors, out of which searches, and how often they are weighed anew."""
    asked = run.spec.combination
    rows = run.combined
    if asked is None or not rows:
        return ""
    searches = f", out of {', '.join(asked.searches)}" if asked.searches else ""
    return (
        f"{counted(rows[0].n_factors, 'factor')}{searches}; {counted(rows[0].refits, 'refit')}, "
        f"every {asked.refit_ms / 86_400_000:g} days; every method and setting counts as a trial."
    )


def _interval(row: CombinedSignal) -> str:
    low, high = row.excess_low, row.excess_high
    if low is None or high is None:
        return "too few bars for an interval"
    share = percent(row.excess_confidence, 0)
    return f"{share} interval {number(low, 4, signed=True)} to {number(high, 4, signed=True)}"
