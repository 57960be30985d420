"""`alphamill gaps`: what the lake has of each series, what is missing, and why."""

from __future__ import annotations

from dataclasses import replace

import click
from rich.console import Console

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, TimeRange
from alphamill.lake import Lake, compared_at_ms, manifest, partitions
from alphamill.lake.holdings import Holdings, holdings_of, with_beside, with_listings
from alphamill.report.terminal.gaps import funding_cure, gaps_view
from alphamill.stages.funding import read_owed
from producers import options


@click.command()
@click.argument("symbols", nargs=-1, type=options.Symbols())
@click.option(
    "--interval",
    "intervals",
    type=options.Intervals(),
    metavar="1h[,4h,...]",
    help="Default: all that the lake has.",
)
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    help="Default: all that the lake has.",
)
@options.json_option
@options.exits
def gaps(
    symbols: tuple[tuple[str, ...], ...],
    intervals: tuple[Interval, ...] | None,
    market: str | None,
    as_json: bool,
) -> None:
    """Show which bars the lake has, which are missing, and why; and where a name was given again.

    Also what is not there of flow, and of futures' funding, metrics and computed prices.

    Reads the lake alone; no stack needs to run. --json has every stretch.

    \b
    Example:
      alphamill gaps BTCUSDT ETHUSDT --interval 1h
    """
    lake = Lake(options.settings().lake_uri)
    wanted = options.flat(symbols)
    found = [
        series
        for series in partitions(lake)
        if (not wanted or series.symbol in wanted)
        and (not intervals or series.interval in intervals)
        and (not market or series.market == market)
    ]
    absent = [symbol for symbol in wanted if all(series.symbol != symbol for series in found)]
    if not found:
        raise GiveUp(
            f"{lake.uri} has no such klines; fetch them with: "
            f"alphamill fetch {' '.join(wanted) or 'SYMBOL...'} --interval 1h --start 2024-01-01"
        )
    holdings = [
        holdings_of(manifest(lake, s.market, s.symbol, s.interval), compared_at_ms(lake, s))
        for s in found
    ]
    holdings = [
        with_beside(lake, with_listings(lake, _with_funding(lake, held))) for held in holdings
    ]
    if as_json:
        options.print_json(
            {"lake": lake.uri, "series": [one.to_dict() for one in holdings], "absent": absent}
        )
        return
    Console().print(gaps_view(holdings, absent))
    for line in funding_cure(holdings):
        click.echo(line)


def _with_funding(lake: Lake, held: Holdings) -> Holdings:
    market, symbol = held.series.market, held.series.symbol
    if not market.has_funding:
        return held
    owed = read_owed(lake, market, symbol, held.series.interval, held.start_ms, held.end_ms)
    unknown = TimeRange(held.start_ms, held.end_ms).without(*owed.known)
    return replace(held, funding_unknown=tuple(unknown), funding_silent=owed.silent)
