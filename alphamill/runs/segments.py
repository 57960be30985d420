"""A run's segments as rows of its panel's grid, and whether there are bars enough for them."""

from __future__ import annotations

from alphamill.evaluation.score import MIN_OBSERVATIONS
from alphamill.evaluation.splits import Segment, SegmentBars, split_bars, split_edges
from alphamill.frames import Interval
from alphamill.settings import SegmentSettings

NO_GRID = "1M bars have no fixed length and cannot form a panel; use 1w or shorter"


def cut_segments(
    bars: int, settings: SegmentSettings, history_bars: int
) -> dict[Segment, SegmentBars]:
    """Discovery, validation and holdout of that many bars, by the settings' fractions."""
    return split_bars(
        bars,
        settings.discovery_frac,
        settings.validation_frac,
        embargo_bars=settings.horizon_bars + settings.entry_lag_bars,
        history_bars=history_bars,
    )


def too_short(bars: int, interval: Interval, settings: SegmentSettings) -> str | None:
    """Why so many bars cannot make three segments that could ever be measured, and what can be.

    None if they can. Cause and cure in one sentence.
    """
    validation, holdout = split_edges(bars, settings.discovery_frac, settings.validation_frac)
    lengths = (validation, holdout - validation, bars - holdout)
    needed = needed_bars(settings)
    if min(lengths) >= needed:
        return None
    smallest = min(
        settings.discovery_frac,
        settings.validation_frac,
        1 - settings.discovery_frac - settings.validation_frac,
    )
    enough = int(needed / smallest) + 2  # a bar is lost to rounding at each edge
    return (
        f"{bars} bars of {interval} make segments of {', '.join(map(str, lengths))} bars; at a "
        f"horizon of {settings.horizon_bars} each needs {needed}: ask for a range of {enough} bars "
        "or more, or set segments.horizon_bars lower"
    )


def needed_bars(settings: SegmentSettings) -> int:
    """The shortest segment: an embargo before, a label's length after, and what a t is made of."""
    return 2 * (settings.horizon_bars + settings.entry_lag_bars) + MIN_OBSERVATIONS
