"""What followers tell of themselves, in Redis.

    alphamill:followers                            names, a set
    alphamill:follower:NAME:condition              a Condition as JSON, for SILENCE_S seconds
    alphamill:live:ID:webhook:dead                 dead letters, the newest first

NAME is a market and an egress, as in the lease.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import redis

from alphamill.live.condition import Condition, DeadLetter, LiveState, ParityResult, Problem
from alphamill.redis_store import as_text, reached

SILENCE_S = 30  # a follower that has told nothing for so long is not there
KEPT_LETTERS = 1_000
_UNREACHED = "followers cannot be asked"


class Followers:
    """The followers' own register. Raises RetryLater when Redis cannot be reached."""

    def __init__(self, client: redis.Redis, prefix: str = "alphamill") -> None:
        self._redis = client
        self._index = f"{prefix}:followers"
        self._of = f"{prefix}:follower:%s:condition"
        self._prefix = prefix

    def tell(self, name: str, condition: Condition) -> None:
        """Of the follower that holds the lease `name`."""
        with reached(_UNREACHED), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._of % name, json.dumps(asdict(condition)), ex=SILENCE_S)
            pipe.sadd(self._index, name)
            pipe.execute()

    def leave(self, name: str) -> None:
        """It follows no more."""
        with reached(_UNREACHED):
            self._redis.delete(self._of % name)

    def told(self) -> list[Condition]:
        """What was told lately, by name, with the dead letters of the lives."""
        with reached(_UNREACHED):
            names = sorted(as_text(name) for name in self._redis.smembers(self._index))
            texts = self._redis.mget([self._of % name for name in names]) if names else []
            found = [_condition(json.loads(as_text(text))) for text in texts if text is not None]
            letters = self.letters([live.live for one in found for live in one.lives])
        return [_with_letters(one, letters) for one in found]

    def letters(self, lives: Sequence[str]) -> dict[str, tuple[int, DeadLetter | None]]:
        """By live: how many dead letters are kept, and the newest."""
        with reached(_UNREACHED), self._redis.pipeline(transaction=False) as pipe:
            for live in lives:
                pipe.llen(letters_key(live, self._prefix))
                pipe.lindex(letters_key(live, self._prefix), 0)
            answers = pipe.execute() if lives else []
        return {
            live: (int(count), None if newest is None else letter_of(as_text(newest)))
            for live, count, newest in zip(lives, answers[::2], answers[1::2], strict=True)
        }


def letters_key(live: str, prefix: str = "alphamill") -> str:
    """Where a live's dead letters are."""
    return f"{prefix}:live:{live}:webhook:dead"


def letter_of(text: str) -> DeadLetter:
    """From its JSON."""
    return DeadLetter(**json.loads(text))


def _known(kind: type, said: Mapping[str, Any]) -> dict[str, Any]:
    """What this code knows of what newer code may have told."""
    return {one.name: said[one.name] for one in fields(kind) if one.name in said}


def _condition(said: Mapping[str, Any]) -> Condition:
    lives = []
    for one in said["lives"]:
        parity = one.get("parity") and ParityResult(**_known(ParityResult, one["parity"]))
        lives.append(LiveState(**{**_known(LiveState, one), "parity": parity or None}))
    problems = tuple(Problem(**_known(Problem, one)) for one in said["problems"])
    return Condition(**{**_known(Condition, said), "lives": tuple(lives), "problems": problems})


def _with_letters(
    condition: Condition, letters: Mapping[str, tuple[int, DeadLetter | None]]
) -> Condition:
    lives = tuple(
        replace(one, letters=letters[one.live][0], letter=letters[one.live][1])
        for one in condition.lives
    )
    return replace(condition, lives=lives)
