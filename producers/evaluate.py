"""Enqueue the scoring of given expressions; no model is asked."""

from __future__ import annotations

from pathlib import Path

import click

from alphamill.evaluation.by_group import Grouping
from alphamill.factors import zoo, zoo_names
from alphamill.frames import Wide
from alphamill.jobs import RunKind, RunSpec
from producers import options, submit
from producers.read.by_group import by_option
from producers.submit.given import Negatable, check_expression, given_bars
from producers.submit.groups import groups_option
from producers.submit.measures import Measured, measure_options
from producers.submit.universe import rule_option
from producers.submit.wide import with_option


@click.command(cls=Negatable)
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
        check_expression(text)
    given = given_bars(settings, bars, symbols, by_rule, wide, groups_file)
    given.check(expressions)
    spec = RunSpec(
        kind=RunKind.EVALUATE,
        expressions=(*expressions, *(factor.expression for factor in known)),
        names=(*("" for _ in expressions), *(factor.name for factor in known)),
        horizons_bars=measured.horizons_bars,
        **given.fields,
    )
    submit.check_segments(spec)
    submit.submit(spec, settings, how, given.told, by)


if __name__ == "__main__":
    evaluate()
