"""What a run of given expressions reads, from the command's own options: bars, groups, terms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from alphamill.factors import FactorError
from alphamill.frames import Wide
from alphamill.language import GIVEN_GROUPS, read_given
from alphamill.settings import Settings
from producers import submit
from producers.options import BarRange
from producers.submit.groups import read_groups
from producers.submit.universe import Universe, members
from producers.submit.wide import check_fields, checked_wide


class Negatable(click.Command):
    """A command whose arguments may begin with a minus: its options have two, or one letter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [
            f" {text}"
            if text.startswith("-") and not text.startswith("--") and len(text) > 2
            else text
            for text in args
        ]
        return super().parse_args(ctx, given)


@dataclass(frozen=True, slots=True)
class GivenBars:
    """fields: of a RunSpec, all but its kind and what is computed. told: what `submit` says."""

    fields: Mapping[str, Any]
    told: Mapping[str, Any]

    def check(self, expressions: Iterable[str]) -> None:
        """Raise click.UsageError for an expression that names what these bars do not have."""
        expressions = tuple(expressions)
        groups = list(dict.fromkeys([*GIVEN_GROUPS, *self.fields["groups"]]))
        for text in expressions:
            check_expression(text, groups)
        for text in expressions:
            check_fields(text, read_given(text).fields, self.fields["wide"], self.fields["market"])


def given_bars(
    settings: Settings,
    bars: BarRange,
    symbols: tuple[str, ...] | None,
    by_rule: str | None,
    wide: tuple[Wide, ...],
    groups_file: Path | None,
) -> GivenBars:
    """The bars asked for, by the terms of the settings.

    Raises click.UsageError, and as `members` does.
    """
    start_ms, end_ms = submit.checked_range(bars)
    beside = checked_wide(wide, bars.market, bars.intervals, start_ms, end_ms)
    given = Universe((symbols,) if symbols else (), None, None, "USDT", by_rule=by_rule)
    if not symbols and by_rule is None:
        raise click.UsageError("name --symbols BTCUSDT,ETHUSDT,... or --universe RULE")
    chosen = members(settings, bars.market, given, start_ms, end_ms)
    return GivenBars(
        {
            "lake": settings.lake_uri,
            "market": bars.market,
            "symbols": chosen.symbols,
            "intervals": bars.intervals,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "groups": read_groups(groups_file, chosen.symbols) if groups_file else {},
            "segments": settings.segments,
            "portfolio": settings.portfolio,
            "fees": settings.fees,
            "gates": settings.gates,
            "wide": beside,
            "universe": chosen.universe,
        },
        chosen.to_dict(),
    )


def check_expression(text: str, groups: Collection[str] | None = None) -> None:
    """Raise click.UsageError, with what to do, for a text that no run could score."""
    try:
        read_given(text, groups)
    except FactorError as error:
        shown = " ".join(text.splitlines())
        cure = (
            "alphamill operators prints the language's manual"
            if groups is None
            else "a table is a column of the file given with --groups"
        )
        pointer = " " * error.position + "^"
        raise click.UsageError(f"{error}\n  {shown}\n  {pointer}\n{cure}") from error
