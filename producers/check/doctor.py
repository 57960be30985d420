"""`alphamill doctor`: whether everything that a run needs is there, and what to do where not."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphamill.errors import AlphamillError, Misconfigured
from alphamill.frames import Market
from alphamill.report.values import plain
from alphamill.settings import Settings, load_settings
from producers import options
from producers.check import local as stack_checks
from producers.check import remote as remote_checks
from producers.check.findings import Check, failed

_PATIENCE_S = 7.0  # for all probes together; a name server may hang longer than any socket
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Probe = Callable[[], Iterator[Check]]


@click.command()
@click.option("--market", type=click.Choice([market.value for market in Market]),
              default=Market.SPOT.value, show_default=True,
              help="Whose exchange host to ask.")  # fmt: skip
@options.json_option
@options.exits
def doctor(market: str, as_json: bool) -> None:
    """Check settings, Redis, lake, exchange, LLM, prices and workers.

    Ends within eight seconds; exit code 1 if a check fails. Flower is not checked.

    \b
    Example:
      alphamill doctor
    """
    checks = examine(Market(market))
    healthy = all(check.state != "fail" for check in checks)
    if as_json:
        options.print_json({"ok": healthy, "checks": [check.to_dict() for check in checks]})
    else:
        Console().print(_table(checks))
    if not healthy:
        raise SystemExit(options.EXIT_FAILED)


def examine(market: Market) -> list[Check]:
    """All checks in a fixed order; without valid settings only what needs none."""
    checks = [stack_checks.python_check()]
    try:
        settings = load_settings()
    except Misconfigured as error:
        return [*checks, failed("settings", error)]
    checks += [Check("settings", "ok", f"home {settings.home}"), *_asked(settings, market)]
    return [*checks, remote_checks.prices_check(settings)]


def _asked(settings: Settings, market: Market) -> list[Check]:
    return ask_all(
        {
            "redis": lambda: stack_checks.redis_checks(settings),
            "broker": lambda: stack_checks.broker_checks(settings),
            "lake": lambda: stack_checks.lake_checks(settings),
            "exchange": lambda: remote_checks.exchange_checks(settings, market),
            "llm": lambda: remote_checks.llm_checks(settings),
        },
        _PATIENCE_S,
    )


def ask_all(asked: Mapping[str, Probe], patience_s: float) -> list[Check]:
    """Run probes side by side; one that has not ended in time fails, and is left behind."""
    answers: queue.SimpleQueue[tuple[str, Check | None]] = queue.SimpleQueue()

    def ask(name: str, probe: Probe) -> None:
        try:
            for check in probe():
                answers.put((name, check))
        except AlphamillError as error:
            answers.put((name, failed(name, error)))
        except Exception as error:  # noqa: BLE001  a defect of one probe must not hide the others
            answers.put((name, Check(name, "fail", f"the check broke ({type(error).__name__})")))
        answers.put((name, None))

    for name, probe in asked.items():  # daemons: a hanging one does not hold the process
        threading.Thread(target=ask, args=(name, probe), name=f"doctor-{name}", daemon=True).start()
    found: dict[str, list[Check]] = {name: [] for name in asked}
    waiting, deadline_s = set(asked), time.monotonic() + patience_s
    while waiting and (left_s := deadline_s - time.monotonic()) > 0:
        try:
            name, check = answers.get(timeout=left_s)
        except queue.Empty:
            break
        if check is None:
            waiting.discard(name)
        else:
            found[name].append(check)
    for name in waiting:
        found[name].append(Check(name, "fail", f"no answer within {patience_s:g} s",
                                 "look at the network between here and there"))  # fmt: skip
    return [check for name in asked for check in found[name]]


def _table(checks: Sequence[Check]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        detail = Text(plain(check.detail, 300))
        if check.cure:
            detail.append(f"\n-> {plain(check.cure, 300)}", style="bold")
        table.add_row(Text(check.state, style=_STYLES[check.state]), Text(check.name), detail)
    return table
