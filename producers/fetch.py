"""Enqueue kline downloads: python -m producers.fetch BTCUSDT --interval 1h --start 2024-01-01."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from alphamill.frames import Market, Wide
from alphamill.jobs import RunKind, RunSpec
from alphamill.settings import Settings
from producers import options, submit
from producers.submit.universe import Universe, check_alone, members, universe_options
from producers.submit.wide import checked_wide, with_option


@click.command()
@universe_options
@options.range_options
@with_option
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
@options.exits
def fetch(
    universe: Universe,
    bars: options.BarRange,
    wide: tuple[Wide, ...],
    verify: bool,
    sample: float | None,
    how: options.Submission,
) -> None:
    """Download klines into the lake: one job a symbol, interval and month.

    Of futures funding too, and --with metrics (open interest, long/short ratios), premium, mark and
    index (klines of the premium index, the mark price, the index). Of any market --with flow: what
    only the trades of a bar tell, up to 1h.

    What the lake has is not asked for again, but by --verify, which records each change under
    corrections/. Prints the run's id as its last line.

    With --universe it brings what a rule needs in two steps: daily bars of every candidate, dead
    ones too, by which the members of each month are known; then the members' bars. Each step is a
    run of its own; with --wait one follows the other, without it the same command, given again,
    goes on.

    \b
    Example:
      alphamill fetch BTCUSDT ETHUSDT --interval 1h,4h --start 2024-01-01 --wait
      alphamill fetch --top 100 --quote USDT --interval 1h --start 2021-01-01
      alphamill fetch BTCUSDT --market um --interval 1h --start 2024-01-01 --with metrics,premium
      alphamill fetch BTCUSDT --interval 1h --start 2021-01-01 --verify --sample 0.1 --wait
      alphamill fetch --universe "top:25 by median_30d(quote_volume), listed:90d" \\
        --interval 1h --start 2021-01-01 --wait
    """
    settings = options.settings()
    if verify and Wide.FLOW in wide:
        raise click.UsageError("--verify compares no flow: leave flow out of --with")
    if sample is not None and not verify:
        raise click.UsageError("--sample goes with --verify")
    start_ms, end_ms = submit.checked_range(bars)
    beside = checked_wide(wide, bars.market, bars.intervals, start_ms, end_ms)
    if universe.by_rule is not None and not _daily_bars(
        settings, bars.market, universe, start_ms, end_ms, how
    ):
        return
    chosen = members(settings, bars.market, universe, start_ms, end_ms)
    spec = RunSpec(
        kind=RunKind.FETCH,
        lake=settings.lake_uri,
        market=bars.market,
        symbols=chosen.symbols,
        intervals=bars.intervals,
        start_ms=start_ms,
        end_ms=end_ms,
        verify_frac=(sample or 1.0) if verify else 0.0,
        wide=beside,
        # The exchange of today is another question than that of yesterday.
        salt=datetime.now(UTC).date().isoformat() if verify else "",
        universe=chosen.universe,
    )
    submit.submit(spec, settings, how, chosen.to_dict())


def _daily_bars(
    settings: Settings,
    market: Market,
    universe: Universe,
    start_ms: int,
    end_ms: int,
    how: options.Submission,
) -> bool:
    """Step 1 of a universe: whether the lake has, by now, the daily bars that the rule needs."""
    from alphamill.universe.resolve import missing_text
    from producers.submit import membership

    check_alone(universe)
    asked = membership.ask(settings, market, universe.by_rule or "", start_ms, end_ms)
    if not asked.survey.missing:
        return True
    click.echo(f"step 1 of 2: {missing_text(asked.survey)}; fetching them", err=True)
    daily = asked.daily_bars(settings)
    if how.wait:
        submit.brought(daily, settings, how)
        click.echo("step 2 of 2: the members' bars", err=True)
        return True
    told = {"step": 1, "steps": 2, "brings": "daily bars of the universe's candidates"}
    submit.submit(daily, settings, how, told)
    click.echo("when it is done, give the same command again: it fetches the members", err=True)
    return False


if __name__ == "__main__":
    fetch()
