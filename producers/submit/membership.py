"""`--universe RULE`: who belongs, by the lake's daily bars; and the run that brings those bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import click

from alphamill.errors import FactorError, GiveUp
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.market.kinds import Kind
from alphamill.settings import Settings
from alphamill.universe.resolve import Resolved, Survey, missing_text, resolve, survey
from alphamill.universe.rule import Rule, parse_rule
from producers.submit.master_list import known_symbols

_NAMED = 5
_LEFT_OUT = {
    Kind.TRADFI: "TradFi perpetuals",
    Kind.DATED: "dated contracts",
    Kind.STABLECOINS: "stable pairs",
    Kind.LEVERAGED: "leveraged tokens",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A rule over a run's range: what it needs, and of when the list of candidates is."""

    survey: Survey
    listed_on: str
    start_ms: int
    end_ms: int

    def resolved(self, fetch_with: str) -> Resolved:
        """Who belongs; told on stderr. fetch_with: the command that brings what is missing.

        Raises GiveUp where daily bars are missing, or a month has no member.
        """
        if self.survey.missing:
            raise GiveUp(f"{missing_text(self.survey)}; bring them with: {fetch_with}")
        found = resolve(self.survey, self.start_ms, self.end_ms)
        for line in told(found, self.survey, self.listed_on):
            click.echo(line, err=True)
        return found

    def daily_bars(self, settings: Settings) -> RunSpec:
        """The run that fetches the daily bars which the lake lacks."""
        missing = self.survey.missing.values()
        return RunSpec(
            kind=RunKind.FETCH,
            lake=settings.lake_uri,
            market=self.survey.market,
            symbols=tuple(sorted(self.survey.missing)),
            intervals=(Interval.D1,),
            start_ms=min(one.start_ms for one in missing),
            end_ms=max(one.end_ms for one in missing),
            universe=self.survey.what_to_bring(),
        )


def read_rule(text: str, market: Market) -> Rule:
    """The rule as typed. Raises click.UsageError with a pointer to what is wrong."""
    try:
        return parse_rule(text, "USD" if market is Market.COIN_M else "USDT")
    except FactorError as error:
        pointer = " " * error.position + "^"
        raise click.UsageError(f"--universe: {error}\n  {text}\n  {pointer}") from error


def ask(settings: Settings, market: Market, text: str, start_ms: int, end_ms: int) -> Asked:
    """What the lake has of what the rule needs. Raises as `known_symbols` does, and UsageError."""
    rule = read_rule(text, market)
    # An older list lacks coins that were listed since, and may belong in the last month.
    last = Month.of_ms(end_ms - 1)
    listed = known_symbols(settings, market, since=date(last.year, last.month, 1))
    found = survey(Lake(settings.lake_uri), listed, rule, start_ms, end_ms)
    return Asked(found, listed.on.isoformat(), start_ms, end_ms)


def fetch_command(
    text: str, market: Market, interval: Interval, start: str, end: str | None = None
) -> str:
    """`alphamill fetch` that brings what the rule needs, whole, to be pasted; start, end: days."""
    of = "" if market is Market.SPOT else f" --market {market.value}"
    until = f" --end {end}" if end else ""
    return (
        f'alphamill fetch --universe "{text}"{of} --interval {interval.value} --start {start}'
        f"{until} --wait"
    )


def told(found: Resolved, asked: Survey, listed_on: str) -> list[str]:
    """In sentences: the rule, how many belong, who was left out by kind, thin months."""
    rule, months = asked.rule, found.months
    first, last = months[0], months[-1]
    count = len(found.symbols)
    lines = [
        f"universe {rule.text} [{found.universe.digest}]: {count} symbols belong in {len(months)} "
        f"months, {first.month} to {last.month}, of {first.candidates} candidates by the list of "
        f"{listed_on}",
        f"{last.month}: {', '.join(last.members[:_NAMED])}"
        + (f" and {len(last.members) - _NAMED} more" if len(last.members) > _NAMED else ""),
        "never taken: " + ", ".join(_LEFT_OUT[kind] for kind in rule.excluded)
        if rule.excluded
        else "every kind of symbol is taken",
    ]
    thin = [one for one in months if len(one.members) < rule.count]
    if thin:
        least = min(thin, key=lambda one: len(one.members))
        lines.append(
            f"fewer than {rule.count} belong in {len(thin)} months, the fewest "
            f"({len(least.members)}) in {least.month}"
        )
    return lines


def described(found: Resolved, asked: Asked) -> dict[str, Any]:
    """What one JSON object of the command says of it."""
    return {
        "rule": found.universe.rule,
        "digest": found.universe.digest,
        "listed_on": asked.listed_on,
        "symbols": list(found.symbols),
        "months": [
            {
                "month": str(one.month),
                "members": list(one.members),
                "measures": list(one.measures),
                "candidates": one.candidates,
                "passed": dict(one.passed),
            }
            for one in found.months
        ],
    }
