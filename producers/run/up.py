"""`alphamill up`: the whole stack on this machine until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from rich.console import Console

from alphamill.errors import Misconfigured
from alphamill.kernel_cache import nothing_compiled_yet
from alphamill.ledger.presence import Presence
from alphamill.redis_address import open_client
from alphamill.redis_store import connect
from alphamill.settings import Settings
from alphamill.stack.embedded_redis import EmbeddedRedis, free_port
from alphamill.stack.pools import POOLS, STREAM
from alphamill.stack.processes import Service, Supervisor
from producers import options

FIRST_TIME = (
    "the first run here compiles its kernels, once: features and evaluate take some twenty "
    "seconds of a core longer"
)


def command(*arguments: str) -> list[str]:
    """Arguments that run `alphamill ...` with this very Python."""
    return [sys.executable, "-m", "producers.cli", *arguments]


def worker_services(
    home: Path, env: Mapping[str, str], flower_port: int, *, streams: bool = True
) -> list[Service]:
    """A worker a pool, beat and Flower; ready when it says so in Redis, or its port answers.

    streams: also one that follows lives.
    """
    presence = Presence(open_client(env["ALPHAMILL_REDIS_URL"], socket_timeout=5))
    # Workers of other machines, and dead ones that Redis has not forgotten yet, are not ours.
    others = {worker.name for worker in presence.here()}

    def is_here(pool: str) -> bool:
        return any(w.pool == pool and w.name not in others for w in presence.here())

    workers = [
        Service(f"worker-{pool}", command("worker", pool), env, lambda pool=pool: is_here(pool))  # type: ignore[misc]
        for pool in POOLS
    ]
    if streams:
        workers.append(
            Service(f"worker-{STREAM}", command("worker", STREAM), env, lambda: is_here(STREAM))
        )
    schedule = str(home / "beat-schedule")
    beat = Service("beat", command("beat", "--schedule", schedule), env)
    page = command("flower", "--port", str(flower_port))
    return [*workers, beat, Service("flower", page, env, lambda: taken(flower_port))]


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that everything is stopped."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {which: signal.signal(which, interrupt) for which in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals wait: a second Ctrl-C must not leave half of the stack behind."""
    which = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = {one: signal.signal(one, signal.SIG_IGN) for one in which}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def starting(names: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Says on stderr what a start waits for; the block calls what it is given as each is up.

    A terminal shows one line that moves, a pipe gets a line a process.
    """
    console, waiting = Console(stderr=True, highlight=False), list(names)
    console.print(f"starting {len(names)} processes: {', '.join(names)}", soft_wrap=True)
    with console.status("") if console.is_terminal else nullcontext() as moving:

        def is_up(name: str) -> None:
            waiting.remove(name)
            if moving is None:
                console.print(f"{name} is up", soft_wrap=True)
            elif waiting:
                moving.update(f"{len(names) - len(waiting)} of {len(names)}, next {waiting[0]}")

        yield is_up


def prepared(home: Path) -> Path:
    """The home folder, made if need be, as an absolute path. Raises Misconfigured."""
    home = home.resolve()
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            "ALPHAMILL_HOME", f"cannot write to {home} ({error.strerror})", "name another folder"
        ) from error
    return home


def keep_up(supervisor: Supervisor, embedded: EmbeddedRedis | None) -> None:
    """Start again what has died, Redis first: nothing that it had answered is lost."""
    if embedded is not None and embedded.revive():
        click.echo("the Redis server ended; it runs again", err=True)
    supervisor.watch()


def taken(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="Default: ALPHAMILL_HOME.")
@click.option(
    "--flower-port",
    type=click.IntRange(0, 65535),
    default=5555,
    show_default=True,
    help="0 takes a free one.",
)
@options.exits
def up(home: Path | None, flower_port: int) -> None:
    """Run the whole stack here: Redis, a worker a pool, beat and Flower, until Ctrl-C.

    Redis is an embedded server unless ALPHAMILL_REDIS_URL names one. A process that dies is started
    again; logs lie in HOME/logs.

    \b
    Example:
      alphamill up --flower-port 5556
    """
    if home is not None:
        os.environ["ALPHAMILL_HOME"] = str(home)
    settings = options.settings()
    EmbeddedRedis(prepared(settings.home)).refuse_if_running()
    flower_port = flower_port or free_port()
    if taken(flower_port):
        raise Misconfigured("--flower-port", f"port {flower_port} is in use", "choose another")
    with terminated_as_interrupt():
        try:
            _run(settings, flower_port)
        except KeyboardInterrupt:
            click.echo("stopped")


def _run(settings: Settings, flower_port: int) -> None:
    home = prepared(settings.home)
    embedded = None if os.environ.get("ALPHAMILL_REDIS_URL") else EmbeddedRedis(home)
    supervisor = Supervisor(home / "logs", say=lambda text: click.echo(text, err=True))
    try:
        url = embedded.start() if embedded else settings.redis_url
        connect(settings.model_copy(update={"redis_url": url}))
        env = {"ALPHAMILL_HOME": str(home), "ALPHAMILL_REDIS_URL": url}
        services = worker_services(home, env, flower_port)
        with starting([service.name for service in services]) as is_up:
            supervisor.start(services, is_up=is_up)
        click.echo(f"up: Flower on http://127.0.0.1:{flower_port}, logs in {home / 'logs'}")
        if nothing_compiled_yet():
            click.echo(FIRST_TIME)
        click.echo("submit from another terminal, for example: alphamill mine --help")
        while True:
            keep_up(supervisor, embedded)
            time.sleep(0.5)
    finally:
        with uninterrupted():
            if supervisor.pids():
                click.echo("stopping ...", err=True)
            supervisor.stop()
            if embedded:
                embedded.stop()
