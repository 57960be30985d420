"""The end of `alphamill demo`: its best factor is followed over the last bars, played again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from alphamill.frames import Interval, Market
from alphamill.grid import index_at, open_ms
from alphamill.lake import Lake
from alphamill.live.choose import followed_from
from alphamill.live.follow_up import SETTLED_MS, check
from alphamill.live.journal import Journal
from alphamill.live.parity import Why
from alphamill.live.register import Entry, Register
from alphamill.live.spec import Followed, LiveSpec
from alphamill.report.terminal.live import signals_table
from alphamill.runs.published import PublishedRun
from alphamill.stack.embedded_redis import free_port
from alphamill.stack.pools import STREAM
from alphamill.stack.processes import Service, Supervisor
from producers.run.up import command, taken

BARS = 10
_BEFORE = 200  # bars that may pass while exchange and follower begin; most do not
_BAR_S = 1.5  # that a bar takes
_WAIT_S = 120.0
_CONFIG = "\n[binance]\nrequests_per_minute = 6000\nclock_speed = {speed}\n"


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and what the demo's exchange serves. source: `sim exchange`'s options."""

    supervisor: Supervisor
    env: Mapping[str, str]
    source: tuple[str, ...]
    keep_up: Callable[[], None]


def follow(stage: Stage, run_id: str, interval: Interval) -> None:
    """Follow the run's best factor over the bars near its end, and print what was said.

    A second exchange serves the same market with a fast clock, and a worker of the pool stream
    follows it into the demo's lake.
    """
    lake = Lake(stage.env["ALPHAMILL_LAKE"])
    run = PublishedRun.open(lake, run_id)
    judged = [factor for factor in run.factors if factor.interval is interval]
    if not judged:
        return
    symbols = tuple(run.spec.symbols)
    start_ms, end_ms = run.spec.start_ms, run.spec.end_ms
    best = followed_from(run, judged[:1])
    entry = _started(stage, lake, best, symbols, interval, start_ms, end_ms)
    journal = Journal(lake, entry.id, entry.started_ms)
    console = Console()
    followed = _wait(stage, journal)
    Register(lake).stop(entry.id, end_ms)
    if not followed:
        log = f"{stage.env['ALPHAMILL_HOME']}/logs/worker-{STREAM}.log"
        console.print(Text(f"\nNot followed live in time; see {log}", style="yellow"))
        return
    rows = [link.row for link in journal.read()][:BARS]
    console.print(Text(f"\nFollowed live: the best factor over {BARS} bars", style="bold"))
    about = f"Bars near the market's end, again, one in {_BAR_S:g} s: {judged[0].traded}"
    console.print(Text(about, style="dim"))
    console.print(Padding(signals_table(rows), (1, 0)))
    _, checked = check(lake, entry, rows[-1].close_time + SETTLED_MS)
    equal, values = checked.counts[Why.EQUAL], checked.counts.total()
    console.print(Text(f"{equal} of {values} values equal to batch to the bit"))
    click.echo(f"chain of {journal.reload().rows} rows, head {journal.head.hash}")


def _started(
    stage: Stage,
    lake: Lake,
    followed: tuple[Followed, ...],
    symbols: tuple[str, ...],
    interval: Interval,
    start_ms: int,
    end_ms: int,
) -> Entry:
    end = index_at(interval, end_ms)
    first = max(end - BARS - _BEFORE, (index_at(interval, start_ms) + end) // 2)
    now_ms = open_ms(interval, first) + interval.ms // 2
    speed = interval.ms / 1000 / _BAR_S
    port = free_port()
    config = _config(stage, speed)
    env = {
        **stage.env,
        "ALPHAMILL_CONFIG": config,
        "ALPHAMILL_BINANCE_URL": (url := f"http://127.0.0.1:{port}"),
        "ALPHAMILL_BINANCE_UM_URL": f"{url}/um",  # nothing is asked of the real exchange
        "ALPHAMILL_BINANCE_CM_URL": f"{url}/cm",
        "ALPHAMILL_ARCHIVE_URL": "",
    }
    spec = LiveSpec(
        Market.SPOT,
        interval,
        symbols,
        followed,
        release_ms=interval.ms,  # with the last of its symbols; a busy machine may take a second
        correct_within_ms=4 * interval.ms,
    )
    entry = Register(lake).start(spec, now_ms)
    again = [*stage.source, "--port", str(port), "--now", _iso(now_ms), "--speed", f"{speed:g}"]
    stage.supervisor.start(
        [Service("exchange-again", command("sim", "exchange", *again), env, lambda: taken(port))]
    )
    stage.supervisor.start([Service(f"worker-{STREAM}", command("worker", STREAM), env)])
    return entry


def _config(stage: Stage, speed: float) -> str:
    """A file of settings with a fast clock, beside the demo's own."""
    path = Path(stage.env["ALPHAMILL_HOME"]) / "live.toml"
    path.write_text(_CONFIG.format(speed=speed), encoding="utf-8")
    return str(path)


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _wait(stage: Stage, journal: Journal) -> bool:
    """Whether the bars are published in time."""
    deadline_s = time.monotonic() + _WAIT_S
    while journal.reload().rows < BARS:
        if time.monotonic() > deadline_s:
            return False
        stage.keep_up()
        time.sleep(0.2)
    return True
