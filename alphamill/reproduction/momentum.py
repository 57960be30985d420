"""`momentum-2026`: a README's table from its own prices, and what its clip of returns does to it.

Rules, as its notebooks have them: daily closes of 25 coins; momentum is the mean return of 20 days,
reversal the last day's with its sign turned; ranks over the coins that may be held that day, less
their mean, to a gross of 1. They are held the next day, as far as they may be held then, again at
a gross of 1. Returns are clipped to +-30 % before they are earned. 20 bps of what is traded. Alpha
and its t: ordinary least squares on the return of BTC. A day is stamped 16:00 and a period ends at
00:00 of the day that the table names, so that 31 December of 2022 and of 2024 are in none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alphamill.evaluation import portfolio_weights, turnover
from alphamill.evaluation.significance import moments
from alphamill.factors import compute
from alphamill.frames import FloatArray, Interval, Panel
from alphamill.language import read_given
from alphamill.reproduction.figures import figures, source_of
from alphamill.reproduction.row import Reproduction, Row

NAME = "momentum-2026"
CLIP = 0.3
_COST = 0.002
_DAYS = 365
_SIGNALS = {"momentum": "ts_mean(returns, 20)", "reversal": "-returns"}
_PERIODS = {
    "2020-22": ("2020-01-01", "2022-12-31"),
    "2023-24": ("2023-01-01", "2024-12-31"),
    "2025-26": ("2025-01-01", "2026-02-06"),
}
_CALLED = {
    "net_sharpe": "net Sharpe ratio",
    "gross_sharpe": "gross Sharpe ratio",
    "alpha_percent": "alpha, % a year",
    "t": "t of alpha",
}

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Daily:
    """The study's coins by day. panel: "close", NaN before a coin's first; eligible: (days, coins).

    BTC is the first coin.
    """

    panel: Panel
    eligible: BoolArray

    @classmethod
    def read(cls, folder: str) -> Daily:
        """From a clone of the study. Raises GiveUp where it is not there, or another state."""
        (source,) = source_of(NAME)
        closes, eligible = (
            pd.read_csv(source.file(folder, name), index_col=0, parse_dates=True)
            for name in ("data_px.csv", "data_elig.csv")
        )
        times_ms = pd.DatetimeIndex(closes.index).as_unit("ms").asi8
        values = {"close": np.ascontiguousarray(closes.to_numpy(dtype=np.float64))}
        panel = Panel(Interval.D1, times_ms, tuple(map(str, closes.columns)), values)
        return cls(panel, eligible.to_numpy(dtype=bool))


def reproduce(folder: str) -> Reproduction:
    """Every figure of the two tables; those that the clip moves, without it too."""
    daily = Daily.read(folder)
    return Reproduction(NAME, source_of(NAME), rows_of(daily))


def rows_of(daily: Daily) -> list[Row]:
    """The table's rows from these days."""
    published = figures(NAME)["published"]
    found = []
    for name, formula in _SIGNALS.items():
        values = compute(read_given(formula), daily.panel)
        clipped, whole = (measured(daily, values, clip) for clip in (CLIP, math.inf))
        for years, printed in published[name].items():
            found += _rows(f"{name} {years}", printed, clipped[years], whole[years])
    return found


def _rows(
    of: str, printed: Mapping[str, str], clipped: Mapping[str, float], whole: Mapping[str, float]
) -> list[Row]:
    rows = [
        Row(f"{of}, {_CALLED[figure]}", text, clipped[figure]) for figure, text in printed.items()
    ]
    moved = whole["t"] - clipped["t"]
    note = f"a clip to +-30 %, which the table does not state, moves t by {abs(moved):.2f}"
    return [*rows, Row(f"{of}, {_CALLED['t']}, nothing clipped", "", whole["t"], note)]


def measured(daily: Daily, values: FloatArray, clip: float) -> dict[str, dict[str, float]]:
    """By period, the figures of a book by these values; returns beyond +-clip are cut to it."""
    returns = np.clip(compute(read_given("returns"), daily.panel), -clip, clip)
    book = _held(portfolio_weights(np.where(daily.eligible, values, np.nan)), daily.eligible)
    gross = (book * np.nan_to_num(returns, nan=0.0)).sum(axis=1)
    net = gross - _COST * 2 * turnover(book)  # `turnover` is one-way, half of what is traded
    days = daily.panel.times_ms.astype("datetime64[ms]")
    found = {}
    for period, (first, last) in _PERIODS.items():
        inside = (days >= np.datetime64(first)) & (days <= np.datetime64(last))
        alpha, t = _alpha(gross[inside], returns[inside, 0])
        found[period] = {
            "net_sharpe": moments(net[inside]).sharpe * math.sqrt(_DAYS),
            "gross_sharpe": moments(gross[inside]).sharpe * math.sqrt(_DAYS),
            "alpha_percent": 100 * _DAYS * alpha,
            "t": t,
        }
    return found


def _held(targets: FloatArray, eligible: BoolArray) -> FloatArray:
    """The weights of the day before, of what may be held that day, again to a gross of 1."""
    book = np.zeros_like(targets)
    book[1:] = np.where(eligible[1:], targets[:-1], 0.0)
    gross = np.abs(book).sum(axis=1, keepdims=True)
    np.divide(book, gross, out=book, where=gross > 0)
    return book


def _alpha(earned: FloatArray, market: Sequence[float] | FloatArray) -> tuple[float, float]:
    """The constant of a regression on the market's return, and its t (n - 2 degrees)."""
    design = np.column_stack([np.ones(len(earned)), market])
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ (design.T @ earned)
    errors = earned - design @ found
    variance = float(errors @ errors) / (len(earned) - 2)
    return float(found[0]), float(found[0] / math.sqrt(variance * inverse[0, 0]))
