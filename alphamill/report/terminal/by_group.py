"""A factor by hour, phase, weekday, year, regime or coin, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from alphamill.evaluation.by_group import REGIME_BARS, GroupFigures, Grouping
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import counted, number, plain, probability, whole

_MEANINGS: dict[Grouping, str] = {
    "hour": "hour: of the close at which it is decided, UTC",
    "phase": "phase: which of its starts a book has that rebalances once a horizon",
    "weekday": "weekday: of the bar that has closed, UTC",
    "year": "year: of the close at which it is decided, UTC",
    "regime": f"regime: the market's rise or fall over {REGIME_BARS} bars before, and whether its "
    "volatility over them was above the median of all that came before",
    "coin": "a coin's part of the mean RankIC: the parts of all add up to it",
}


def groups_board(by: Grouping, name: str, groups: Sequence[GroupFigures]) -> RenderableType:
    """Each group's mean RankIC in the direction of trading; whoever picks one has tried all."""
    table = empty_table(
        by, ">bars", ">RankIC" if by != "coin" else ">part", ">t", f">p x{len(groups)}"
    )
    digits = 4 if by != "coin" else 5
    for one in groups:
        table.add(
            plain(one.group, 40),
            whole(one.bars),
            number(one.mean, digits, signed=True),
            number(one.t, 1, signed=True),
            probability(one.p_adjusted),
        )
    legend = (
        f"{_MEANINGS[by]}. On all bars that the factor has seen, in the direction that it is "
        f"traded; t: Newey-West. Choosing one of {counted(len(groups), 'group')} is as many "
        "trials: p is two-sided and multiplied by their number."
    )
    return Group(
        Text(plain(name, 600), style="bold"), Padding(table, (1, 0)), Text(legend, style="dim")
    )
