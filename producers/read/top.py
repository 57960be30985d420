"""`alphamill top`: the fleet on one page that keeps itself up to date."""

from __future__ import annotations

import json
import sys
import time

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from alphamill.errors import RetryLater
from alphamill.fleet.snapshot import FleetReader
from alphamill.redis_store import connect
from alphamill.report.terminal.fleet import fleet_page
from producers import options


@click.command()
@click.option("--once", is_flag=True, help="Print one page and end.")
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@options.json_option
@options.exits
def top(once: bool, interval_s: float, as_json: bool) -> None:
    """Watch runs, queues, limits, budgets, circuits and workers on one page.

    "can run" of a queue is what limits and budgets let run: more workers help with no more. Where
    the output is no terminal, one page is printed. --json without --once is an object a line.

    \b
    Example:
      alphamill top
      alphamill top --once --json
    """
    settings = options.settings()
    reader = FleetReader(connect(settings), settings)
    if as_json and once:
        options.print_json(reader.read().to_dict())
    elif as_json:
        _lines(reader, interval_s)
    elif once or not sys.stdout.isatty():
        Console().print(fleet_page(reader.read()))
    else:
        _live(reader, interval_s)


def _lines(reader: FleetReader, interval_s: float) -> None:
    while True:
        click.echo(json.dumps(reader.read().to_dict(), default=str))
        time.sleep(interval_s)


def _live(reader: FleetReader, interval_s: float) -> None:
    page = fleet_page(reader.read())
    with Live(page, console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            try:
                page = fleet_page(reader.read())
                live.update(page, refresh=True)
            except RetryLater as error:  # the last figures stay
                live.update(Group(Text(str(error), style="bold red"), page), refresh=True)
