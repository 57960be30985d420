"""`alphamill worker`, `beat` and `flower`: Celery's own programs, started as this project needs."""

from __future__ import annotations

import os
import sys

import click

from alphamill.errors import Misconfigured
from alphamill.redis_store import connect
from alphamill.stack.pools import POOLS, STREAM, STREAM_ENVIRONMENT, worker_arguments
from producers import options
from producers.run.alive import check_beat, check_page, check_worker

_check = click.option(
    "--check", is_flag=True, help="Start nothing: end with 0 if one is up on this machine, else 1."
)


def _become(*arguments: str) -> None:
    """Replace this process by `python -m celery ...`, so that signals reach it directly."""
    os.execv(sys.executable, [sys.executable, "-m", "celery", *arguments])  # noqa: S606


@click.command()
@click.argument("pool", type=click.Choice((*POOLS, STREAM)))
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Threads or processes.")
@_check
@options.exits
def worker(pool: str, concurrency: int | None, check: bool) -> None:
    """Run one worker of a pool; start as many as you like, on as many machines.

    The same as, for example: celery -A workers.app worker -Q fetch -P threads -c 8

    The pool `stream` follows what `alphamill live` started: one of its workers a market, the others
    stand by.

    \b
    Example:
      alphamill worker evaluate -c 4
    """
    client = connect(options.settings())
    if check:
        check_worker(client, pool)
        return
    if pool == STREAM:
        if concurrency is not None:
            raise click.UsageError("a worker of the pool stream has no --concurrency")
        arguments = [sys.executable, "-m", "workers.stream"]
        os.execve(sys.executable, arguments, STREAM_ENVIRONMENT | os.environ)  # noqa: S606
    _become(*worker_arguments(POOLS[pool], concurrency))


@click.command()
@click.option("--schedule", type=click.Path(), help="Beat's own file; default HOME/beat-schedule.")
@_check
@options.exits
def beat(schedule: str | None, check: bool) -> None:
    """Run the clock that sweeps the ledger: exactly one for all workers.

    \b
    Example:
      alphamill beat
    """
    settings = options.settings()
    client = connect(settings)
    if check:
        check_beat(client)
        return
    if schedule is None:
        settings.home.mkdir(parents=True, exist_ok=True)
        schedule = str(settings.home / "beat-schedule")
    _become("-A", "workers.app", "beat", "-l", "INFO", "-s", schedule, "--pidfile=")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
@_check
@options.exits
def flower(port: int, address: str, check: bool) -> None:
    """Run Flower, the page that shows workers and tasks.

    Beyond loopback it wants a password: FLOWER_BASIC_AUTH=user:password.

    \b
    Example:
      alphamill flower --port 5556
    """
    if check:
        check_page(address, port, "/healthcheck", "Flower")
        return
    connect(options.settings())
    loopback = address in ("127.0.0.1", "localhost", "::1")
    if not loopback and ":" not in os.environ.get("FLOWER_BASIC_AUTH", ""):
        raise Misconfigured(
            "FLOWER_BASIC_AUTH", f"Flower on {address} needs a password", "set it to user:password"
        )
    _become("-A", "workers.flower", "flower", f"--port={port}", f"--address={address}")
