"""What `doctor` finds of lives: whether they are followed, and what is the matter with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import redis

from alphamill.errors import AlphamillError, RetryLater
from alphamill.lake import Lake
from alphamill.ledger.presence import Presence, Worker
from alphamill.live.condition import Standing, standing
from alphamill.live.followers import Followers
from alphamill.live.register import Entry, Register
from alphamill.report.terminal.followers import troubles
from alphamill.report.values import counted
from alphamill.settings import Settings
from alphamill.stack.pools import STREAM
from producers.check.local import Check, fail, ok, quick_client, warn


def lives_checks(settings: Settings) -> Iterator[Check]:
    """Nothing where no live is, or where Redis, which has a line of its own, does not answer."""
    try:
        client = quick_client(settings.redis_url)
        followers = Followers(client)
        told = followers.told()
    except (RetryLater, redis.RedisError, ValueError):
        return
    try:
        entries, damaged = Register(Lake(settings.lake_uri)).survey()
    except AlphamillError:  # the lake has one too
        return
    for problem in damaged.values():
        yield warn("lives", problem, "put the file back, or delete it and start the live again")
    active = [entry for entry in entries if entry.active]
    letters = followers.letters([entry.id for entry in active])
    here = Presence(client).here()
    standings = [standing(one.id, one.spec.market.value, True, told, letters) for one in active]
    yield from lives_found(here, list(zip(active, standings, strict=True)))


def lives_found(
    here: Sequence[Worker], active: Sequence[tuple[Entry, Standing]]
) -> Iterator[Check]:
    """Whether the lives that are to be followed are, and a line for all that is the matter."""
    if not active:
        return
    lives = counted(len(active), "live")
    workers = sum(worker.pool == STREAM for worker in here)
    if not workers:
        yield fail(
            "lives",
            f"no worker of the pool {STREAM} is here: nobody follows {lives}",
            f"alphamill worker {STREAM}, or stop what is not to be followed: alphamill live stop",
        )
        return
    yield ok("lives", f"{lives}, {STREAM} {workers}")
    told: set[str] = set()
    for entry, how in active:
        for what, cure in troubles(how):
            if what not in told:  # what all lives of a market need is told once
                told.add(what)
                bad = "no known reason" in what
                yield (fail if bad else warn)("lives", f"{entry.id}: {what}", cure)
