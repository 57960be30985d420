"""The same yearly IC over a universe that has its dead: a rule over the lake's daily bars.

The study's own rule as far as it is stated: 25 coins by the median of 30 days of quote volume,
listed for 90 days, judged each month from days that had closed by then; no stablecoins, UST among
them, and no leveraged tokens. Coins that were delisted or renamed later belong while they lived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.errors import GiveUp
from alphamill.frames import Month, TimeRange
from alphamill.lake import Lake
from alphamill.lake.listings import symbol_of
from alphamill.reproduction import yearly_ic
from alphamill.reproduction.closes import Lists, lacking, lacking_text, needed, read_closes
from alphamill.reproduction.figures import figures
from alphamill.reproduction.row import Row
from alphamill.universe.resolve import missing_text, resolve, survey
from alphamill.universe.rule import parse_rule
from alphamill.universe.snapshots import MasterList

RULE = "top:25 by median_30d(quote_volume), listed:90d, without:UST, monthly"
CADENCE_H = 24
CURE = (
    f'alphamill fetch --universe "{RULE}" --interval 1h --start 2020-04-01 --end 2025-01-01 --wait'
)
_BACK_H, _AHEAD_H = (max(hours) for hours in zip(*yearly_ic.SIGNALS.values(), strict=True))
_FIRST = Month(2020, 4)


@dataclass(frozen=True, slots=True)
class Members:
    """Who belongs by the rule in the months of a year and around it; why not known otherwise."""

    lists: Lists
    why: str


def rows_of(lake: Lake, listed: MasterList | None, ends_ms: Mapping[str, int]) -> list[Row]:
    """Daily decisions: ours alone, beside what was published over lists without the dead."""
    rows = []
    for year in range(2020, 2025):
        members = _members(lake, listed, year)
        why = members.why
        if not why:
            closes = read_closes(lake, members.lists, _BACK_H, _AHEAD_H, ends_ms)
        for signal, (back_h, ahead_h) in yearly_ic.SIGNALS.items():
            what = f"{signal} {CADENCE_H}h {year}, mean IC, with the dead"
            wanted = needed(members.lists, yearly_ic.decided(year), back_h, ahead_h)
            if not why and (lacked := lacking(closes, wanted)):
                rows.append(Row(what, "", None, lacking_text(lacked, len(wanted))))
            elif why:
                rows.append(Row(what, "", None, why))
            else:
                cells = yearly_ic.yearly_ic(closes, members.lists, signal, year, [CADENCE_H])
                ours = cells[CADENCE_H].mean
                printed = figures("horizons")["ic"][signal][f"{CADENCE_H}h"][str(year)][0]
                rows.append(Row(what, "", ours, beside(printed, ours)))
    return rows


def beside(printed: str, ours: float) -> str:
    """What was published over lists that lack the dead, and whether the sign is another."""
    turned = float(printed) * ours < 0
    return f"published over lists without the dead: {printed}" + (
        "; the sign is another" if turned else ""
    )


def _members(lake: Lake, listed: MasterList | None, year: int) -> Members:
    if listed is None:
        return Members({}, "the lake has no list of all symbols, dead ones too")
    rule = parse_rule(RULE)
    span = TimeRange(max(_FIRST, Month(year, 1)).start_ms, Month(year + 1, 1).start_ms)
    try:
        asked = survey(lake, listed, rule, span.start_ms, span.end_ms)
        if asked.missing:
            return Members({}, missing_text(asked))
        found = resolve(asked, span.start_ms, span.end_ms)
    except GiveUp as error:
        return Members({}, str(error))
    lists = {one.month: tuple(map(symbol_of, one.members)) for one in found.months}
    return Members(lists, "")
