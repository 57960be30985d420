"""Which live is meant, and what is said of it everywhere."""

from __future__ import annotations

from typing import Any

import click

from alphamill.errors import GiveUp
from alphamill.lake import Lake
from alphamill.live.journal import Journal
from alphamill.live.register import Entry, Register
from alphamill.live.signals import Signal
from alphamill.settings import Settings


def lives_of(settings: Settings, text: str | None) -> tuple[Lake, list[Entry]]:
    """All lives, or the one with this id or unique beginning. GiveUp, naming what there is."""
    lake = Lake(settings.lake_uri)
    found, damaged = Register(lake).survey()
    for problem in damaged.values():
        click.echo(problem, err=True)
    entries = sorted(found, key=lambda entry: -entry.started_ms)
    if text is not None:
        fitting = [entry for entry in entries if entry.id.startswith(text)]
        if len(fitting) != 1:
            known = ", ".join(entry.id for entry in (fitting or entries)[:8])
            raise GiveUp(f"{text!r} fits {len(fitting)} lives; there are: {known or 'none yet'}")
        entries = fitting
    if not entries:
        raise GiveUp("nothing is followed yet; begin with: alphamill live start --help")
    return lake, entries


def one_live(settings: Settings, text: str | None) -> tuple[Lake, Entry, Journal]:
    """The live that is meant: by default the newest."""
    lake, entries = lives_of(settings, text)
    return lake, entries[0], Journal(lake, entries[0].id, entries[0].started_ms)


def described(entry: Entry) -> dict[str, Any]:
    """A live as --json has it."""
    return {
        "live": entry.id,
        "active": entry.active,
        "started_ms": entry.started_ms,
        "stopped_ms": entry.stopped_ms,
        "webhook": bool(entry.webhook),
        "spec": entry.spec.to_message(),
    }


def last_row(journal: Journal) -> Signal | None:
    """What was published last."""
    rows = list(journal.read(max(0, journal.head.rows - 1)))
    return rows[-1].row if rows else None


def clock(time_ms: int) -> str:
    """A moment, UTC."""
    from alphamill.report.values import moment

    return moment(time_ms)
