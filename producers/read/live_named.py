"""Which live is meant, and what is said of it everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from alphamill.errors import GiveUp, Misconfigured, RetryLater
from alphamill.lake import Lake
from alphamill.live.condition import Standing, standing
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


def standings_of(settings: Settings, entries: Sequence[Entry]) -> list[Standing]:
    """How they stand, as followers tell in Redis; "unknown" where it does not answer."""
    from alphamill.live.followers import Followers
    from alphamill.redis_store import connect  # what lies in the lake is read without it

    told, letters = None, {}
    try:
        followers = Followers(connect(settings))
        told, letters = followers.told(), followers.letters([entry.id for entry in entries])
    except Misconfigured as away:
        click.echo(f"who follows is not known: {away.problem}; {away.cure}", err=True)
    except RetryLater as away:
        click.echo(f"who follows is not known: {away}", err=True)
    return [
        standing(entry.id, entry.spec.market.value, entry.active, told, letters)
        for entry in entries
    ]


def described_standing(how: Standing) -> dict[str, Any]:
    """As --json has it."""
    live = how.live
    return {
        "state": how.state,
        "by": how.by,
        "problems": [asdict(one) for one in how.problems],
        "dead_letters": how.letters,
        "dead_letter": None if how.letter is None else asdict(how.letter),
        "waiting": None if live is None else live.waiting,
        "not_traded": {} if live is None else dict(live.idle),
    }


def last_row(journal: Journal) -> Signal | None:
    """What was published last."""
    rows = list(journal.read(max(0, journal.head.rows - 1)))
    return rows[-1].row if rows else None


def clock(time_ms: int) -> str:
    """A moment, UTC."""
    from alphamill.report.values import moment

    return moment(time_ms)
