"""Processor time of each command that only reads or prints help, beside the target of 0.6 s.

Run: python benchmarks/command_start.py [--home HOME] [--older CHECKOUT] [--times 5] [--only WORD].
HOME is what `alphamill demo --home HOME` left behind; without it a demo is run first, which takes
minutes. Each command is a process of its own against the Redis and the lake of that home; user and
system time are the kernel's (wait4), median of `--times`. --older measures the same with the code
of another checkout. The exchange is a port where nobody listens: what `doctor` costs without its
questions. Python keeps its bytecode of our modules, as it does of an installed package, outside of
the checkouts; --uncompiled measures without, as the first start of a fresh clone. Ends with 1 if a
command fails or misses the target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from alphamill.stack.embedded_redis import EmbeddedRedis
from producers.cli import COMMANDS, main

HERE = Path(__file__).resolve().parents[1]
TARGET_S = 0.6
UNCOMPILED = {"PYTHONDONTWRITEBYTECODE": "1"}
NOBODY = "http://127.0.0.1:1"
READS = (
    "status",
    "status RUN",
    "status --json",
    "factors",
    "factors 1",
    "factors --json",
    "library list",
    "top --once",
    "usage",
    "usage --run RUN",
    "funnel",
    "gaps",
    "prompt quick_scan",
    "operators",
    "operators --dialects",
    "operators --json",
    "models",
    "cost",
    "cost --symbols 20",
    "doctor",
)
FAILS = {"doctor"}  # rightly: nothing is there to talk to
SCRIPTS = ("fetch", "features", "mine", "evaluate")


@dataclass(frozen=True)
class Start:
    """One way to start a process of ours."""

    shown: str
    arguments: tuple[str, ...]  # of Python


def starts(run_id: str) -> Iterator[Start]:
    command = ("-m", "producers.cli")
    yield Start("alphamill --help", (*command, "--help"))
    for path in helps():
        yield Start(f"alphamill {' '.join(path)} --help", (*command, *path, "--help"))
    for script in SCRIPTS:
        module = f"producers.{script}"
        yield Start(f"python -m {module} --help", ("-m", module, "--help"))
    for read in READS:
        words = [run_id if word == "RUN" else word for word in read.split()]
        yield Start(f"alphamill {read}", (*command, *words))


def helps() -> Iterator[tuple[str, ...]]:
    """Every command and, behind a group, each of its own."""
    context = click.Context(main)
    for name in COMMANDS:
        yield (name,)
        found = main.get_command(context, name)
        if isinstance(found, click.Group):
            yield from ((name, inner) for inner in found.list_commands(context))


def processor_s(start: Start, build: Path, around: dict[str, str]) -> tuple[float, int]:
    """User and system time of one process of that build, and its exit code."""
    with subprocess.Popen(
        [sys.executable, *start.arguments],
        cwd=build,  # whose modules come before all others
        env=around,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode


def environment(home: Path, checkout: Path, bytecode: Path | None) -> dict[str, str]:
    ours = ("ALPHAMILL_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    compiling = {"PYTHONPYCACHEPREFIX": str(bytecode)} if bytecode else UNCOMPILED
    urls = ("BINANCE_URL", "BINANCE_UM_URL", "BINANCE_CM_URL", "ARCHIVE_URL", "LLM_URL")
    return {
        **kept,
        **compiling,
        **{f"ALPHAMILL_{name}": NOBODY for name in urls},
        "ALPHAMILL_HOME": str(home),
        "ALPHAMILL_CONFIG": str(home / "demo.toml"),
        "PYTHONPATH": str(checkout),
        "COLUMNS": "100",
    }


def measured(home: Path, builds: list[Path], times: int, only: str, bytecode: Path | None) -> bool:
    """Print the table; whether everything of the first build works and is within the target."""
    run_id = next(path.name for path in (home / "lake" / "runs").glob("run=mine-*"))
    print(f"{'command':38s} {'  '.join(f'{build.name[-8:]:>8s}' for build in builds)}")
    met = True
    for start in starts(run_id.removeprefix("run=")):
        if only not in start.shown:
            continue
        figures = []
        for build in builds:
            around = environment(home, build, bytecode)
            processor_s(start, build, around)  # compiles, and brings files into memory
            spent = [processor_s(start, build, around) for _ in range(times)]
            figures.append(statistics.median(seconds for seconds, _ in spent))
            failed = any(code for _, code in spent) and start.shown.split()[-1] not in FAILS
            if build == builds[0]:
                met &= not failed and figures[0] <= TARGET_S
            if failed:
                print(f"{start.shown}: exit code {spent[-1][1]} of {build.name}", file=sys.stderr)
        missed = "" if figures[0] <= TARGET_S else f"  over {TARGET_S:g} s"
        print(f"{start.shown:38s} {'  '.join(f'{x:8.2f}' for x in figures)}{missed}", flush=True)
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--older", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--uncompiled", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place: Path = chosen.home or Path(folder) / "home"
        if chosen.home is None:
            print("a demo makes the home that is read", file=sys.stderr)
            demo = [sys.executable, "-m", "producers.cli", "demo", "--home", str(place)]
            subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
        redis = EmbeddedRedis(place)
        redis.start()
        try:
            builds = [HERE, *([chosen.older.resolve()] if chosen.older else [])]
            cache = None if chosen.uncompiled else Path(folder) / "bytecode"
            good = measured(place.resolve(), builds, chosen.times, chosen.only, cache)
        finally:
            redis.stop()
    sys.exit(0 if good else 1)
