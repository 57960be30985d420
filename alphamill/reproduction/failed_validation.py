"""The momentum that failed its validation: 3 days back, held for a week, decided every 4 hours.

As `cohorts`, but: at least 20 members with a past return; weights are centred ranks; the delayed
book takes the ranks that members had a day before, of those that still belong, and holds them for
six days; a year has 365 days. Both books are counted over the same refreshes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.portfolio import compounded
from alphamill.evaluation.ranks import centred_ranks, demean_rows, divide
from alphamill.evaluation.significance import moments
from alphamill.frames import FloatArray, IntArray, Month, TimeRange
from alphamill.reproduction.closes import HOUR_MS, Closes, Lists
from alphamill.reproduction.cohorts import Book, Design, book_of

IMMEDIATE = Design(72, 168, 4, terciles=False, min_members=20)
DELAYED = Design(72, 144, 4, terciles=False, min_members=20)
DELAY_H = 24
WINDOW = TimeRange(Month(2023, 1).start_ms, Month(2025, 1).start_ms)
_PERIODS = 365 * 6


def figures_of(closes: Closes, lists: Lists, window: TimeRange) -> dict[str, dict[str, float]]:
    """By book, every figure of the study's table, by its column's name."""
    step = IMMEDIATE.cadence_h
    n_decisions = (window.length_ms // HOUR_MS - IMMEDIATE.holding_h) // step
    rows = closes.row(window.start_ms) + step * np.arange(n_decisions, dtype=np.int64)
    refreshes = rows[0] + step * np.arange(n_decisions + IMMEDIATE.cohorts, dtype=np.int64)
    returns = closes.change(refreshes, step)
    now = _ranks(closes, lists, rows)
    before = _ranks(closes, lists, rows - DELAY_H)
    before[~closes.belonging(rows, lists)] = np.nan  # who has left since
    entries = [weights_of(scores, IMMEDIATE.min_members) for scores in (now, before)]
    books = {
        "momentum_immediate": _book(entries[0], returns, IMMEDIATE),
        "momentum_delayed_1d": _book(entries[1], returns, DELAYED),
    }
    common = np.logical_and.reduce([np.isfinite(book.gross) for book in books.values()])
    return {
        name: {"usable_decisions": int(entered.any(axis=1).sum())} | _summary(book, common)
        for entered, (name, book) in zip(entries, books.items(), strict=True)
    }


def _ranks(closes: Closes, lists: Lists, rows: IntArray) -> FloatArray:
    """Centred ranks of the past return over those who belong then; NaN below 20."""
    inside = closes.belonging(rows, lists)
    past = np.where(inside, closes.change(rows, -IMMEDIATE.formation_h), np.nan)
    there = np.isfinite(past)
    few = there.sum(axis=1, keepdims=True) < IMMEDIATE.min_members
    return np.where(there & ~few, centred_ranks(past), np.nan)


def weights_of(scores: FloatArray, min_members: int) -> FloatArray:
    """Scores less their mean, to a gross of 1; all 0 with fewer scores. NaN has none."""
    centred = demean_rows(scores)
    centred[np.isfinite(scores).sum(axis=1) < min_members] = 0.0
    gross = np.abs(centred).sum(axis=1, keepdims=True)
    return divide(centred, gross, gross > 0, otherwise=0.0)


def _book(entries: FloatArray, returns: FloatArray, design: Design) -> Book:
    """Over all refreshes: one that is sold out earlier holds nothing then."""
    own = len(entries) + design.cohorts
    book = book_of(entries, returns[:own], design.cohorts)
    rest = np.zeros(len(returns) - own)
    return Book(
        np.concatenate([book.gross, rest]),
        np.concatenate([book.traded, rest]),
        np.concatenate([book.cohorts, rest.astype(np.int64)]),
    )


def _summary(book: Book, common: NDArray[np.bool_]) -> dict[str, float]:
    yearly = math.sqrt(_PERIODS)
    gross, traded = book.gross[common], book.traded[common]
    net = {bps: book.net(bps)[common] for bps in (7, 20, 40)}
    return {
        "common_periods": int(common.sum()),
        "mean_turnover": float(traded.mean()),
        "mean_gross_return": float(gross.mean()),
        "gross_sharpe": moments(gross).sharpe * yearly,
        "mean_net_return_20bps": float(net[20].mean()),
        **{f"net_sharpe_{bps}bps": moments(one).sharpe * yearly for bps, one in net.items()},
        "net_compounded_return_20bps": float(compounded(net[20])[-1]) - 1.0,
        "break_even_bps": 1e4 * float(gross.sum() / traded.sum()),
        "missing_held_return_bars_full_validation": int(np.isnan(book.gross).sum()),
    }
