"""A book of overlapping cohorts and its figures, by the rules of crypto-alpha-across-horizons.

A decision ranks the month's members by their past return and enters a cohort of gross 1 and net 0,
which lives for the holding time, whoever belongs later. Living cohorts weigh the same; their sum is
brought to a gross of 1. Weights formed at t earn the return from t to the next refresh. What is
traded is the sum of the changes of all weights, the first from nothing, the last to nothing. A
refresh at which a held coin lacks a return is incomplete and counts nowhere. The rules stand in the
study's docs/methodology.md and src/crypto_alpha (4efb5a2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation import information_coefficient, newey_west_t, portfolio_weights, turnover
from alphamill.evaluation.portfolio import compounded, underwater
from alphamill.evaluation.ranks import divide, rank_rows
from alphamill.evaluation.significance import moments
from alphamill.frames import FloatArray, IntArray, TimeRange
from alphamill.reproduction.closes import HOUR_MS, Closes, Lists

_MIN_FOR_T = 20  # observations; below, no t
_NOTHING = 1e-12  # of a weight: what is left where cohorts cancel, of no coin that is held


@dataclass(frozen=True, slots=True)
class Design:
    """formation_h, holding_h, cadence_h: in hours. terciles: in place of continuous ranks.

    min_members: with a past return, for a cohort.
    """

    formation_h: int
    holding_h: int
    cadence_h: int
    terciles: bool
    min_members: int = 3

    @property
    def cohorts(self) -> int:
        """How many live at once."""
        return self.holding_h // self.cadence_h

    @property
    def periods_per_year(self) -> float:
        """A year has 365.25 days."""
        return 365.25 * 24 / self.cadence_h

    @property
    def lags(self) -> int:
        """Of the IC's t: what its labels overlap."""
        return max(0, math.ceil(self.holding_h / self.cadence_h) - 1)


FINALISTS: Mapping[str, Design] = {
    "BAL": Design(72, 8 * 168, 48, terciles=True),
    "ECON": Design(2 * 168, 6 * 168, 24, terciles=False),
    "SHARP": Design(24, 8 * 168, 8, terciles=True),
}


def decisions(design: Design, window: TimeRange) -> IntArray:
    """Times of the decisions whose cohorts end within the window, UTC epoch milliseconds.

    The hour counts from 1970: every 48 h is every other day of that count.
    """
    step = design.cadence_h * HOUR_MS
    first = -(-window.start_ms // step) * step
    last = window.end_ms - design.holding_h * HOUR_MS
    return np.arange(first, last + 1, step, dtype=np.int64)


def entry_weights(scores: FloatArray, design: Design) -> FloatArray:
    """A cohort each row: gross 1, net 0; all 0 where there are too few scores. NaN has no score."""
    if design.terciles:
        counts = np.isfinite(scores).sum(axis=1, keepdims=True)
        share = divide(rank_rows(scores), counts, np.isfinite(scores))
        long, short = share > 2.0 / 3.0, share <= 1.0 / 3.0
        each = [side.sum(axis=1, keepdims=True) for side in (long, short)]
        both = (each[0] > 0) & (each[1] > 0)
        weights = 0.5 * (divide(long, each[0], both, 0.0) - divide(short, each[1], both, 0.0))
    else:
        weights = portfolio_weights(scores, "rank")
    weights[np.isfinite(scores).sum(axis=1) < design.min_members] = 0.0
    return weights


@dataclass(frozen=True, slots=True)
class Book:
    """By refresh, the last of which sells all.

    gross: return to the next refresh, NaN where it is incomplete. traded: sum of all changes.
    cohorts: how many live.
    """

    gross: FloatArray
    traded: FloatArray
    cohorts: IntArray

    def net(self, bps: float) -> FloatArray:
        """After costs of what is traded."""
        return self.gross - bps / 1e4 * self.traded


def book_of(entries: FloatArray, returns: FloatArray, cohorts: int) -> Book:
    """Of cohorts that live for so many refreshes.

    entries: (decisions, symbols), a row of zeros is no cohort. returns: (decisions + cohorts,
    symbols), to the next refresh; of the last row none is asked.
    """
    n = len(entries) + cohorts
    entered = np.zeros((n, entries.shape[1]))
    entered[: len(entries)] = entries
    alive = np.concatenate(([0], np.cumsum(np.abs(entered).sum(axis=1) > 0)))
    total = np.vstack([np.zeros((1, entries.shape[1])), np.cumsum(entered, axis=0)])
    before = np.maximum(np.arange(1, n + 1) - cohorts, 0)
    held = total[1:] - total[before]
    counts = alive[1:] - alive[before]
    held[np.abs(held) < _NOTHING] = 0.0
    held[counts == 0] = 0.0
    gross_exposure = np.abs(held).sum(axis=1, keepdims=True)
    held = divide(held, gross_exposure, gross_exposure > 0, otherwise=0.0)
    earned = np.where(held != 0.0, held * returns, 0.0).sum(axis=1)
    earned[-1] = 0.0
    return Book(earned, 2 * turnover(held), counts)


def figures_of(design: Design, closes: Closes, lists: Lists, window: TimeRange) -> dict[str, float]:
    """Every figure of the study's table, by its column's name."""
    times = decisions(design, window)
    rows = (times - closes.times_ms[0]) // HOUR_MS
    inside = closes.belonging(rows, lists)
    scores = np.where(inside, closes.change(rows, -design.formation_h), np.nan)
    ahead = np.where(inside, closes.change(rows, design.holding_h), np.nan)
    refreshes = rows[0] + design.cadence_h * np.arange(len(rows) + design.cohorts, dtype=np.int64)
    entries = entry_weights(scores, design)
    book = book_of(entries, closes.change(refreshes, design.cadence_h), design.cohorts)
    ic = information_coefficient(scores, ahead)
    pairs = (np.isfinite(scores) & np.isfinite(ahead)).sum(axis=1)
    counts = {
        "decision_observations": len(rows),
        "available_entries": int((np.abs(entries).sum(axis=1) > 0).sum()),
        "effective_portfolio_refreshes": len(book.gross),
        "max_active_cohorts": int(book.cohorts.max()),
        "n_price_ic": int(np.isfinite(ic).sum()),
        "timestamp_ic_undefined": int(np.isnan(ic).sum()),
        "median_ic_assets": float(np.median(pairs)),
        "ic_hac_lags": design.lags,
    }
    return counts | _predicted(ic, design.lags) | _earned(book, design.periods_per_year)


def _predicted(ic: FloatArray, lags: int) -> dict[str, float]:
    there = ic[np.isfinite(ic)]
    return {
        "mean_price_ic": float(there.mean()),
        "median_price_ic": float(np.median(there)),
        "price_ic_hac_t": newey_west_t(there, lags) if len(there) >= _MIN_FOR_T else math.nan,
    }


def _earned(book: Book, per_year: float) -> dict[str, float]:
    complete: NDArray[np.bool_] = np.isfinite(book.gross)
    gross, net = book.gross[complete], book.net(20)[complete]
    traded = book.traded[complete]
    before, after = moments(gross), moments(net)
    return {
        "gross_sharpe_ann": before.sharpe * math.sqrt(per_year),
        "gross_ann_return": float(gross.mean()) * per_year,
        "gross_ann_vol": before.std * math.sqrt(per_year),
        "mean_turnover_per_decision": float(traded.mean()),
        "annualized_turnover": float(traded.mean()) * per_year,
        "total_turnover": float(traded.sum()),
        "break_even_cost_bps": 1e4 * float(gross.sum() / traded.sum()),
        "net20_sharpe_ann": after.sharpe * math.sqrt(per_year),
        "net20_ann_return": float(net.mean()) * per_year,
        "complete_pnl_rows": int(complete.sum()),
        "incomplete_pnl_rows": int((~complete).sum()),
        "gross_cumulative_return": float(compounded(gross)[-1]) - 1.0,
        "net20_cumulative_return": float(compounded(net)[-1]) - 1.0,
        "gross_max_drawdown": float(underwater(gross).min()),
        "net20_max_drawdown": float(underwater(net).min()),
    }
