"""`alphamill live`: what was mined is followed at every bar's close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from alphamill.clock import SystemClock
from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Grade
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.live.register import Register
from alphamill.live.spec import CORRECT_WITHIN_S, QUORUM, RELEASE_S, LiveSpec
from alphamill.report.values import counted
from alphamill.settings import Settings
from producers import options
from producers.check.live_parity import parity
from producers.read.live import list_lives, signals, status, verify
from producers.read.live_export import export
from producers.read.live_named import clock, described, one_live
from producers.read.live_results import arrivals, book
from producers.submit.universe import rule_option

if TYPE_CHECKING:
    from alphamill.runs.published import PublishedRun


@click.group()
def live() -> None:
    """Follow factors at every bar's close; signals are published, no orders are sent.

    \b
    Example:
      alphamill live start --run mine-1f2e --verdict predictive
      alphamill live signals --follow
      alphamill live parity
    """


@live.command()
@click.argument("factors", nargs=-1, metavar="[FACTOR]...")
@click.option("--run", metavar="RUN", help="What this run found; default: the newest mining run.")
@click.option(
    "--verdict",
    type=click.Choice([grade.value for grade in Grade if grade.admitted]),
    default=Grade.PREDICTIVE.value,
    show_default=True,
    help="Without FACTOR: all with this verdict or better.",
)
@click.option("--expr", "expressions", multiple=True, metavar="EXPR", help="An expression as well.")
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    help="Default: the run's, else spot.",
)
@click.option("--interval", type=options.Intervals(), metavar="1h", help="Default: the run's.")
@click.option("--symbols", type=options.Symbols(), help="Default: the run's.")
@rule_option
@click.option("--horizon", type=click.IntRange(1), default=1, help="Of --expr, in bars.")
@click.option(
    "--release-s",
    type=click.FloatRange(0, 600),
    default=RELEASE_S,
    show_default=True,
    help="How long after the close symbols are waited for.",
)
@click.option(
    "--quorum",
    type=click.FloatRange(0, 1, min_open=True),
    default=QUORUM,
    show_default=True,
    help="Share of the symbols without which there is no signal.",
)
@click.option(
    "--correct-within-s",
    type=click.FloatRange(0, 86_400),
    default=CORRECT_WITHIN_S,
    show_default=True,
    help="How long after the close a late bar gives a revision.",
)
@click.option(
    "--webhook",
    default="",
    metavar="URL",
    help="POST each row there, signed by ALPHAMILL_WEBHOOK_SECRET.",
)
@options.json_option
@options.exits
def start(
    factors: tuple[str, ...],
    run: str | None,
    verdict: str,
    expressions: tuple[str, ...],
    market: str | None,
    interval: tuple[Interval, ...] | None,
    symbols: tuple[str, ...] | None,
    by_rule: str | None,
    horizon: int,
    release_s: float,
    quorum: float,
    correct_within_s: float,
    webhook: str,
    as_json: bool,
) -> None:
    """Begin to follow factors, or join if the same are followed already.

    FACTOR is a number or hash of the run. A worker of the pool `stream` follows (alphamill up has
    one): it listens to the exchange's klines, and asks REST for what they do not bring.

    With --universe, or of a run that had one, the symbols are those that belong this month. They
    hold until its end: the next month needs a new live, by the same command.

    \b
    Example:
      alphamill live start --run mine-1f2e 1 2 --release-s 5
      alphamill live start --expr "-ts_zscore(close, 24)" --interval 1m \\
        --symbols BTCUSDT,ETHUSDT,BNBUSDT
    """
    from alphamill.live.choose import followed_from, one_interval, worth  # loads the language
    from alphamill.runs.finished import finished_run

    settings = options.settings()
    if interval and len(interval) > 1:
        raise click.UsageError("a live follows one interval")
    found = None
    followed = _by_hand(expressions, horizon)
    kinds = (RunKind.MINE, RunKind.COMBINE) if run else (RunKind.MINE,)
    if run or factors or not expressions:
        found = finished_run(settings, run, kinds)
        judged = [found.factor(text) for text in factors] or worth(found, Grade(verdict))
        if interval:
            judged = [factor for factor in judged if factor.interval is interval[0]]
            if not judged:
                raise GiveUp(f"{found.id} has no such factor at {interval[0].value}")
        interval = (one_interval(judged),)
        known = {one.factor for one in followed}
        followed += tuple(one for one in followed_from(found, judged) if one.factor not in known)
    if not interval:
        raise click.UsageError("with --expr alone give --interval, such as 1m")
    of = Market(market) if market else found.spec.market if found else Market.SPOT
    chosen, *universe = _chosen(settings, of, interval[0], symbols, by_rule, found)
    book = found.spec.portfolio if found else settings.portfolio
    try:
        spec = LiveSpec(
            of,
            interval[0],
            tuple(dict.fromkeys(chosen)),
            followed,
            round(release_s * 1000),
            quorum,
            round(correct_within_s * 1000),
            book.weighting,
            book.quantiles,
            universe=universe[0] if universe else "",
            members_of=universe[1] if universe else "",
            band=book.band,
            hold_bars=book.hold_bars,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _check_followable(settings, spec, webhook)
    entry = Register(Lake(settings.lake_uri)).start(spec, SystemClock().now_ms(), webhook)
    if as_json:
        options.print_json(described(entry))
        return
    click.echo(entry.id)
    click.echo(
        f"{counted(len(spec.factors), 'factor')} over {counted(len(spec.symbols), 'symbol')} of "
        f"{of.value} at "
        f"{spec.interval.value}; the first bar that is published is the one that is open now\n"
        f"see: alphamill live signals {entry.id} --follow",
        err=True,
    )


def _chosen(
    settings: Settings,
    market: Market,
    interval: Interval,
    symbols: tuple[str, ...] | None,
    rule: str | None,
    found: PublishedRun | None,
) -> tuple[tuple[str, ...], str, str]:
    """Symbols to follow; the rule and the month that they belong by, "" of such as are named."""
    if symbols and rule is not None:
        raise click.UsageError("--universe says who belongs: name no --symbols beside it")
    if rule is None and not symbols and found and found.spec.universe:
        rule = found.spec.universe.rule  # never all that ever belonged
    if rule is not None:
        return _members_now(settings, market, rule, interval)
    chosen = symbols or (found.spec.symbols if found else ())
    if not chosen:
        raise click.UsageError("with --expr alone give --symbols, such as BTCUSDT,ETHUSDT,BNBUSDT")
    return chosen, "", ""


def _members_now(
    settings: Settings, market: Market, text: str, interval: Interval
) -> tuple[tuple[str, ...], str, str]:
    """Who belongs this month, the rule's canonical text and the month; told on stderr."""
    from producers.submit import membership

    month = Month.of_ms(SystemClock().now_ms())
    asked = membership.ask(settings, market, text, month.start_ms, month.start_ms + 1)
    before = Month.of_ms(month.start_ms - 1)
    fetch_with = membership.fetch_command(text, market, interval, f"{before}-01")
    found = asked.resolved(fetch_with)
    click.echo(
        f"these are the members of {month} and hold until {clock(month.end_ms)} UTC; the next "
        "month needs a new live: give the same command again then",
        err=True,
    )
    return found.symbols, found.universe.rule, str(month)


def _by_hand(expressions: Sequence[str], horizon: int) -> tuple[Any, ...]:
    if not expressions:
        return ()
    from alphamill.live.choose import followed_by_hand  # loads the language

    try:
        return followed_by_hand(expressions, horizon)
    except FactorError as error:
        raise click.UsageError(f"--expr: {error}") from error


def _check_followable(settings: Settings, spec: LiveSpec, webhook: str) -> None:
    """Raise click.UsageError for what no follower could follow."""
    from alphamill.evaluation.correlation import MIN_SYMBOLS
    from alphamill.market.venues import VENUES
    from producers.submit.listing import check_listed

    if spec.interval not in VENUES[spec.market].intervals:
        raise click.UsageError(f"{spec.market.value} has no stream of {spec.interval.value} klines")
    if len(spec.symbols) < MIN_SYMBOLS:
        click.echo(
            f"{counted(len(spec.symbols), 'symbol')}: no cross-section; ranks and weights need "
            f"{MIN_SYMBOLS}; values are published",
            err=True,
        )
    if webhook and not _is_address(webhook):
        raise click.UsageError("--webhook is no http(s):// address")
    from alphamill.redis_store import connect

    check_listed(settings, spec.market, spec.symbols, connect(settings), hint="")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or a bracket too few
        return False


@live.command()
@click.argument("live_id", metavar="LIVE")
@options.exits
def stop(live_id: str) -> None:
    """Follow it no more; what was published stays, and `start` goes on with the same chain.

    \b
    Example:
      alphamill live stop live-3f0c
    """
    lake, entry, _ = one_live(options.settings(), live_id)
    Register(lake).stop(entry.id, SystemClock().now_ms())
    click.echo(f"{entry.id} stopped")


for _reading in (list_lives, status, signals, verify, book, parity, arrivals, export):
    live.add_command(_reading)

if __name__ == "__main__":
    live()
