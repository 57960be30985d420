"""Enqueue indicators: python -m producers.features BTCUSDT --interval 1h --start 2024-01-01."""

from __future__ import annotations

import click

from alphamill.jobs import RunKind, RunSpec
from producers import options, submit
from producers.submit.universe import Universe, members, universe_options


@click.command()
@universe_options
@options.range_options
@options.submit_options
@options.exits
def features(universe: Universe, bars: options.BarRange, how: options.Submission) -> None:
    """Compute indicators into the lake, after fetching what is missing.

    Prints the run's id as its last line.

    \b
    Example:
      alphamill features BTCUSDT ETHUSDT --interval 1h,4h --start 2024-01-01 --wait
    """
    settings = options.settings()
    start_ms, end_ms = submit.checked_range(bars)
    chosen = members(settings, bars.market, universe, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.FEATURES,
        lake=settings.lake_uri,
        market=bars.market,
        symbols=chosen.symbols,
        intervals=bars.intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        universe=chosen.universe,
    )
    submit.submit(spec, settings, how, chosen.to_dict())


if __name__ == "__main__":
    features()
