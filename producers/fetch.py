"""Enqueue kline downloads: python -m producers.fetch BTCUSDT --interval 1h --start 2024-01-01."""

from __future__ import annotations

from datetime import UTC, datetime
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
@click.option(
    "--verify",
    is_flag=True,
    help="Compare what the lake has with the exchange again and replace what it corrected.",
)
@click.option(
    "--sample",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="With --verify: this share of the months, others every day.",
)
@options.submit_options
@options.json_option
@options.exits
def fetch(
    symbols: tuple[tuple[str, ...], ...],
    symbols_file: Path | None,
    top: int | None,
    quote: str,
    intervals: tuple[Interval, ...],
    start_ms: int,
    end_ms: int | None,
    market: Market,
    verify: bool,
    sample: float | None,
    priority: int,
    again: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Download klines into the lake: one job a symbol, interval and month.

    What the lake has is not asked for again, but by --verify, which records each change under
    corrections/. Prints the run's id as its last line.

    \b
    Example:
      alphamill fetch BTCUSDT ETHUSDT --interval 1h,4h --start 2024-01-01 --wait
      alphamill fetch --top 100 --quote USDT --interval 1h --start 2021-01-01
      alphamill fetch BTCUSDT --interval 1h --start 2021-01-01 --verify --sample 0.1 --wait
    """
    settings = options.settings()
    if sample is not None and not verify:
        raise click.UsageError("--sample goes with --verify")
    start_ms, end_ms = checked_range(intervals, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.FETCH,
        lake=settings.lake_uri,
        market=market,
        symbols=chosen_symbols(settings, market, symbols, symbols_file, top, quote),
        intervals=intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        verify_frac=(sample or 1.0) if verify else 0.0,
        # The exchange of today is another question than that of yesterday.
        salt=datetime.now(UTC).date().isoformat() if verify else "",
    )
    submit(spec, settings, priority=priority, again=again, wait=wait, as_json=as_json)


if __name__ == "__main__":
    fetch()
