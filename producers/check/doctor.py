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
from producers.check import local, remote
from producers.check.brokers import broker_checks
from producers.check.local import Check, fail, failed, ok

_PATIENCE_S = 7.0  # for all probes together; a name server may hang longer than any socket
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Probe = Callable[[], Iterator[Check]]


@click.command()
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    default=Market.SPOT.value,
    show_default=True,
    help="Whose exchange host to ask.",
)
@options.json_option
@options.exits
def doctor(market: str, as_json: bool) -> None:
    """Check settings, Redis, lake, exchange, LLM, prices and workers.

    Ends within eight seconds; exit code 1 if a check fails. Flower is not checked. A model that
    its endpoint does not list is asked for one token, within the day's budget; what that cost is
    shown, and counted in `usage`.

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
    checks = [local.python_check()]
    try:
        settings = load_settings()
    except Misconfigured as error:
        return [*checks, failed("settings", error)]
    checks += [ok("settings", f"home {settings.home}"), *_probed(settings, market)]
    return [*checks, remote.prices_check(settings)]


def _probed(settings: Settings, market: Market) -> list[Check]:
    return ask_all(
        {
            "redis": lambda: local.redis_checks(settings),
            "prompts": lambda: local.prompts_checks(settings),
            "broker": lambda: broker_checks(settings),
            "lake": lambda: local.lake_checks(settings),
            "exchange": lambda: remote.exchange_checks(settings, market),
            "llm": lambda: remote.llm_checks(settings),
        },
        _PATIENCE_S,
    )


def ask_all(probes: Mapping[str, Probe], patience_s: float) -> list[Check]:
    """Run probes side by side; one that has not ended in time fails, and is left behind."""
    answers: queue.SimpleQueue[tuple[str, Check | None]] = queue.SimpleQueue()

    def ask(name: str, probe: Probe) -> None:
        try:
            for check in probe():
                answers.put((name, check))
        except AlphamillError as error:
            answers.put((name, failed(name, error)))
        except Exception as error:  # noqa: BLE001  a defect of one probe must not hide the others
            answers.put((name, fail(name, f"the check broke ({type(error).__name__})")))
        answers.put((name, None))

    for name, probe in probes.items():  # daemons: a hanging one does not hold the process
        threading.Thread(target=ask, args=(name, probe), name=f"doctor-{name}", daemon=True).start()
    found: dict[str, list[Check]] = {name: [] for name in probes}
    waiting, deadline_s = set(probes), time.monotonic() + patience_s
    while waiting and (left_s := deadline_s - time.monotonic()) > 0:
        try:
            name, check = answers.get(timeout=left_s)
        except queue.Empty:
            break
        if check is None:
            waiting.discard(name)
        else:
            found[name].append(check)
    late, cure = f"no answer within {patience_s:g} s", "look at the network between here and there"
    for name in waiting:
        found[name].append(fail(name, late, cure))
    return [check for name in probes for check in found[name]]


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
