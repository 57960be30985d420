"""Enqueue a mining run: python -m producers.mine BTCUSDT ETHUSDT ... --interval 1h --start ..."""

from __future__ import annotations

from pathlib import Path

import click

from alphamill.frames import Wide
from alphamill.jobs import RunKind, RunSpec
from producers import options, submit
from producers.submit.groups import groups_option, read_groups
from producers.submit.measures import Measured, measure_options
from producers.submit.universe import Universe, members, universe_options
from producers.submit.wide import checked_wide, with_option


@click.command()
@universe_options
@options.range_options
@click.option("--rounds", type=click.IntRange(1, 50), default=2, show_default=True)
@click.option(
    "--candidates",
    type=click.IntRange(1, 50),
    default=8,
    show_default=True,
    help="Asked for in one quick_scan call.",
)
@click.option(
    "--budget-usd",
    type=click.FloatRange(min=0, max=1_000_000, min_open=True),
    help="Hard cap of this run; default: budget.run_usd.",
)
@click.option("--strategy", default="", metavar="TEXT", help="A wish for the models to follow.")
@measure_options
@with_option
@groups_option
@options.submit_options
@options.exits
def mine(
    universe: Universe,
    bars: options.BarRange,
    rounds: int,
    candidates: int,
    budget_usd: float | None,
    strategy: str,
    measured: Measured,
    wide: tuple[Wide, ...],
    groups_file: Path | None,
    how: options.Submission,
) -> None:
    """Mine factors: fetch, features, rounds of model calls and scores, verdicts.

    Prints the run's id as its last line; see it with `alphamill status` and `alphamill factors`.

    \b
    Example:
      alphamill mine BTCUSDT ETHUSDT BNBUSDT XRPUSDT --interval 1h \\
        --start 2022-01-01 --end 2024-01-01 --rounds 3 --budget-usd 2 --wait
    """
    settings = measured.one_horizon.over(options.settings())
    start_ms, end_ms = submit.checked_range(bars)
    submit.check_models(settings)
    usd = settings.budget.run_usd if budget_usd is None else budget_usd
    budget_usd_micros = options.micros(usd)
    beside = checked_wide(wide, bars.market, bars.intervals, start_ms, end_ms)
    chosen = members(settings, bars.market, universe, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.MINE,
        lake=settings.lake_uri,
        market=bars.market,
        symbols=chosen.symbols,
        intervals=bars.intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        rounds=rounds,
        candidates=candidates,
        budget_usd_micros=budget_usd_micros,
        strategy=strategy,
        groups=read_groups(groups_file, chosen.symbols) if groups_file else {},
        llm_url=settings.llm.url,
        tiers=dict(settings.llm.tiers),
        search=settings.search,
        segments=settings.segments,
        portfolio=settings.portfolio,
        fees=settings.fees,
        gates=settings.gates,
        wide=beside,
        universe=chosen.universe,
    )
    submit.check_segments(spec)
    submit.check_budgets(spec, settings)
    submit.submit(spec, settings, how, chosen.to_dict())


if __name__ == "__main__":
    mine()
