"""Enqueue bars of trades: python -m producers.bars BTCUSDT --rule 1000t --start 2024-01-01."""

from __future__ import annotations

import time
from typing import Any

import click

from alphamill.bars.rules import DEFAULT_IMBALANCE, Rule, RuleError, parse_rule
from alphamill.frames import Market
from alphamill.jobs import RunKind, RunSpec, default_trades
from producers import options, submit
from producers.submit.universe import Universe, chosen_symbols, universe_options

_MINUTE_MS, _DAY_MS = 60_000, 86_400_000
_AGGREGATES, _TRADES = "aggTrades", "trades"


class RuleOfBars(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """What closes a bar."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rule:
        if isinstance(value, Rule):
            return value
        try:
            return parse_rule(value)
        except RuleError as error:
            self.fail(str(error), param, ctx)


@click.command()
@universe_options
@click.option(
    "--rule",
    required=True,
    type=RuleOfBars(),
    metavar="15s|7m|1000t|500v|1e6$|imbalance",
    help="A bar of a length (s, m, h, d), of so many trades (t), so much base volume (v) or quote "
    "volume ($; quote it in a shell); with an i behind t, v or $ of so much more on one side: "
    f"imbalance is {DEFAULT_IMBALANCE}. Every rule begins anew at midnight UTC.",
)
@click.option(
    "--start", "start_ms", required=True, type=options.Day(), metavar="DATE", help="First day, UTC."
)
@click.option(
    "--end",
    "end_ms",
    type=options.Day(),
    metavar="DATE",
    help="Day after the last, UTC; default: today, which is left out.",
)
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    default=Market.SPOT.value,
    show_default=True,
    callback=lambda _ctx, _param, value: Market(value),
)
@click.option(
    "--source",
    type=click.Choice([_TRADES, _AGGREGATES]),
    help="What bars are made of. Default on spot: aggTrades, each of one instant and one price, "
    "which give the same bars from far smaller files. On futures: trades, since an aggregate has "
    "the time of its first fill and others may lie in the next bar (about half of the minutes of a "
    "busy day differ from the exchange's klines). The API has trades of futures for nobody without "
    "a key, and aggTrades of the last 48 hours.",
)
@click.option(
    "--keep-trades", is_flag=True, help="Put the trades into the lake too, under trades/."
)
@options.submit_options
@options.exits
def bars(
    universe: Universe,
    rule: Rule,
    start_ms: int,
    end_ms: int | None,
    market: Market,
    source: str | None,
    keep_trades: bool,
    how: options.Submission,
) -> None:
    """Make bars of trades, by time, trades, volume, value or imbalance: a job a symbol and day.

    Trades come from the archive's files, and what those lack from the exchange's API. What the lake
    has is not made again. Prints the run's id as its last line.

    \b
    Example:
      alphamill bars BTCUSDT --rule 1000t --start 2024-01-01 --end 2024-01-08 --wait
      alphamill bars BTCUSDT ETHUSDT --market um --rule '1e6$' --start 2024-01-01
    """
    settings = options.settings()
    if end_ms is None and start_ms >= _last_ms(None):
        raise click.UsageError("no day has ended since --start; for a part of today give --end")
    asked = options.BarRange(market, (), start_ms, end_ms)
    start_ms, end_ms = submit.checked_range(asked, last_ms=_last_ms(end_ms))
    if start_ms % _DAY_MS:
        click.echo("bars begin at midnight: made from the start of that day on", err=True)
    chosen = chosen_symbols(settings, market, universe)
    spec = RunSpec(
        kind=RunKind.BARS,
        lake=settings.lake_uri,
        market=market,
        symbols=chosen.symbols,
        intervals=(),
        start_ms=start_ms // _DAY_MS * _DAY_MS,
        end_ms=end_ms,
        rule=rule.text,
        trades=source or default_trades(market),
        keep_trades=keep_trades,
    )
    submit.submit(spec, settings, how, chosen.to_dict())


def _last_ms(end_ms: int | None) -> int:
    """The latest end: the last midnight, or of a day that was asked for the last minute."""
    now_ms = int(time.time() * 1000)
    step_ms = _DAY_MS if end_ms is None else _MINUTE_MS
    return now_ms // step_ms * step_ms


if __name__ == "__main__":
    bars()
