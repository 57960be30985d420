"""The rows of a live as they come: through Redis where it answers, else from the lake.

Each row once and in order, whatever becomes of Redis meanwhile: gone, back with less than it had or
empty, or with the rows of another lake.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from alphamill.live.journal import Journal
from alphamill.live.signals import FIRST
from alphamill.live.stream import SignalStream
from alphamill.redis_address import fault, shown
from alphamill.redis_store import as_text, state_of

_BLOCK_MS = 5_000
_PAUSE_S = 1.0  # between two looks where there is no Redis to wait at
_QUIET_LOOKS = 12  # at Redis, after which the lake is looked into as well: once a minute


class Reader:
    """Reads one live from row `first` on, for ever.

    url: the address that `client` has, for people. say: told, once each, that Redis is gone and
    that it answers again.
    """

    def __init__(
        self,
        client: redis.Redis,
        url: str,
        journal: Journal,
        live: str,
        first: int,
        say: Callable[[str], object],
    ) -> None:
        self._client, self._url, self._journal = client, url, journal
        self._key = SignalStream(client, live).key
        self._say = say
        self._next, self._last = first, ""  # number of the next row; hash of the last, if known
        self._gone = False
        self._quiet = 0

    def follow(self) -> Iterator[str]:
        """Payloads."""
        yield from self._from_lake()
        while True:
            try:
                found: Any = self._client.xread({self._key: f"{self._next}-0"}, block=_BLOCK_MS)
            except redis.RedisError as error:
                yield from self._without(error)
                continue
            if self._gone:
                self._gone = False
                self._say("Redis answers again")
            self._quiet = 0 if found else self._quiet + 1
            if self._quiet == _QUIET_LOOKS:
                self._quiet = 0
                yield from self._from_lake()
            for _, entries in found or ():
                yield from self._of(entries)

    def _of(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[str]:
        """What a read of the stream gave, as far as it is the chain's."""
        for name, fields in entries:
            seq = int(as_text(name).partition("-")[0]) - 1
            payload, stated = as_text(fields[b"payload"]), as_text(fields[b"hash"])
            if seq < self._next:
                continue
            if seq > self._next or not self._follows(payload):
                before = self._next
                yield from self._from_lake()  # Redis keeps the newest alone
                if before == self._next:  # and these are rows of another lake
                    time.sleep(_PAUSE_S)
                return
            yield payload
            self._next, self._last = seq + 1, stated

    def _follows(self, payload: str) -> bool:
        return not self._last or json.loads(payload)["previous"] == self._last

    def _without(self, error: redis.RedisError) -> Iterator[str]:
        if not self._gone:
            self._gone = True
            self._say(f"{self._why(error)}; rows come from the lake until it answers")
        yield from self._from_lake()
        time.sleep(_PAUSE_S)

    def _why(self, error: redis.RedisError) -> str:
        refused = isinstance(error, redis.AuthenticationError)
        if isinstance(error, redis.ConnectionError | redis.TimeoutError) and not refused:
            return state_of(error) or f"no Redis answers at {shown(self._url)}"
        return state_of(error) or fault(error, self._url)[0]

    def _from_lake(self) -> Iterator[str]:
        if not self._next:
            self._last = FIRST
        for link in self._journal.read(self._next):
            yield link.payload
            self._next, self._last = link.row.seq + 1, link.hash
