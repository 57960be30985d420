"""Which workers are here, and when the ledger was swept: for people and for `doctor`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import redis

from alphamill.redis_store import as_text

SILENCE_S = 30  # a worker that has said nothing for so long is gone
_BUILD_S = 90 * 86_400  # what computed a run is asked for long after its workers have gone


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as it described itself."""

    name: str  # as Celery and Flower show it
    pool: str
    queues: tuple[str, ...]
    concurrency: int
    pid: int
    host: str = ""
    version: str = ""  # of the code that it runs
    memory_bytes: int = 0  # its own and its children's, shared pages once; 0 unknown
    build: str = ""  # code and libraries, by their short name; "" untold
    identity: str = ""  # of what it works with: `Presence.identities` has it


class Presence:
    """The workers' own register in Redis; a list, not a lock."""

    def __init__(self, client: redis.Redis, prefix: str = "alphamill") -> None:
        self._redis = client
        self._index = f"{prefix}:workers"
        self._prefix = f"{prefix}:worker:"
        self._swept = f"{prefix}:swept"
        self._beat = f"{prefix}:beat"
        self._salt = f"{prefix}:salt"
        self._identity = f"{prefix}:identity:"
        self._build = f"{prefix}:build:"

    def announce(self, worker: Worker, works_with: Mapping[str, Any] | None = None) -> None:
        """Say that `worker` is here for the next SILENCE_S seconds, and what it works with.

        works_with: JSON values, kept under `worker.identity`, once for all workers that share it;
        its "build" also under `worker.build`, for 90 days.
        A full server takes nothing new, but still keeps for longer what it has.
        """
        key, identity = self._prefix + worker.name, self._identity + worker.identity
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(key, json.dumps(asdict(worker)), ex=SILENCE_S)
                pipe.sadd(self._index, worker.name)
                if works_with is not None:
                    pipe.set(identity, json.dumps(works_with), ex=2 * SILENCE_S)
                    build = json.dumps(works_with["build"])
                    pipe.set(self._build + worker.build, build, ex=_BUILD_S)
                pipe.execute()
        except redis.OutOfMemoryError:
            self._redis.expire(identity, 2 * SILENCE_S)
            if not self._redis.expire(key, SILENCE_S):
                raise

    def identities(self, ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """What workers with these identities work with; without what nobody has told lately."""
        return self._documents(self._identity, ids)

    def builds(self, labels: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """What stands behind the short names of builds, as far as it is remembered."""
        return self._documents(self._build, labels)

    def _documents(self, prefix: str, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        wanted = [name for name in dict.fromkeys(names) if name]
        if not wanted:
            return {}
        try:
            texts = self._redis.mget([prefix + name for name in wanted])
        except redis.RedisError:
            return {}
        return {
            name: json.loads(as_text(text))
            for name, text in zip(wanted, texts, strict=True)
            if text is not None
        }

    def salt(self) -> str:
        """Random, made once for all who share this Redis; "" where it cannot be had.

        Digests of keys are made with it, so that they can be compared here and nowhere else.
        """
        with suppress(redis.RedisError):  # a replica or a full server, which may have it
            self._redis.set(self._salt, secrets.token_hex(16), nx=True)
        try:
            found = self._redis.get(self._salt)
        except redis.RedisError:
            return ""
        return "" if found is None else as_text(found)

    def leave(self, name: str) -> None:
        """The worker stops."""
        self._redis.delete(self._prefix + name)
        self._redis.srem(self._index, name)

    def here(self) -> list[Worker]:
        """Workers heard of lately, by name; empty when Redis does not answer."""
        return [worker for worker, _ in self.heard()]

    def heard(self) -> list[tuple[Worker, float]]:
        """As `here`, each with how many seconds ago it was heard of."""
        try:
            names = sorted(as_text(name) for name in self._redis.smembers(self._index))
            with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.get(self._prefix + name)
                    pipe.pttl(self._prefix + name)
                answers = pipe.execute() if names else []
        except redis.RedisError:
            return []
        texts, left_ms = answers[::2], answers[1::2]
        gone = [name for name, text in zip(names, texts, strict=True) if text is None]
        if gone:
            with suppress(redis.RedisError):  # a replica lists them as long as it is one
                self._redis.srem(self._index, *gone)
        return [
            (_worker(as_text(text)), max(0.0, SILENCE_S - left / 1000))
            for text, left in zip(texts, left_ms, strict=True)
            if text is not None
        ]

    def beats(self, host: str) -> None:
        """The one beat runs on `host`; remembered for SILENCE_S."""
        self._redis.set(self._beat, host, ex=SILENCE_S)

    def beat_host(self) -> str | None:
        """Where beat has sent something in the last SILENCE_S; None where nobody knows."""
        try:
            found = self._redis.get(self._beat)
        except redis.RedisError:
            return None
        return None if found is None else as_text(found)

    def swept(self, now_ms: int) -> None:
        """The ledger was swept at `now_ms` (UTC); remembered for SILENCE_S."""
        self._redis.set(self._swept, now_ms, ex=SILENCE_S)

    def swept_ms(self) -> int | None:
        """When the ledger was last swept, UTC ms; None when not in the last SILENCE_S, or when
        Redis does not answer.
        """
        try:
            found = self._redis.get(self._swept)
        except redis.RedisError:
            return None
        return None if found is None else int(found)


def _worker(text: str) -> Worker:
    said = json.loads(text)  # by newer code perhaps, with more to say
    fields = {name: said[name] for name in Worker.__dataclass_fields__ if name in said}
    return Worker(**{**fields, "queues": tuple(fields["queues"])})
