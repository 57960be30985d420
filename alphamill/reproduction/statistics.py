"""`statistics`: the papers' worked numbers, by `alphamill.evaluation`. Needs no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alphamill import evaluation
from alphamill.frames import FloatArray
from alphamill.reproduction.figures import figures, source_of
from alphamill.reproduction.row import Reproduction, Row

_DAYS = 250  # a year of the papers

Figure = Mapping[str, Any]


def reproduce() -> Reproduction:
    """Every number that a paper, or somebody else's code, gives for inputs that it states."""
    held = figures("statistics")
    rows = [
        Row(what.format_map(figure), figure["published"], float(compute(figure)))
        for kind, (what, compute) in _KINDS.items()
        for figure in held[kind]
    ]
    return Reproduction("statistics", source_of("statistics"), rows)


def _psr(of: Figure) -> float:
    return evaluation.probabilistic_sharpe_ratio(
        of["sharpe"], of["benchmark"], of["n_obs"], of["skew"], of["kurtosis"]
    )


def _track_record(of: Figure) -> float:
    sharpe, benchmark = 2 / math.sqrt(of["per_year"]), 1 / math.sqrt(of["per_year"])
    bars = evaluation.minimum_track_record_length(sharpe, benchmark, of["skew"], of["kurtosis"])
    return bars / float(of["per_year"])


def _hurdle(of: Figure) -> float:
    hurdle = evaluation.expected_maximum_sharpe(0.5 / _DAYS, of["n_trials"])
    return hurdle * (math.sqrt(_DAYS) if of["unit"] == "year" else 1.0)


def _dsr(of: Figure) -> float:
    return evaluation.deflated_sharpe_ratio(
        2.5 / math.sqrt(_DAYS), 0.5 / _DAYS, of["n_trials"], 1250, of["skew"], of["kurtosis"]
    )


def _newey_west(of: Figure) -> float:
    return evaluation.newey_west_t(figures("statistics")["vectors"]["newey_west"], of["lags"])


def _lags(of: Figure) -> int:
    return evaluation.default_lags(of["n_obs"])


def _adjusted_p(of: Figure) -> float:
    adjusted = evaluation.benjamini_hochberg(figures("statistics")["vectors"]["p_values"])
    return float(adjusted[of["position"] - 1])


def _pbo(of: Figure) -> float:
    return evaluation.probability_of_backtest_overfitting(_sines(), of["blocks"])


def _sines() -> FloatArray:
    """Six series of 64 returns: sin(0.7 (t + 1) (n + 1)) + 0.02 n."""
    t, n = np.arange(64)[:, None], np.arange(6)[None, :]
    returns: FloatArray = np.sin((t + 1) * (n + 1) * 0.7) + 0.02 * n
    return returns


_KINDS: Mapping[str, tuple[str, Callable[[Figure], float]]] = {
    "psr": ("PSR of {sharpe} over {benchmark}, T {n_obs}, skew {skew}, kurtosis {kurtosis}", _psr),
    "track_record": (
        "least track record, years of {per_year}, skew {skew}, kurtosis {kurtosis}",
        _track_record,
    ),
    "hurdle": ("Sharpe ratio a {unit} that the best of {n_trials} is expected to show", _hurdle),
    "dsr": ("DSR of the best of {n_trials}, skew {skew}, kurtosis {kurtosis}", _dsr),
    "newey_west": ("Newey-West t of twelve numbers, {lags} lags", _newey_west),
    "lags": ("lags of {n_obs} observations", _lags),
    "benjamini_hochberg": ("Benjamini-Hochberg p of the ten's number {position}", _adjusted_p),
    "pbo": ("PBO of six sines of 64 returns, {blocks} blocks", _pbo),
}
