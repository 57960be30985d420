"""A market's symbols, those that died too, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from rich.console import Group
from rich.text import Text

from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, day, plain, times_over, whole
from alphamill.universe.master_list import Listed
from alphamill.universe.renames import changes
from alphamill.universe.snapshots import MasterList

Breaks = Mapping[str, Sequence[tuple[int, float]]]  # symbol -> since when, price ratio


def symbols_view(listed: MasterList, shown: Sequence[Listed], breaks: Breaks) -> Group:
    """A line a symbol. breaks: other coins that the lake's bars show under the name."""
    table = empty_table("symbol", "what", "status", "first bar", "last bar", "and")
    for one in shown:
        what = one.what if not one.contract_type else f"{one.what}, {one.contract_type.lower()}"
        table.add(
            plain(one.symbol, 40),
            plain(what, 60),
            plain(one.status, 20) or "not listed",
            first_bar(one),
            last_bar(one),
            plain("; ".join(notes_of(one, breaks.get(one.symbol, ()))), 400),
        )
    dead = sum(one.delisted for one in listed.symbols)
    head = (
        f"{whole(len(listed.symbols))} symbols of {listed.market.value} as of {listed.on}, "
        f"{whole(dead)} of them delisted; {whole(len(shown))} shown"
    )
    age = "asks again what there is: alphamill symbols --refresh"
    return Group(table, Text(), Text(head), Text(age, style="dim"))


def first_bar(one: Listed) -> str:
    """A day, or a month where the day is not known."""
    return _edge(one.first_day_ms, one.first)


def last_bar(one: Listed) -> str:
    """A day, or a month where the day is not known; nothing of a symbol that trades."""
    return _edge(one.last_day_ms, one.last)


def _edge(day_ms: int | None, month: object) -> str:
    if day_ms is not None:
        return day(day_ms)
    return NOTHING if month is None else str(month)


def notes_of(one: Listed, breaks: Sequence[tuple[int, float]]) -> list[str]:
    """What else there is to say: renames and new units on record, and what bars show.

    Of a change that stands in both the record's words are taken.
    """
    said = [change.said_of(one.base) for change in changes().get(one.base, ())]
    days = {change.on for change in changes().get(one.base, ())}
    said += [
        f"another coin or unit since {day(since_ms)} by its bars (price x {times_over(ratio)})"
        for since_ms, ratio in breaks
        if date.fromisoformat(day(since_ms)) not in days
    ]
    return said
