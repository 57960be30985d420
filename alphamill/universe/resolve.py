"""From a rule to its members: candidates of the master list, by their daily bars in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alphamill.errors import GiveUp
from alphamill.frames import Market, Month, TimeRange, months_between
from alphamill.lake import Lake
from alphamill.market.venues import VENUES
from alphamill.universe.daily import DailyBars, measured, read_daily
from alphamill.universe.master_list import Listed
from alphamill.universe.membership import DAY_MS, MonthOfUniverse, members_by_month
from alphamill.universe.record import Universe, members_of
from alphamill.universe.rule import Rule
from alphamill.universe.snapshots import MasterList

_SOME = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """What a rule needs to be judged over a run's range, and what of it the lake has.

    months: those of the run. bars: of the candidates, over the days that the rule looks back on.
    missing: symbol -> the stretch from the first to the last of its days that were never asked for.
    """

    rule: Rule
    market: Market
    candidates: tuple[Listed, ...]
    months: tuple[Month, ...]
    bars: DailyBars
    missing: Mapping[str, TimeRange]

    def what_to_bring(self) -> Universe:
        """For a run that fetches the missing bars."""
        return Universe(
            self.rule.text, lives={s: (m.start_ms, m.end_ms) for s, m in self.missing.items()}
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """Who belongs. months: with ranks and measures, and why others did not."""

    universe: Universe
    months: tuple[MonthOfUniverse, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """All that belong in any month, sorted."""
        return tuple(self.universe.members)


def survey(lake: Lake, listed: MasterList, rule: Rule, start_ms: int, end_ms: int) -> Survey:
    """For a run over [start_ms, end_ms). Raises GiveUp where the list has no candidate."""
    months = tuple(months_between(start_ms, end_ms))
    candidates = candidates_of(listed, rule)
    opened_ms = VENUES[listed.market].opened.start_ms
    # Whole months: the files of a fetch are months, and one that is asked for twice is one.
    back_ms = months[0].start_ms - rule.history_days * DAY_MS
    first_ms = max(opened_ms, Month.of_ms(max(back_ms, opened_ms)).start_ms)
    last_ms = max(months[-1].start_ms, first_ms)
    names = [one.symbol for one in candidates]
    bars = read_daily(lake, listed.market, names, first_ms, last_ms)
    missing = {
        one.symbol: lacking for one in candidates if (lacking := _lacking(one, bars)) is not None
    }
    return Survey(rule, listed.market, candidates, months, bars, missing)


def candidates_of(listed: MasterList, rule: Rule) -> tuple[Listed, ...]:
    """Symbols of the list, dead ones too, that the rule does not leave out by what they are."""
    found = tuple(
        one
        for one in listed.symbols
        if one.quote == rule.quote
        and not set(one.kinds) & {*rule.excluded}
        and one.base not in rule.without
    )
    if not found:
        quotes = sorted({one.quote for one in listed.symbols if one.quote})
        raise GiveUp(
            f"no symbol of {listed.market.value} is quoted in {rule.quote!r} and may belong; "
            f"there are {', '.join(quotes[:12]) or 'none'}"
        )
    return found


def _lacking(one: Listed, bars: DailyBars) -> TimeRange | None:
    """The days of its life that nobody asked for, from the first to the last."""
    lived = life_of(one, bars.range)
    if lived is None:
        return None
    left = lived.without(*bars.asked.get(one.symbol, ()))
    return TimeRange(left[0].start_ms, left[-1].end_ms) if left else None


def life_of(one: Listed, within: TimeRange) -> TimeRange | None:
    """The months of the range in which it has bars, as far as the list knows."""
    first = within.start_ms if one.first is None else one.first.start_ms
    last = one.last.end_ms if one.last is not None else within.end_ms
    if one.first is None and one.delisted:  # it never had a bar that anybody keeps
        return None
    return TimeRange(first, max(first, last)).within(within)


def resolve(asked: Survey, start_ms: int, end_ms: int) -> Resolved:
    """The members. Nothing may be missing.

    Raises GiveUp where the universe is empty in a month, with the reason and the first month from
    which on it is not.
    """
    if asked.missing:
        raise ValueError(f"daily bars of {len(asked.missing)} candidates are missing")
    months = members_by_month(asked.rule, measured(asked.bars, asked.rule.field), asked.months)
    empty = [one for one in months if not one.members]
    if empty:
        raise GiveUp(_empty_text(asked.rule, empty[0], months))
    whole = TimeRange(start_ms, end_ms)
    members = members_of((one.month, one.members) for one in months)
    lives = {
        one.symbol: (lived.start_ms, lived.end_ms)
        for one in asked.candidates
        if one.symbol in members and (lived := life_of(one, whole)) is not None and lived != whole
    }
    return Resolved(Universe(asked.rule.text, members, lives), months)


def _empty_text(rule: Rule, first: MonthOfUniverse, months: Sequence[MonthOfUniverse]) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in first.passed.items())
    last_empty = max(at for at, one in enumerate(months) if not one.members)
    later = months[last_empty + 1 :]
    cure = (
        f"ask from {later[0].month}-01 on"
        if later
        else f"no month of the range has a member: {rule.measure} and listed:{rule.listed_days}d "
        "look back further than the coins go"
    )
    return f"the universe is empty in {first.month}: of {first.candidates} candidates {why}; {cure}"


def missing_text(asked: Survey) -> str:
    """What the lake lacks, in words: how many, which, and over which days."""
    names = sorted(asked.missing)
    some = ", ".join(names[:_SOME]) + (
        f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
    )
    first = min(one.start_ms for one in asked.missing.values())
    last = max(one.end_ms for one in asked.missing.values())
    return (
        f"the lake lacks daily bars of {len(names)} of {len(asked.candidates)} candidates between "
        f"{Month.of_ms(first)} and {Month.of_ms(last - 1)} ({some})"
    )
