"""`alphamill demo`: the whole stack once on this machine, from fetch to leaderboard, offline."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from alphamill.errors import GiveUp, Misconfigured
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.kernel_cache import nothing_compiled_yet
from alphamill.ledger import RedisLedger, RunRecord, RunState
from alphamill.redis_address import open_client
from alphamill.runs.fetch_rate import FetchRate
from alphamill.settings import Settings, load_settings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.stack.embedded_redis import EmbeddedRedis, free_port
from alphamill.stack.processes import Service, Supervisor
from producers import options
from producers.read.watch import wait_for_run
from producers.run.up import (
    FIRST_TIME,
    command,
    keep_up,
    starting,
    terminated_as_interrupt,
    uninterrupted,
    worker_services,
)
from workers import flows

_MARK = "made-by-alphamill-demo"
_KEY = "offline-no-key"
_MIN_SYMBOLS = 3

_CONFIG = """\
# Written by `alphamill demo`: the simulated exchange at its own limits, the offline LLM.
[binance]
requests_per_minute = 6000
[llm.tiers.quick_scan]
model = "{model}"
max_tokens = 1500
requests_per_minute = 600
tokens_per_minute = 6000000
[llm.tiers.detailed_analysis]
model = "{model}"
max_tokens = 1500
requests_per_minute = 300
tokens_per_minute = 6000000
[llm.tiers.final_verification]
model = "{model}"
max_tokens = 600
temperature = 0.0
requests_per_minute = 300
tokens_per_minute = 6000000
[ledger]
lease_s = 15.0  # a worker that is killed here is replaced at once
"""


@dataclass(frozen=True, slots=True)
class _Market:
    """What the simulated exchange says that it serves."""

    symbols: tuple[str, ...]
    start_ms: int
    end_ms: int
    planted: tuple[Mapping[str, Any], ...]


@click.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Where all of it lies; made anew. Default: ALPHAMILL_HOME/demo.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of SYMBOL-INTERVAL.parquet recordings, in place of the synthetic market.",
)
@click.option("--interval", "intervals", type=options.Intervals(), default="1h", show_default=True)
@click.option("--symbols", type=options.Symbols(), help="Default: all that there are.")
@options.exits
def demo(
    home: Path | None,
    replay: Path | None,
    intervals: tuple[Interval, ...],
    symbols: tuple[str, ...] | None,
) -> None:
    """Run everything once, offline: fetch, features, mining, verdicts, leaderboard; then stop it.

    A real Redis server, real Celery workers and real HTTP; the exchange and the model are
    simulated. Takes one to three minutes on two cores.

    \b
    Example:
      alphamill demo
      alphamill demo --replay ~/recordings --interval 1h
    """
    folder = (home or load_settings().home / "demo").resolve()
    if replay is not None:
        from alphamill.sim.market import ReplaySource  # reads parquet

        ReplaySource(replay)  # names what is wrong with the folder before anything starts
    with terminated_as_interrupt():
        _clear(folder)
        started_s = time.monotonic()
        with _stack(folder, replay, intervals[0]) as stack:
            market = _market(stack, intervals, symbols)
            run = _mine(stack, market, intervals)
            _show(stack.settings, run, market, Console())
            _follow(stack, run, intervals[0])
        click.echo(f"everything is stopped again; {time.monotonic() - started_s:.0f} s")
    if run.state is not RunState.DONE:
        raise SystemExit(options.EXIT_FAILED)


def _clear(folder: Path) -> None:
    """Empty the demo's own folder; refuse anybody else's."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise Misconfigured(
                "--home", f"{folder} is not empty and not a demo's", "name an empty folder"
            )
        EmbeddedRedis(folder).refuse_if_running()
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise Misconfigured(
            "--home", f"cannot write to {folder} ({error.strerror})", "name another folder"
        ) from error


@dataclass(frozen=True, slots=True)
class _Stack:
    """What runs. keep_up: starts again what has died; called now and then."""

    settings: Settings
    exchange_url: str
    keep_up: Callable[[], None]
    supervisor: Supervisor
    env: Mapping[str, str]
    source: tuple[str, ...]  # options of `sim exchange`


@contextmanager
def _stack(home: Path, replay: Path | None, interval: Interval) -> Iterator[_Stack]:
    """The stack, up; on leaving, however that comes, all of it stopped."""
    say = Console(stderr=True, highlight=False).print
    embedded, supervisor = EmbeddedRedis(home), Supervisor(home / "logs", say=say)
    exchange_port, llm_port, flower_port = free_port(), free_port(), free_port()
    exchange_url = f"http://127.0.0.1:{exchange_port}"
    config = home / "demo.toml"
    config.write_text(_CONFIG.format(model=PROPOSER), encoding="utf-8")
    source = ["--replay", str(replay.resolve())] if replay else ["--interval", interval.value]
    try:
        say(f"starting Redis; logs in {home / 'logs'}")
        env = {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_CONFIG": str(config),
            "ALPHAMILL_LAKE": str(home / "lake"),
            "ALPHAMILL_REDIS_URL": embedded.start(),
            "ALPHAMILL_BROKER_URL": "",
            "ALPHAMILL_BINANCE_URL": exchange_url,
            "ALPHAMILL_ARCHIVE_URL": exchange_url,
            "ALPHAMILL_LLM_URL": f"http://127.0.0.1:{llm_port}/v1",
            "ALPHAMILL_LLM_API_KEY": _KEY,
        }
        if nothing_compiled_yet():
            say(FIRST_TIME)
        simulators = [
            Service(
                "exchange",
                command("sim", "exchange", "--port", str(exchange_port), *source),
                env,
                lambda: _reads(f"{exchange_url}/api/v3/ping"),
            ),
            Service(
                "llm",
                command("sim", "llm", "--port", str(llm_port)),
                env,
                lambda: _reads(f"http://127.0.0.1:{llm_port}/v1/models"),
            ),
        ]
        services = [*simulators, *worker_services(home, env, flower_port, streams=False)]
        with starting([service.name for service in services]) as is_up:
            supervisor.start(services, is_up=is_up)
        say(f"all is up; Flower on http://127.0.0.1:{flower_port} while this runs")
        os.environ.update(env)  # this process submits to that stack and to no other

        def keep() -> None:
            keep_up(supervisor, embedded)

        yield _Stack(load_settings(), exchange_url, keep, supervisor, env, tuple(source))
    finally:
        with uninterrupted():
            say("stopping ...")
            supervisor.stop()
            embedded.stop()


def _reads(url: str) -> bool:
    with suppress(OSError):
        return _get(url) is not None
    return False


def _told(stack: _Stack) -> Any:
    """What the exchange says of its market; it reads all its recordings for that."""
    try:
        return _get(f"{stack.exchange_url}/__sim__/market")
    except OSError as error:
        log = stack.settings.home / "logs" / "exchange.log"
        raise GiveUp(f"the exchange cannot read its recordings; see {log}") from error


def _get(url: str) -> Any:
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # on this machine
    with straight.open(url, timeout=60) as reply:
        return json.load(reply)


def _market(
    stack: _Stack, intervals: tuple[Interval, ...], symbols: tuple[str, ...] | None
) -> _Market:
    """What there is to mine: every symbol that the exchange has at all the intervals.

    Recordings that lack one are named on stderr.
    """
    told = _told(stack)
    if told["kind"] == "synthetic":
        ranges = dict.fromkeys(told["symbols"], (told["start_ms"], told["end_ms"]))
    else:
        recorded = told["markets"].get(Market.SPOT.value, {})
        ranges = {
            symbol: (
                min(series[interval]["first_open_ms"] for interval in intervals),
                max(series[interval]["last_open_ms"] + interval.ms for interval in intervals),
            )
            for symbol, series in recorded.items()
            if all(interval in series for interval in intervals)
        }
        lacking = [symbol for symbol in recorded if symbol not in ranges]
        if lacking and symbols is None:
            which = f"{len(lacking)} without bars of {', '.join(intervals)}: {', '.join(lacking)}"
            click.echo(f"left out, {which}", err=True)
    if symbols is not None:
        if unknown := [symbol for symbol in symbols if symbol not in ranges]:
            raise click.UsageError(
                f"--symbols: no bars of {', '.join(unknown)}; there are {', '.join(ranges)}"
            )
        ranges = {symbol: ranges[symbol] for symbol in symbols}
    if len(ranges) < _MIN_SYMBOLS:
        raise GiveUp(
            f"only {len(ranges)} symbols with bars of {', '.join(intervals)}; at least "
            f"{_MIN_SYMBOLS} are needed to compare"
        )
    return _Market(
        tuple(ranges),
        min(start_ms for start_ms, _ in ranges.values()),
        max(end_ms for _, end_ms in ranges.values()),
        tuple(told.get("planted", ())),
    )


def _mine(stack: _Stack, market: _Market, intervals: tuple[Interval, ...]) -> RunRecord:
    settings = stack.settings
    spec = RunSpec(
        kind=RunKind.MINE,
        lake=settings.lake_uri,
        market=Market.SPOT,
        symbols=market.symbols,
        intervals=intervals,
        start_ms=market.start_ms,
        end_ms=market.end_ms,
        rounds=2,
        candidates=8,
        budget_usd_micros=1_000_000,
        llm_url=settings.llm.url,
        tiers=dict(settings.llm.tiers),
        # Each demo finds for itself what an earlier one may have found in the same lake.
        search=settings.search.model_copy(update={"library_factors": 0}),
        segments=settings.segments,
        portfolio=settings.portfolio,
        fees=settings.fees,
        gates=settings.gates,
    )
    client = open_client(settings.redis_url)
    ledger = RedisLedger(client, settings.ledger)
    run = flows.submit(spec, ledger)
    click.echo(f"run {run.id}: {len(market.symbols)} symbols, {', '.join(intervals)}", err=True)
    rate = FetchRate(client, settings)
    return wait_for_run(ledger, run.id, each=stack.keep_up, rate=rate)


def _follow(stack: _Stack, run: RunRecord, interval: Interval) -> None:
    """Follow the best of what was found, over bars near the market's end."""
    from producers.run.demo_live import Stage, follow  # tables and kernels: at the end

    if run.state is RunState.DONE:
        stage = Stage(stack.supervisor, stack.env, stack.source, stack.keep_up)
        follow(stage, run.id, interval)


def _show(settings: Settings, run: RunRecord, market: _Market, console: Console) -> None:
    from producers.run.demo_results import show_planted, show_results  # tables: at the end

    show_results(settings, run, console)
    if market.planted:
        show_planted(run, [factor["expression"] for factor in market.planted], console)
