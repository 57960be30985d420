"""`alphamill symbols`: every symbol that a market has or had, what it is, and from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.lake import Lake, manifest, partitions
from alphamill.lake.holdings import holdings_of, with_listings
from alphamill.universe.master_list import Listed
from producers import options


@click.command()
@click.argument("symbols", nargs=-1, type=options.Symbols())
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    default=Market.SPOT.value,
    show_default=True,
    callback=lambda _ctx, _param, value: Market(value),
)
@click.option("--delisted", is_flag=True, help="Only those that trade no more.")
@click.option("--quote", metavar="ASSET", help="Only those quoted in it, such as USDT.")
@click.option("--refresh", is_flag=True, help="Ask archive and exchange again.")
@options.json_option
@options.exits
def symbols(
    symbols: tuple[tuple[str, ...], ...],
    market: Market,
    delisted: bool,
    quote: str | None,
    refresh: bool,
    as_json: bool,
) -> None:
    """List every symbol of a market, the dead ones too: what it is, from when to when.

    From the archive's own listing, which keeps what was delisted, and from exchangeInfo. The answer
    is kept in the lake with its date and read from there, until --refresh. Renamed coins and those
    in new units are two coins and never joined; the last column names them.

    \b
    Example:
      alphamill symbols --delisted --quote USDT
      alphamill symbols MATICUSDT POLUSDT
      alphamill symbols --market um --refresh --json
    """
    from alphamill.report.terminal.symbols import notes_of, symbols_view
    from producers.submit.master_list import known_symbols

    settings = options.settings()
    listed = known_symbols(settings, market, refresh=refresh)
    wanted = options.flat(symbols)
    shown = [
        one
        for one in listed.symbols
        if (not wanted or one.symbol in wanted)
        and (not delisted or one.delisted)
        and (quote is None or one.quote == quote.upper())
    ]
    absent = [name for name in wanted if all(one.symbol != name for one in listed.symbols)]
    if absent:
        raise GiveUp(
            f"{market.value} has and had no {', '.join(absent)} by the list of {listed.on}; "
            "--refresh asks again"
        )
    breaks = _breaks(Lake(settings.lake_uri), market, shown)
    if as_json:
        rows = [_plain(one, notes_of(one, breaks.get(one.symbol, ()))) for one in shown]
        options.print_json({"market": market, "as_of": listed.on.isoformat(), "symbols": rows})
        return
    Console().print(symbols_view(listed, shown, breaks))


def _breaks(
    lake: Lake, market: Market, shown: Sequence[Listed]
) -> dict[str, list[tuple[int, float]]]:
    """Where the lake's daily bars of a symbol become another coin's."""
    wanted = {one.symbol for one in shown}
    found: dict[str, list[tuple[int, float]]] = {}
    for series in partitions(lake):
        if (series.market, series.interval) != (market, Interval.D1) or series.symbol not in wanted:
            continue
        held = holdings_of(manifest(lake, market, series.symbol, Interval.D1))
        new = with_listings(lake, held).new_listings
        if new:
            found[series.symbol] = [(one.start_ms, one.price_ratio or 0.0) for one in new]
    return found


def _plain(one: Listed, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "base": one.base,
        "quote": one.quote,
        "what": one.what,
        "kinds": list(one.kinds),
        "status": one.status,
        "delisted": one.delisted,
        "contract_type": one.contract_type,
        "underlying_type": one.underlying_type,
        "first_month": None if one.first is None else str(one.first),
        "last_month": None if one.last is None else str(one.last),
        "first_day_ms": one.first_day_ms,
        "last_day_ms": one.last_day_ms,
        "notes": list(notes),
    }
