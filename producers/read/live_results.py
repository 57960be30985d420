"""`alphamill live book|arrivals`: what came of what was published, and when bars came."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from alphamill.errors import GiveUp
from alphamill.live.signals import State
from producers import options
from producers.read.live_named import one_live


@click.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def book(live_id: str | None, as_json: bool) -> None:
    """Show the forward book: what the published weights would have earned, and the live RankIC.

    Only what was published counts, from when it was published. The bars are the lake's: fetch them
    first.

    \b
    Example:
      alphamill live book
    """
    from alphamill.live.book import forward_book
    from alphamill.live.truth import truth_panel
    from alphamill.report.terminal.live import book_table

    settings = options.settings()
    lake, entry, journal = one_live(settings, live_id)
    rows = [link.row for link in journal.read()]
    said = [row for row in rows if row.state is State.SIGNAL]
    if not said:
        raise GiveUp(f"{entry.id} has published no signal yet")
    end_ms = max(row.close_time for row in said)
    panel = truth_panel(lake, entry.spec, min(row.bar_time for row in said), end_ms)
    books = [
        one
        for followed in entry.spec.factors
        if (one := forward_book(entry.spec, followed, rows, panel, settings.fees)) is not None
    ]
    if as_json:
        options.print_json([_book(one) for one in books])
        return
    Console().print(book_table(books))


def _book(one: Any) -> dict[str, Any]:
    return {
        "factor": one.followed.factor,
        "expression": one.followed.expression,
        "signals": one.signals,
        "silent": one.silent,
        "gross": one.at_open.gross.tolist(),
        "net": one.at_open.net.tolist(),
        "net_a_bar_later": one.a_bar_later.net.tolist(),
        "rank_ic_mean": _finite(one.ic.mean),
        "rank_ic_low": _finite(one.ic.low),
        "rank_ic_high": _finite(one.ic.high),
        "bars": one.ic.n_bars,
        "promised_ic": one.followed.promised_ic,
        "health": one.decay.health.value,
        "alarm_weakening": one.decay.weakening,
        "alarm_dead": one.decay.dead,
        "alarm_at_bar": one.decay.at_bar,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@click.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def arrivals(live_id: str | None, as_json: bool) -> None:
    """Show when bars arrived: median, 99th percentile, the worst symbols, how many never came.

    \b
    Example:
      alphamill live arrivals
    """
    from alphamill.live.arrival_log import lags_of, read_heard, worst_symbols
    from alphamill.report.terminal.live import arrivals_view

    lake, entry, _ = one_live(options.settings(), live_id)
    spec, end_ms = entry.spec, entry.stopped_ms or 2**53
    found = read_heard(lake, spec.market, spec.interval, 0, end_ms)
    records = [one for one, _, _ in found if one.symbol in spec.symbols]
    if not records:
        raise GiveUp("no arrival is on record yet: it is written within a minute")
    whole, worst = lags_of(records), worst_symbols(records, 5)
    if as_json:
        options.print_json(
            {"all": asdict(whole), "worst": {symbol: asdict(lags) for symbol, lags in worst}}
        )
        return
    Console().print(arrivals_view(whole, worst))
