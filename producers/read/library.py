"""`alphamill library`: what runs admitted and no later one may find again, until it is removed."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.report.terminal.library import HASH_SHOWN, library_table
from alphamill.report.values import moment, plain, whole
from alphamill.runs.library import LibraryEntry, entries, remove
from alphamill.runs.schemas import LIBRARY
from producers import options

_SHOWN = 10


@click.group()
def library() -> None:
    """List the factors that runs admitted to the lake's library, or remove one.

    \b
    Example:
      alphamill library list
      alphamill library remove 9c41d2 --why "its coin was delisted"
    """


_INTERVALS = click.Choice([one.value for one in Interval])
_MARKETS = click.Choice([one.value for one in Market])


def _places(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--interval", type=_INTERVALS, help="Of this bar length only."),
        click.option("--market", type=_MARKETS, help="Of this market only."),
    ):
        function = option(function)
    return function


@library.command(name="list")
@_places
@click.option("--removed", is_flag=True, help="Show what was removed as well, by whom and why.")
@options.json_option
@options.exits
def list_library(market: str | None, interval: str | None, removed: bool, as_json: bool) -> None:
    """Show what is in the library: one line an admission, in order.

    \b
    Example:
      alphamill library list --market spot --interval 1h --removed
    """
    found = _of(_entries(), market, interval)
    shown = [entry for entry in found if removed or not entry.removed]
    if as_json:
        options.print_json({"library": [_plain(entry) for entry in shown]})
        return
    console = Console()
    if not shown:
        console.print(Text("The library is empty: no run of this lake has admitted a factor."))
        return
    console.print(library_table(shown))
    gone = sum(entry.removed for entry in found)
    if gone and not removed:
        console.print(Text(f"{whole(gone)} more were removed; see them with --removed", "dim"))


@library.command(name="remove")
@click.argument("factor")
@_places
@click.option("--why", required=True, metavar="TEXT", help="Kept with the record.")
@click.option("--by", "who", metavar="NAME", help="Who removes it; default: the user's name here.")
@options.json_option
@options.exits
def remove_factor(
    factor: str, market: str | None, interval: str | None, why: str, who: str | None, as_json: bool
) -> None:
    """Take a factor out of the library, so that later runs may find it again.

    FACTOR is its hash or the hash's unique beginning. Who removed it, when and why stays on record;
    the run that admitted it, its verdict and its replay are not touched.

    \b
    Example:
      alphamill library remove 9c41d2 --why "its coin was delisted"
    """
    if not why.strip():
        raise click.UsageError("--why needs a reason: it is what stays")
    entry = _chosen(_of(_entries(), market, interval), factor)
    done = remove(_lake(), entry, int(time.time() * 1000), who or _user(), why.strip())
    if as_json:
        options.print_json({"removed": _plain(done)})
        return
    where = f"{done.market.value} {done.interval.value}"
    click.echo(f"{done.hash} is removed from the library of {where}:")
    click.echo(f"  {plain(done.expression, 600)}")


def _lake() -> Lake:
    return Lake(options.settings().lake_uri)


def _entries() -> list[LibraryEntry]:
    return entries(_lake())


def _of(
    found: Sequence[LibraryEntry], market: str | None, interval: str | None
) -> list[LibraryEntry]:
    return [
        entry
        for entry in found
        if market in (None, entry.market.value) and interval in (None, entry.interval.value)
    ]


def _chosen(found: Sequence[LibraryEntry], text: str) -> LibraryEntry:
    """The one admission that still counts. Raises GiveUp, naming what there is."""
    fitting = [entry for entry in found if text and entry.hash.startswith(text)]
    here = [entry for entry in fitting if not entry.removed]
    if len(here) == 1:
        return here[0]
    if not here and fitting:
        gone = fitting[-1]
        raise GiveUp(
            f"{gone.hash} was removed on {moment(gone.removed_ms)} UTC by "
            f"{plain(gone.removed_by, 60)}: {plain(gone.removed_why)}"
        )
    known = here or [entry for entry in found if not entry.removed]
    names = ", ".join(
        f"{entry.hash[:HASH_SHOWN]} ({entry.market.value} {entry.interval.value})"
        for entry in known[:_SHOWN]
    )
    raise GiveUp(
        f"{text!r} fits {len(here)} factors of the library; name one of: {names or '(it is empty)'}"
    )


def _user() -> str:
    """The name that the record is signed with."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _plain(entry: LibraryEntry) -> dict[str, Any]:
    return {"market": entry.market, "interval": entry.interval} | entry.to_json(LIBRARY)
