"""`alphamill doctor`: whether everything that a run needs is there, and what to do where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphamill.frames import Market
from alphamill.report.values import plain
from producers import options

if TYPE_CHECKING:
    from producers.check.local import Check

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


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
    from producers.check.examine import examine  # every client that there is

    checks = examine(Market(market))
    healthy = all(check.state != "fail" for check in checks)
    if as_json:
        options.print_json({"ok": healthy, "checks": [check.to_dict() for check in checks]})
    else:
        Console().print(_table(checks))
    if not healthy:
        raise SystemExit(options.EXIT_FAILED)


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
