"""A symbol's day: from its files to its bars, whatever order they are in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from alphamill.bars.bars import Bars, join_bars
from alphamill.bars.build import BarBuilder
from alphamill.bars.flat import DAY_US
from alphamill.bars.order import in_order
from alphamill.bars.quality import OutOfOrder, Quality
from alphamill.bars.rules import Rule
from alphamill.bars.trades import Layout, Trades


@dataclass(frozen=True, slots=True)
class DayOfBars:
    """Bars of one UTC day, and what was wrong with its trades."""

    bars: Bars
    quality: Quality


def build_day(
    read: Callable[[], Iterable[Trades]],
    rule: Rule,
    layout: Layout,
    day_us: int,
    *,
    end_us: int | None = None,
    previous_close: float | None = None,
    contract_usd: int | None = None,
    flow: bool = False,
) -> DayOfBars:
    """Bars of the day that begins at `day_us`; trades of other days are left out.

    read: begins the trades anew, in pieces of any size; called again where they are out of order.
    end_us: before which all trades have come, if that is not the whole day. Others: see
    `BarBuilder`.

    Where takers' sides are not known (see `Quality.sides_known`) what needs them is NaN. Raises
    ValueError, in words: for an imbalance rule then, and as `read` does.
    """
    within = (day_us, day_us + DAY_US)

    def built(pieces: Iterable[Trades]) -> DayOfBars:
        builder = BarBuilder(
            rule,
            layout,
            within_us=within,
            previous_close=previous_close,
            contract_usd=contract_usd,
            flow=flow,
        )
        closed = [builder.add(piece) for piece in pieces]
        bars = join_bars([*closed, builder.finish(within[1] if end_us is None else end_us)])
        return DayOfBars(bars, builder.quality)

    try:
        day = built(read())
    except OutOfOrder:
        day = built(in_order(read, within))
        day = replace(day, quality=replace(day.quality, disordered=True))
    if day.quality.sides_known:
        return day
    if rule.imbalance:
        raise ValueError(
            f"is_buyer_maker is the same in all {day.quality.trades:,} {layout.source}, which says "
            f"nothing about takers: no {rule} bars can be built of them"
        )
    return replace(day, bars=day.bars.without_sides())
