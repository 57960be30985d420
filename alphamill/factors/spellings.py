"""Names as other people and models write them: taken where they can only mean one thing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alphamill.factors.operators import SPELLINGS

_BOUNDED = "has no bound on its window"
_AHEAD = "looks ahead, which this language cannot say"
_OTHERS = "needs another symbol's series"

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "greater": ("is the larger of two in some dialects and `>` in others", "max(x, y) or x > y"),
    "less": ("is the smaller of two in some dialects and `<` in others", "min(x, y) or x < y"),
    "max": ("is a window in some dialects, two series in others", "ts_max(x, bars) or max(x, y)"),
    "min": ("is a window in some dialects, two series in others", "ts_min(x, bars) or min(x, y)"),
    "mad": ("is a mean or a median deviation", "ts_mad(x, bars) or ts_medad(x, bars)"),
    "count": ("counts valid bars in some dialects, true ones in others", "ts_count(cond, bars)"),
    "idxmax": ("counts from the oldest bar", "ts_argmax(x, bars)"),
    "idxmin": ("counts from the oldest bar", "ts_argmin(x, bars)"),
    "highday": ("counts this bar as 1", "ts_argmax(x, bars)"),
    "lowday": ("counts this bar as 1", "ts_argmin(x, bars)"),
    "sumif": ("has its arguments in another order", "ts_sum_if(x, cond, bars)"),
    "regbeta": ("differs in what is regressed on what", "ts_beta(y, x, bars)"),
    "regresi": ("differs in what is regressed on what", "ts_regress_resid(y, x, bars)"),
    "roc": ("is in percent in some dialects", "pct_change(x, bars)"),
    "cumsum": (_BOUNDED, "ts_sum(x, bars)"),
    "cumprod": (_BOUNDED, "ts_product(x, bars)"),
    "cummax": (_BOUNDED, "ts_max(x, bars)"),
    "cummin": (_BOUNDED, "ts_min(x, bars)"),
    "expanding": (_BOUNDED, "ts_mean(x, bars)"),
    "rolling": ("is written by its statistic", "ts_mean(x, bars)"),
    "ffill": ("reaches back without a bound", "fill(x, number)"),
    "bfill": (_AHEAD, "fill(x, number)"),
    "lead": (_AHEAD, "delay(x, bars)"),
    "future": (_AHEAD, "delay(x, bars)"),
    "changeinstrument": (_OTHERS, "cs_mean(x)"),
    "tresample": ("changes the bars' length; choose the interval of the panel", ""),
    "p": ("reads point-in-time data, which markets of coins do not have", ""),
    "pref": ("reads point-in-time data, which markets of coins do not have", ""),
}


def loose(text: str) -> str:
    """A name without case and underscores: TsMean, TS_MEAN and ts_mean are one."""
    return text.lower().replace("_", "")


LOOSE: Mapping[str, str] = MappingProxyType(
    {
        loose(spelling): name
        for spelling, name in SPELLINGS.items()
        if loose(spelling) not in _REFUSALS
    }
)
"""Loosely spelt names -> canonical name."""


def refusal(text: str) -> tuple[str, str] | None:
    """Why a name is not taken, and what to write; None where nothing is held against it."""
    return _REFUSALS.get(loose(text))
