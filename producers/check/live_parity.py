"""`alphamill live parity`: whether what was published is what batch gives."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console

from alphamill.clock import SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import Market
from alphamill.settings import Settings
from producers import options
from producers.read.live_named import last_row, one_live

if TYPE_CHECKING:
    from alphamill.market import Binance

_PATIENCE_S = 130.0  # two windows of the exchange's limit


@click.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@click.option("--fetch/--no-fetch", default=True, help="Read the bars that the lake lacks first.")
@options.json_option
@options.exits
def parity(live_id: str | None, fetch: bool, as_json: bool) -> None:
    """Hold what was published to what batch gives on the final bars; exit code 1 if it differs.

    Every value is equal to the bit, or differs because of a bar that is named: late, absent, or
    corrected. Workers check every hour; this checks now what is new.

    \b
    Example:
      alphamill live parity
    """
    from alphamill.live.follow_up import check, fetch_bars
    from alphamill.report.terminal.live import parity_view
    from alphamill.stages.fetch import FetchDeps
    from alphamill.stages.fetch import run as run_fetch

    settings = options.settings()
    lake, entry, journal = one_live(settings, live_id)
    last = last_row(journal)
    if last is None:
        raise GiveUp(f"{entry.id} has published nothing yet")
    now_ms = last.published_at
    if fetch:
        exchange = _exchange(settings, entry.spec.market)
        now_ms = exchange.server_time_ms()
        deps = FetchDeps(exchange, lake)
        if problem := fetch_bars(entry, lambda job: run_fetch(job, deps), lake, now_ms):
            click.echo(f"not all bars could be read: {problem}", err=True)
    found, checked = check(lake, entry, now_ms)
    if as_json:
        options.print_json(
            {
                "live": entry.id,
                "rows": checked.rows,
                "values": checked.counts.total(),
                "counts": {why.value: count for why, count in checked.counts.items()},
                "differences": [asdict(one) for one in found.differences],
            }
        )
    else:
        Console().print(parity_view(checked, found))
    if not checked.holds:
        raise SystemExit(options.EXIT_FAILED)


def _exchange(settings: Settings, market: Market) -> Binance:
    """A client of the exchange, over the limit that all workers share."""
    from alphamill.limits import ExchangeGate, RedisLimiter, binance_pool
    from alphamill.market import Binance

    binance = settings.binance
    pool = binance_pool(binance, market, binance.requests_per_minute)
    from alphamill.redis_store import connect

    gate = ExchangeGate(RedisLimiter(connect(settings)), pool, binance.weight_frac, _PATIENCE_S)
    return Binance(market, binance.url(market), gate, SystemClock(), binance.timeout_s)
