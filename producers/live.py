"""`alphamill live`: what was mined is followed at every bar's close."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.text import Text

from alphamill.clock import SystemClock
from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Grade
from alphamill.frames import Interval, Market
from alphamill.grid import next_ms
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.live.journal import Journal
from alphamill.live.register import Entry, Register
from alphamill.live.signals import Signal, State, follow_chain
from alphamill.live.spec import CORRECT_WITHIN_S, QUORUM, RELEASE_S, LiveSpec
from alphamill.settings import Settings
from producers import options

if TYPE_CHECKING:
    from alphamill.live.export import Exported
    from alphamill.market import Binance

_PATIENCE_S = 130.0  # two windows of the exchange's limit
_LOOK_S = 1.0  # between two looks where there is no Redis to wait at


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
    type=click.Choice([Grade.PREDICTIVE.value, Grade.TRADABLE.value]),
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
    if run or factors or not expressions:
        found = finished_run(settings, run, (RunKind.MINE,))
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
    chosen = symbols or (found.spec.symbols if found else ())
    if not chosen:
        raise click.UsageError("with --expr alone give --symbols, such as BTCUSDT,ETHUSDT,BNBUSDT")
    of = Market(market) if market else found.spec.market if found else Market.SPOT
    try:
        spec = LiveSpec(
            of,
            interval[0],
            tuple(dict.fromkeys(chosen)),
            followed,
            round(release_s * 1000),
            quorum,
            round(correct_within_s * 1000),
            found.spec.portfolio.weighting if found else settings.portfolio.weighting,
            found.spec.portfolio.quantiles if found else settings.portfolio.quantiles,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _check_followable(settings, spec, webhook)
    entry = Register(Lake(settings.lake_uri)).start(spec, SystemClock().now_ms(), webhook)
    if as_json:
        options.print_json(_described(entry))
        return
    click.echo(entry.id)
    first = ""
    if settings.binance.clock_speed == 1:  # else its clock is not this one
        bar_ms = next_ms(spec.interval, SystemClock().now_ms())
        first = f"; the first bar to be published closes at {_clock(bar_ms)} UTC"
    click.echo(
        f"{len(spec.factors)} factors over {len(spec.symbols)} symbols of {of.value} at "
        f"{spec.interval.value}{first}\n"
        f"see: alphamill live signals {entry.id} --follow",
        err=True,
    )


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
            f"{len(spec.symbols)} symbols make no cross-section: ranks and weights need "
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


def _lives(settings: Settings, text: str | None) -> tuple[Lake, list[Entry]]:
    """All lives, or the one with this id or unique beginning. GiveUp, naming what there is."""
    lake = Lake(settings.lake_uri)
    found, damaged = Register(lake).survey()
    for problem in damaged.values():
        click.echo(problem, err=True)
    entries = sorted(found, key=lambda entry: -entry.started_ms)
    if text is not None:
        fitting = [entry for entry in entries if entry.id.startswith(text)]
        if len(fitting) != 1:
            known = ", ".join(entry.id for entry in (fitting or entries)[:8])
            raise GiveUp(f"{text!r} fits {len(fitting)} lives; there are: {known or 'none yet'}")
        entries = fitting
    if not entries:
        raise GiveUp("nothing is followed yet; begin with: alphamill live start --help")
    return lake, entries


def _one(settings: Settings, text: str | None) -> tuple[Lake, Entry, Journal]:
    """The live that is meant: by default the newest."""
    lake, entries = _lives(settings, text)
    return lake, entries[0], Journal(lake, entries[0].id, entries[0].started_ms)


@live.command(name="list")
@options.json_option
@options.exits
def list_lives(as_json: bool) -> None:
    """List what is followed and what was.

    \b
    Example:
      alphamill live list
    """
    from alphamill.report.terminal.live import lives_table

    lake, entries = _lives(options.settings(), None)
    rows = []
    for entry in entries:
        journal = Journal(lake, entry.id, entry.started_ms)
        rows.append((entry, journal.head, _last(journal)))
    if as_json:
        options.print_json(
            [{**_described(entry), "rows": head.rows, "head": head.hash} for entry, head, _ in rows]
        )
        return
    Console().print(lives_table([(entry, head.rows, last) for entry, head, last in rows]))


@live.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def status(live_id: str | None, as_json: bool) -> None:
    """Show what a live follows, what it said last, and the head of its chain.

    Publish the head anywhere today, and you can prove tomorrow what was said until then.

    \b
    Example:
      alphamill live status
    """
    from alphamill.report.terminal.live import factors_table

    _, entry, journal = _one(options.settings(), live_id)
    head = journal.head
    newest: dict[str, Signal] = {}
    for link in journal.read(max(0, head.rows - 4 * len(entry.spec.factors) - 16)):
        newest[link.row.factor] = link.row
    if as_json:
        said = {name: json.loads(row.payload) for name, row in newest.items()}
        options.print_json(
            {**_described(entry), "rows": head.rows, "head": head.hash, "newest": said}
        )
        return
    console = Console()
    state = "followed" if entry.active else f"stopped {_clock(entry.stopped_ms or 0)} UTC"
    console.print(Text(f"{entry.id}  {state}"))
    console.print(factors_table(entry, newest))
    console.print(Text(f"{head.rows:,} rows, head {head.hash}"))


@live.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@click.option("--follow", is_flag=True, help="JSON lines as they are published, until Ctrl-C.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="Rows shown.")
@options.json_option
@options.exits
def signals(live_id: str | None, follow: bool, last: int, as_json: bool) -> None:
    """Show what was published last; --follow prints each row as a line of JSON.

    \b
    Example:
      alphamill live signals --last 5
      alphamill live signals --follow | jq -r '[.bar_time, .factor, .state] | @tsv'
    """
    from alphamill.report.terminal.live import signals_table

    settings = options.settings()
    _, entry, journal = _one(settings, live_id)
    first = max(0, journal.head.rows - last)
    if follow:
        for line in _followed(settings, entry, journal, first):
            click.echo(line)
        return
    rows = [link.row for link in journal.read(first)]
    if as_json:
        options.print_json([json.loads(row.payload) for row in rows])
    elif rows:
        Console().print(signals_table(rows))
    else:
        click.echo("nothing is published yet: a bar must close first", err=True)


def _followed(settings: Settings, entry: Entry, journal: Journal, first: int) -> Iterator[str]:
    """Rows as they come: through Redis where it answers, else from the lake."""
    import redis

    from alphamill.live.stream import SignalStream

    next_seq = first
    for link in journal.read(first):
        yield link.payload
        next_seq = link.row.seq + 1
    from alphamill.redis_store import as_text, connect

    client = connect(settings)
    key = SignalStream(client, entry.id).key
    while True:
        try:
            found: Any = client.xread({key: f"{next_seq}-0"}, block=5_000)
        except redis.RedisError:
            time.sleep(_LOOK_S)
            for link in journal.read(next_seq):
                yield link.payload
                next_seq = link.row.seq + 1
            continue
        for _, entries in found or ():
            for name, fields in entries:
                seq = int(as_text(name).partition("-")[0]) - 1
                if seq > next_seq:  # Redis keeps the newest alone
                    for link in journal.read(next_seq):
                        yield link.payload
                        next_seq = link.row.seq + 1
                if seq >= next_seq:
                    yield as_text(fields[b"payload"])
                    next_seq = seq + 1


@live.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def verify(live_id: str | None, as_json: bool) -> None:
    """Walk the chain: whether every row is what was published, none left out. Exit code 1 if not.

    \b
    Example:
      alphamill live verify
    """
    _, entry, journal = _one(options.settings(), live_id)
    rows, head, broken = follow_chain(journal.read())
    if as_json:
        fault = None if broken is None else asdict(broken)
        options.print_json({"live": entry.id, "rows": rows, "head": head, "broken": fault})
    else:
        click.echo(f"{rows:,} rows hold, head {head}")
        if broken is not None:
            click.secho(f"row {broken.seq}: {broken.why}", fg="red", err=True)
    if broken is not None:
        raise SystemExit(options.EXIT_FAILED)


@live.command()
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
    lake, entry, journal = _one(settings, live_id)
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


@live.command()
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
    lake, entry, journal = _one(settings, live_id)
    last = _last(journal)
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


@live.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def arrivals(live_id: str | None, as_json: bool) -> None:
    """Show when bars arrived: median, 99th percentile, the worst symbols, how many never came.

    \b
    Example:
      alphamill live arrivals
    """
    from alphamill.live.arrival_log import read_heard
    from alphamill.market.stream.arrivals import lags_of, worst_symbols
    from alphamill.report.terminal.live import arrivals_view

    lake, entry, _ = _one(options.settings(), live_id)
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


@live.command()
@click.argument("live_id", metavar="LIVE")
@options.exits
def stop(live_id: str) -> None:
    """Follow it no more; what was published stays, and `start` goes on with the same chain.

    \b
    Example:
      alphamill live stop live-3f0c
    """
    lake, entry, _ = _one(options.settings(), live_id)
    Register(lake).stop(entry.id, SystemClock().now_ms())
    click.echo(f"{entry.id} stopped")


@live.command()
@click.argument("factor", metavar="[FACTOR]", required=False)
@click.option(
    "--to",
    "form",
    type=click.Choice(["pandas", "freqtrade", "json"]),
    required=True,
    help="A module with factor(frame), a strategy, or the tree.",
)
@click.option("--live", "live_id", metavar="LIVE", help="Whose factor; default: the newest live.")
@click.option("--run", metavar="RUN", help="Or a mining run's, whatever its verdict.")
@click.option("--expr", "expression", metavar="EXPR", help="Or an expression.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there instead of to the terminal.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@options.exits
def export(
    factor: str | None,
    form: str,
    live_id: str | None,
    run: str | None,
    expression: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Write a factor as a file that computes it without alphamill.

    FACTOR is a number or hash of the live or run. `pandas` is a Python module over numpy and pandas
    alone; `freqtrade` a strategy that follows the live's signals, or computes by itself; `json` the
    expression's tree with what is known of it.

    \b
    Example:
      alphamill live export 1 --to pandas --out factor.py
      alphamill live export 1 --live live-3f0c --to freqtrade --out user_data/strategies/mined.py
      alphamill live export --expr "-ts_zscore(close, 24)" --to json
    """
    from alphamill.live.export import json_text, pandas_text, strategy_text, write_new

    settings = options.settings()
    exported = _exported(settings, factor, live_id, run, expression)
    text = {"pandas": pandas_text, "freqtrade": strategy_text, "json": json_text}[form](exported)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        write_new(out, text, force)
    except FileExistsError as error:
        raise click.UsageError(f"{out} is there already; --force writes over it") from error
    except OSError as error:
        raise GiveUp(f"{out} cannot be written: {error.strerror}") from error
    click.echo(f"{exported.factor.text} is in {out}", err=True)


def _exported(
    settings: Settings, text: str | None, live_id: str | None, run: str | None, expr: str | None
) -> Exported:
    from alphamill.live.export import from_expression, from_live, from_run

    if sum(one is not None for one in (live_id, run, expr)) > 1:
        raise click.UsageError("a factor is of --live, of --run or --expr: give one of them")
    if expr is not None:
        if text is not None:
            raise click.UsageError("--expr is the factor: FACTOR names another")
        try:
            return from_expression(expr)
        except FactorError as error:
            raise click.UsageError(f"--expr: {error}") from error
    if text is None:
        raise click.UsageError("which FACTOR? give its number or hash, or an expression by --expr")
    if run is not None:
        from alphamill.runs.finished import finished_run

        return from_run(finished_run(settings, run, (RunKind.MINE,)), text)
    _, entry, _ = _one(settings, live_id)
    return from_live(entry.id, entry.spec, text)


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "live": entry.id,
        "active": entry.active,
        "started_ms": entry.started_ms,
        "stopped_ms": entry.stopped_ms,
        "webhook": bool(entry.webhook),
        "spec": entry.spec.to_message(),
    }


def _last(journal: Journal) -> Signal | None:
    rows = list(journal.read(max(0, journal.head.rows - 1)))
    return rows[-1].row if rows else None


def _clock(time_ms: int) -> str:
    from alphamill.report.values import moment

    return moment(time_ms)


if __name__ == "__main__":
    live()
