"""The rows of a live as a Redis stream: `alphamill:live:ID:signals`, one entry a row.

An entry's id is the row's number plus one, `1-0` for row 0: so a row is in the stream once however
often it is sent, and whoever has read up to an id goes on after it, also when the stream was lost
and filled anew. Fields: `payload`, the row's JSON, and `hash`, its SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from alphamill.live.journal import Journal
from alphamill.live.signals import FIRST, Link
from alphamill.redis_store import as_text, reached, script

KEPT_ROWS = 100_000  # about; older rows are in the lake
_BATCH = 500
_UNREACHED = "signals cannot be streamed"


class SignalStream:
    """One live's stream. Raises RetryLater when Redis cannot be reached or cannot take more."""

    def __init__(
        self, client: redis.Redis, live: str, prefix: str = "alphamill", kept: int = KEPT_ROWS
    ) -> None:
        self.key = f"{prefix}:live:{live}:signals"
        self._redis = client
        self._append = client.register_script(script("alphamill.live", "append"))
        self._kept = kept

    def push(self, links: Sequence[Link]) -> bool:
        """Append rows that follow each other; False if rows before them are not there yet.

        Those that are there already are left as they are.
        """
        return self._sent(links, begins=links[0].row.seq == 0) > links[-1].row.seq

    def rows(self) -> int:
        """How many rows of the chain are in it, counted from the first; 0 for an empty stream."""
        return self._newest()[0]

    def _newest(self) -> tuple[int, str]:
        """Number of its newest row plus one, and that row's hash; as a chain without rows."""
        with reached(_UNREACHED):
            newest: Any = self._redis.xrevrange(self.key, count=1)
        if not newest:
            return 0, FIRST
        name, fields = newest[0]
        return int(as_text(name).partition("-")[0]), as_text(fields[b"hash"])

    def lacks(self, journal: Journal) -> bool:
        """Whether it ends otherwise than the chain does as far as `journal` knows it: Redis may
        have lost its last writes, or all it had.
        """
        return self._newest() != (journal.head.rows, journal.head.hash)

    def catch_up(self, journal: Journal) -> int:
        """Send what is in the lake and not yet here: how many rows. What another lake's live of
        this name has left is removed first.
        """
        rows, last = self._newest()
        if rows and (rows > journal.reload().rows or _hash_of(journal, rows - 1) != last):
            with reached(_UNREACHED):
                self._redis.delete(self.key)
            rows = 0
        first = max(rows, journal.reload().rows - self._kept)
        sent = 0
        for batch in _batches(journal.read(first)):
            self._sent(batch, begins=not sent)
            sent += len(batch)
        return sent

    def _sent(self, links: Sequence[Link], *, begins: bool) -> int:
        texts = [text for link in links for text in (link.payload, link.hash)]
        with reached(_UNREACHED):
            args: list[str | int] = [self._kept, links[0].row.seq, int(begins), *texts]
            rows: int = self._append(keys=[self.key], args=args)
        return rows


def _hash_of(journal: Journal, seq: int) -> str:
    return next((link.hash for link in journal.read(seq)), "")


def _batches(links: Iterator[Link]) -> Iterator[list[Link]]:
    batch: list[Link] = []
    for link in links:
        batch.append(link)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
