"""An offline stand-in for a model: a seeded grammar of textbook ideas that learns from results.

It knows common motifs of the factor literature and nothing about any market. What it reads in a
prompt about earlier rounds it uses as a model is asked to: it varies what worked, leaves what
failed, and slows down where it is told that trading costs more than is earned. An honest, free
control arm; wherever its results are shown they are labelled as its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

NAME = "offline-proposer"

_WINDOWS = (3, 6, 12, 18, 24, 36, 48, 72, 96, 120, 168)
_LONG_WINDOWS = _WINDOWS[6:]
_SLOWED_OVER = (12, 24, 48, 72, 96)  # bars
_NUMBER = re.compile(r"(?<=, )\d+(?=\))")  # a window: the last argument of a call


@dataclass(frozen=True, slots=True)
class Idea:
    """An expression and why it might work."""

    expression: str
    hypothesis: str


# family -> (template, hypothesis); {a} and {b} are windows in bars.
_MOTIFS: dict[str, tuple[tuple[str, str], ...]] = {
    "reversal": (
        ("-ts_zscore(close, {a})", "Prices far from their mean of {a} bars come back."),
        ("-pct_change(close, {a})", "What ran most over {a} bars gives some of it back."),
        ("1 - close / ts_mean(close, {a})", "A stretched price returns to its average."),
        ("-ts_rank(close, {a})", "A close at the top of its range is bought out."),
        ("(vwap - close) / close", "A close below the bar's average price is made up for."),
    ),
    "momentum": (
        ("pct_change(close, {a})", "Winners of {a} bars go on winning."),
        ("ts_mean(returns, {a}) / ts_std(returns, {a})", "Steady gains persist."),
        ("ema(close, {a}) / ema(close, {b}) - 1", "A fast average above a slow one is a trend."),
        ("ts_slope(close, {a}) / close", "A rising regression line keeps rising."),
    ),
    "volume": (
        ("volume / ts_mean(volume, {a})", "Unusual volume brings attention."),
        ("-ts_zscore(quote_volume, {a})", "Crowded coins lag quiet ones."),
        ("ts_mean(volume, {a}) / ts_mean(volume, {b}) - 1", "Volume that builds up leads price."),
    ),
    "price and volume": (
        ("-ts_corr(close, volume, {a})", "Price that rises with volume is exhausted."),
        ("ts_corr(returns, volume / ts_mean(volume, {b}), {a})", "Buying on volume goes on."),
        ("-ts_rank(volume, {a}) * returns", "A move on high volume overshoots."),
    ),
    "order flow": (
        ("ts_mean(taker_buy_base / volume, {a})", "Persistent taker buying pushes the price."),
        ("ts_zscore(taker_buy_base / volume, {a})", "A burst of taker buying goes on."),
        ("-delta(taker_buy_base / volume, {a})", "Spent buying pressure reverses."),
    ),
    "volatility": (
        ("-ts_std(returns, {a})", "Calm coins earn more than wild ones."),
        ("ts_std(returns, {a}) / ts_std(returns, {b})", "Rising volatility is paid for."),
        ("-ts_mean((high - low) / close, {a})", "Narrow ranges precede gains."),
    ),
    "shape of the bar": (
        ("ts_mean((close - open) / (high - low), {a})", "Closes near the high show demand."),
        ("-ts_mean((high - close) / (high - low), {a})", "Upper shadows show supply."),
        ("ts_mean((close - low) / (high - low), {a})", "Closes off the low show demand."),
    ),
}


def scan(
    rng: Random,
    count: int,
    worked: Sequence[str],
    tried: Sequence[str],
    theme: str = "",
    slower: bool = False,
) -> list[Idea]:
    """Short ideas: half varies what worked, if anything did, the rest explores the motifs.

    Expressions in `tried` are not proposed again. theme: a family to explore first. slower: what is
    varied is slowed down, and what is explored has long windows.
    """
    seen = set(tried) | set(worked)
    ideas: list[Idea] = []
    for attempt in range(20 * count):
        if len(ideas) == count:
            break
        own = theme if attempt % 4 < 2 else ""
        vary = _slow if slower else _vary
        windows = _LONG_WINDOWS if slower else _WINDOWS
        idea = vary(rng, worked) if worked and attempt % 2 else _explore(rng, own, windows)
        if idea.expression not in seen:
            seen.add(idea.expression)
            ideas.append(idea)
    return ideas


def refine(rng: Random, count: int, best: Sequence[str], slower: bool = False) -> list[Idea]:
    """Variations and combinations of the best so far; slower: most are slowed down."""
    if not best:
        return scan(rng, count, (), ())
    seen = set(best)
    ideas: list[Idea] = []
    for attempt in range(20 * count):
        if len(ideas) == count:
            break
        pair = len(best) > 1 and attempt % 3 == 2
        vary = _slow if slower and attempt % 3 == 0 else _vary
        idea = _combine(rng, best) if pair else vary(rng, best)
        if idea.expression not in seen:
            seen.add(idea.expression)
            ideas.append(idea)
    return ideas


def _explore(rng: Random, theme: str = "", windows: Sequence[int] = _WINDOWS) -> Idea:
    family = theme if theme in _MOTIFS else rng.choice(sorted(_MOTIFS))
    template, hypothesis = rng.choice(_MOTIFS[family])
    short, long = sorted(rng.sample(windows, 2))
    text, why = (part.format(a=short, b=long) for part in (template, hypothesis))
    if rng.random() < 0.3:
        text = rng.choice(("rank({})", "zscore({})")).format(text)
    return Idea(text, f"{why} [{family}]")


def _vary(rng: Random, known: Sequence[str]) -> Idea:
    """One of the known with another window, smoothed, or ranked."""
    # The first are the best; they are varied more often.
    base = known[min(int(rng.expovariate(0.5)), len(known) - 1)]
    how = rng.random()
    if how < 0.6 and _NUMBER.search(base):
        text = _NUMBER.sub(lambda found: _nearby(rng, int(found.group())), base)
        return Idea(text, f"Another horizon of {base}")
    if how < 0.85:
        return Idea(f"ts_mean({base}, {rng.choice((3, 6, 12))})", f"Smoother, cheaper {base}")
    return Idea(f"rank({base})", f"Robust to outliers: {base}")


def _slow(rng: Random, known: Sequence[str]) -> Idea:
    """One of the known over windows some times as long, or smoothed."""
    base = known[min(int(rng.expovariate(0.5)), len(known) - 1)]
    if rng.random() < 0.5 and _NUMBER.search(base):
        times = rng.choice((2, 3, 4))
        text = _NUMBER.sub(lambda found: str(min(times * int(found.group()), 500)), base)
        return Idea(text, f"The same over longer windows, so that it trades less: {base}")
    smooth = rng.choice(("ema", "ts_mean", "decay_linear"))
    return Idea(f"{smooth}({base}, {rng.choice(_SLOWED_OVER)})", f"Trades less than {base}")


def _nearby(rng: Random, window: int) -> str:
    return str(max(2, round(window * rng.choice((0.5, 0.67, 0.8, 1.25, 1.5, 2.0)))))


def _combine(rng: Random, best: Sequence[str]) -> Idea:
    first, second = rng.sample(list(best), 2)
    return Idea(f"rank({first}) + rank({second})", f"Two signals together: {first}; {second}")
