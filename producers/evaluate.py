"""Enqueue the scoring of given expressions; no model is asked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from alphamill.evaluation.by_group import Grouping
from alphamill.factors import FactorError, zoo, zoo_names
from alphamill.frames import Wide
from alphamill.jobs import RunKind, RunSpec
from alphamill.language import GIVEN_GROUPS, read_given
from producers import options, submit
from producers.read.by_group import by_option
from producers.submit.groups import groups_option, read_groups
from producers.submit.measures import Measured, measure_options
from producers.submit.universe import Universe, members, rule_option
from producers.submit.wide import check_fields, checked_wide, with_option


class _Negatable(click.Command):
    """A command whose arguments may begin with a minus: its options have two, or one letter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [
            f" {text}"
            if text.startswith("-") and not text.startswith("--") and len(text) > 2
            else text
            for text in args
        ]
        return super().parse_args(ctx, given)


@click.command(cls=_Negatable)
@click.argument("expressions", nargs=-1, metavar="[EXPR]...")
@click.option(
    "--zoo",
    "zoo_name",
    type=click.Choice(zoo_names()),
    help="Score the published factors of this collection.",
)
@measure_options
@by_option
@with_option
@groups_option
@options.symbols_option
@rule_option
@options.range_options
@options.submit_options
@options.exits
def evaluate(
    expressions: tuple[str, ...],
    zoo_name: str | None,
    measured: Measured,
    by: Grouping | None,
    wide: tuple[Wide, ...],
    groups_file: Path | None,
    symbols: tuple[str, ...] | None,
    by_rule: str | None,
    bars: options.BarRange,
    how: options.Submission,
) -> None:
    """Score expressions over the whole range: in-sample figures, no verdict.

    With --wait and --by each expression's RankIC is shown by hour of the decision, phase, weekday,
    year, regime or coin too; later `alphamill factors RUN FACTOR --by` does.

    With several horizons (--horizon 1,4,24) an expression has a row at each, and each counts as
    trials: the best of several is luck's best too.

    `alphamill operators` is the language's manual. --zoo alpha101 scores the 101 formulas of
    Kakushadze (2015); number 56 needs market capitalisations, which Binance does not have. Without
    --groups all symbols are one sector, industry and subindustry.

    \b
    Example:
      alphamill evaluate "-ts_zscore(close, 24)" "rank(volume / ts_mean(volume, 20))" \\
        --symbols BTCUSDT,ETHUSDT,BNBUSDT --interval 1h --start 2022-01-01 --wait
      alphamill evaluate --zoo alpha101 --symbols BTCUSDT,ETHUSDT,BNBUSDT --interval 1d \\
        --start 2022-01-01 --wait
    """
    if by is not None and not how.wait:
        raise click.UsageError(
            "--by is shown when the run has ended: add --wait, or ask later with "
            "alphamill factors RUN FACTOR --by"
        )
    settings = measured.over(options.settings())
    expressions = tuple(text.removeprefix(" ") for text in expressions)
    known = zoo(zoo_name) if zoo_name else ()
    if not expressions and not known:
        raise click.UsageError("give expressions, or --zoo with the name of a collection")
    for text in expressions:
        _check(text)
    start_ms, end_ms = submit.checked_range(bars)
    beside = checked_wide(wide, bars.market, bars.intervals, start_ms, end_ms)
    given = Universe((symbols,) if symbols else (), None, None, "USDT", by_rule=by_rule)
    if not symbols and by_rule is None:
        raise click.UsageError("name --symbols BTCUSDT,ETHUSDT,... or --universe RULE")
    chosen = members(settings, bars.market, given, start_ms, end_ms)
    groups = read_groups(groups_file, chosen.symbols) if groups_file else {}
    for text in expressions:
        _check(text, list(dict.fromkeys([*GIVEN_GROUPS, *groups])))
    for text in expressions:
        check_fields(text, read_given(text).fields, beside, bars.market)
    spec = RunSpec(
        kind=RunKind.EVALUATE,
        lake=settings.lake_uri,
        market=bars.market,
        symbols=chosen.symbols,
        intervals=bars.intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        expressions=(*expressions, *(factor.expression for factor in known)),
        names=(*("" for _ in expressions), *(factor.name for factor in known)),
        groups=groups,
        segments=settings.segments,
        horizons_bars=measured.horizons_bars,
        portfolio=settings.portfolio,
        fees=settings.fees,
        gates=settings.gates,
        wide=beside,
        universe=chosen.universe,
    )
    submit.check_segments(spec)
    submit.submit(spec, settings, how, chosen.to_dict(), by)


def _check(text: str, groups: Collection[str] | None = None) -> None:
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


if __name__ == "__main__":
    evaluate()
