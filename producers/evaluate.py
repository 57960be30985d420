"""Enqueue the scoring of given expressions; no model is asked."""

from __future__ import annotations

import click

from alphamill.factors import FactorError, parse
from alphamill.frames import Interval, Market
from alphamill.indicators import INDICATORS
from alphamill.jobs import RunKind, RunSpec
from producers import options
from producers.submission import checked_range, submit


@click.command()
@click.argument("expressions", nargs=-1, required=True, metavar="EXPR...")
@options.symbols_option
@options.range_options
@options.submit_options
@options.json_option
@options.exits
def evaluate(
    expressions: tuple[str, ...],
    symbols: tuple[str, ...],
    intervals: tuple[Interval, ...],
    start_ms: int,
    end_ms: int | None,
    market: Market,
    priority: int,
    again: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Score expressions over the whole range: in-sample figures, no verdict.

    `alphamill operators` is the language's manual.

    \b
    Example:
      alphamill evaluate "-ts_zscore(close, 24)" "rank(volume / ts_mean(volume, 20))" \\
        --symbols BTCUSDT,ETHUSDT,BNBUSDT --interval 1h --start 2022-01-01 --wait
    """
    settings = options.settings()
    for text in expressions:
        try:
            parse(text, fields=INDICATORS)
        except FactorError as error:
            pointer = " " * error.position + "^"
            raise click.UsageError(f"{error}\n  {text}\n  {pointer}") from error
    start_ms, end_ms = checked_range(intervals, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.EVALUATE,
        lake=settings.lake_uri,
        market=market,
        symbols=symbols,
        intervals=intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        expressions=expressions,
        segments=settings.segments,
        fees=settings.fees,
        gates=settings.gates,
    )
    submit(spec, settings, priority=priority, again=again, wait=wait, as_json=as_json)


if __name__ == "__main__":
    evaluate()
