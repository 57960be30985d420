"""`alphamill live list|status|signals|verify`: what is followed, and what was published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.clock import SystemClock
from alphamill.live.checked import newest_result
from alphamill.live.condition import ParityResult
from alphamill.live.journal import Journal
from alphamill.live.register import Entry
from alphamill.live.signals import Signal, follow_chain
from alphamill.report.values import counted
from alphamill.settings import Settings
from producers import options
from producers.read.live_named import (
    clock,
    described,
    described_standing,
    last_row,
    lives_of,
    one_live,
    standings_of,
)


@click.command(name="list")
@options.json_option
@options.exits
def list_lives(as_json: bool) -> None:
    """List what is followed and what was.

    \b
    Example:
      alphamill live list
    """
    from alphamill.report.terminal.live import lives_table

    settings = options.settings()
    lake, entries = lives_of(settings, None)
    standings, rows = standings_of(settings, entries), []
    for entry in entries:
        journal = Journal(lake, entry.id, entry.started_ms)
        rows.append((entry, journal.head, last_row(journal)))
    if as_json:
        options.print_json(
            [
                {
                    **described(entry),
                    **described_standing(how),
                    "rows": head.rows,
                    "head": head.hash,
                    "parity": parity_of(newest_result(lake, entry.id)),
                }
                for (entry, head, _), how in zip(rows, standings, strict=True)
            ]
        )
        return
    Console().print(
        lives_table([(entry, head.rows, last) for entry, head, last in rows], standings)
    )


@click.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def status(live_id: str | None, as_json: bool) -> None:
    """Show what a live follows, what it said last, the head of its chain, the price of waiting.

    Publish the head anywhere today, and you can prove tomorrow what was said until then.

    \b
    Example:
      alphamill live status
    """
    from alphamill.live.waited import prices_of, read_waited
    from alphamill.report.terminal.followers import (
        parity_text,
        standing_text,
        troubles,
        troubles_grid,
    )
    from alphamill.report.terminal.live import factors_table, holds_line, waiting_view

    settings = options.settings()
    lake, entry, journal = one_live(settings, live_id)
    (how,) = standings_of(settings, [entry])
    head, parity = journal.head, newest_result(lake, entry.id)
    prices = prices_of(read_waited(lake, entry.id))
    newest: dict[str, Signal] = {}
    for link in journal.read(max(0, head.rows - 4 * len(entry.spec.factors) - 16)):
        newest[link.row.factor] = link.row
    if as_json:
        said = {name: json.loads(row.payload) for name, row in newest.items()}
        options.print_json(
            {
                **described(entry),
                **described_standing(how),
                "rows": head.rows,
                "head": head.hash,
                "newest": said,
                "parity": parity_of(parity),
                "waiting_price": [asdict(price) for price in prices],
            }
        )
        return
    console = Console()
    line = Text(f"{entry.id}  ").append(standing_text(how))
    if not entry.active:
        line.append(f" {clock(entry.stopped_ms or 0)} UTC")
    elif how.live is not None:
        line.append(f" by {how.by}, next bar closes {clock(how.live.next_end_ms)} UTC")
    console.print(line)
    console.print(factors_table(entry, newest))
    if holds := holds_line(entry.spec, SystemClock().now_ms()):
        console.print(Text(holds))
    console.print(Text(f"{counted(head.rows, 'row')}, head {head.hash}"))
    console.print(Text(f"parity: {parity_text(parity)}"))
    if prices:
        console.print()
        console.print(waiting_view(prices))
    if found := list(troubles(how)):
        console.print(troubles_grid(found))


def parity_of(found: ParityResult | None) -> dict[str, Any] | None:
    """As --json has it."""
    return None if found is None else asdict(found)


@click.command()
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
    _, entry, journal = one_live(settings, live_id)
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
    """Rows as they come."""
    from alphamill.live.reader import Reader
    from alphamill.redis_store import patient_client

    client = patient_client(settings)
    say = partial(click.echo, err=True)
    return Reader(client, settings.redis_url, journal, entry.id, first, say).follow()


@click.command()
@click.argument("live_id", metavar="[LIVE]", required=False)
@options.json_option
@options.exits
def verify(live_id: str | None, as_json: bool) -> None:
    """Walk the chain: whether every row is what was published, none left out. Exit code 1 if not.

    \b
    Example:
      alphamill live verify
    """
    _, entry, journal = one_live(options.settings(), live_id)
    rows, head, broken = follow_chain(journal.read())
    if as_json:
        fault = None if broken is None else asdict(broken)
        options.print_json({"live": entry.id, "rows": rows, "head": head, "broken": fault})
    else:
        click.echo(f"{counted(rows, 'row')} {'holds' if rows == 1 else 'hold'}, head {head}")
        if broken is not None:
            click.secho(f"row {broken.seq}: {broken.why}", fg="red", err=True)
    if broken is not None:
        raise SystemExit(options.EXIT_FAILED)
