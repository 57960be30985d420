"""Enqueue indicators: python -m producers.features BTCUSDT --interval 1h --start 2024-01-01."""

from __future__ import annotations

from pathlib import Path

import click

from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from producers import options
from producers.submission import checked_range, submit
from producers.universe import chosen_symbols, universe_options


@click.command()
@universe_options
@options.range_options
@options.submit_options
@options.json_option
@options.exits
def features(
    symbols: tuple[tuple[str, ...], ...],
    symbols_file: Path | None,
    top: int | None,
    quote: str,
    intervals: tuple[Interval, ...],
    start_ms: int,
    end_ms: int | None,
    market: Market,
    priority: int,
    again: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Compute indicators into the lake, after fetching what is missing.

    Prints the run's id as its last line.

    \b
    Example:
      alphamill features BTCUSDT ETHUSDT --interval 1h,4h --start 2024-01-01 --wait
    """
    settings = options.settings()
    start_ms, end_ms = checked_range(intervals, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.FEATURES,
        lake=settings.lake_uri,
        market=market,
        symbols=chosen_symbols(settings, market, symbols, symbols_file, top, quote),
        intervals=intervals,
        start_ms=start_ms,
        end_ms=end_ms,
    )
    submit(spec, settings, priority=priority, again=again, wait=wait, as_json=as_json)


if __name__ == "__main__":
    features()
