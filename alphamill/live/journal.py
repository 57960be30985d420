"""The rows of a live in the lake: `signals/live=ID/date=2026-12-01/000000001440.parquet`.

A file is what was published at once: the rows of one release. It is named by the number of its
first row and is written only if nothing has that name yet. So of two followers that take each other
for dead one is refused, and a row is published once whoever dies when. Before the first file of
another day the day that ends is closed by a file without rows that names the next: two followers on
either side of midnight are at one place as well.

When a day is over its files become one, `000000001440-000000031679.parquet`, or several of some
2 MB in memory, which is what packing or reading one takes. Whoever reads the folder meanwhile may
see a row twice, and `read` does not.

The lake is the truth about what was published; the Redis stream and webhooks follow it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.lake import Lake
from alphamill.lake.store import Stored
from alphamill.live.signals import FIRST, SIGNALS, Link, Signal, links_of, table_of

_FILE = re.compile(r"date=([\d-]{10})/(\d{12})(?:-(\d{12}))?\.parquet")
_DAY_MS = 86_400_000
_PACKED_BYTES = 2_000_000  # of a packed file's rows in memory: 25 bars of 20 factors of 500 symbols
_TRUSTED_S = 600.0  # what was known of the chain longer ago is looked up before it is added to


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many rows there are, and the hash of the last."""

    rows: int = 0
    hash: str = FIRST


@dataclass(frozen=True, slots=True)
class _File:
    key: str
    day: str
    first: int
    last: int | None  # of a packed one

    @property
    def rank(self) -> tuple[int, int, str]:
        """The order of reading: by rows, a packed file before those that it was made of."""
        return self.first, -(self.first if self.last is None else self.last), self.day

    def holds(self, loose: _File) -> bool:
        """Whether it is a packed one that was made of that one and others."""
        return self.last is not None and self.first <= loose.first <= self.last


class Journal:
    """The published rows of one live, which was started at `started_ms` (UTC epoch ms).

    One writer at a time is usual, two are safe. Raises what `Lake` raises: Misconfigured (no space,
    no permission) and RetryLater; then nothing of a release was published.
    """

    def __init__(self, lake: Lake, live: str, started_ms: int) -> None:
        self._lake = lake
        self._live = live
        self._folder = f"signals/live={live}"
        self._delivered = f"lives/{live}.delivered"
        self._first_day = _day(started_ms)
        self._known: tuple[float, Head, str] | None = None

    @property
    def head(self) -> Head:
        """The end of the chain as far as this process knows; from the lake the first time."""
        return self._end()[0]

    def reload(self) -> Head:
        """The end of the chain as it is in the lake now."""
        self._known = None
        return self.head

    def append(self, rows: Sequence[Signal]) -> list[Link] | None:
        """The rows as links with their hashes, once they are in the lake for good.

        None if somebody else has published since `head`: look at what, then decide again.
        """
        head, day = self._end()
        links: list[Link] = []
        end = head
        for row in rows:
            link = Link.of(row, end.rows, end.hash)
            end = Head(end.rows + 1, link.hash)
            links.append(link)
        today = _day(rows[0].published_at)
        if day < today:
            if not self._put(day, head.rows, SIGNALS.empty_table(), head, today):
                return None
            day = today
        if not self._put(day, head.rows, table_of(links), end, day):
            return None
        self._known = time.monotonic(), end, day
        return links

    def read(self, from_seq: int = 0) -> Iterator[Link]:
        """Rows from that number on, in order, each once, with the hashes beside them."""
        next_seq, whole = from_seq, False
        while not whole:
            try:
                for file in self._files(next_seq):
                    for link in links_of(self._lake.read(file.key), self._live):
                        if link.row.seq >= next_seq:
                            yield link
                            next_seq = link.row.seq + 1
                whole = True
            except FileNotFoundError:  # packed since it was listed: its rows are in another file
                continue

    def since(self, published_ms: int) -> Iterator[Link]:
        """As `read`, from the first row on that was published at that time or later, or before it.

        Reads from the end of the chain, and so no more files than it takes.
        """
        first = 0
        for file in reversed(self._files()):
            with suppress(FileNotFoundError):  # packed meanwhile: what `read` gives is longer
                table = self._lake.read(file.key, ["seq", "published_at"])
                if table.num_rows and _first_ms(table) < published_ms:
                    first = table["seq"][0].as_py()
                    break
        yield from self.read(first)

    def delivered(self) -> int | None:
        """How many rows a webhook is done with, None where nobody has said."""
        try:
            return int(self._lake.read_bytes(self._delivered))
        except (FileNotFoundError, ValueError):
            return None

    def note_delivered(self, rows: int) -> None:
        """A webhook is done with so many: whoever delivers after us goes on there."""
        self._lake.write_bytes(self._delivered, b"%d" % rows)

    def pack(self, now_ms: int) -> int:
        """Make few files of those of each day but today and yesterday; how many were made.

        However long a day's rows are, memory for those of one such file is all that it takes.
        """
        over = [file for file in self._listed() if file.day < _day(now_ms - _DAY_MS)]
        made = 0
        for _, files in groupby(sorted(over, key=lambda file: file.day), lambda file: file.day):
            with suppress(FileNotFoundError):  # somebody else packs this day
                made += self._pack_day(list(files))
        return made

    def _pack_day(self, files: Sequence[_File]) -> int:
        loose = []
        for file in files:
            if file.last is None:
                if any(one.holds(file) for one in files):  # whoever packed it died before this:
                    self._lake.delete(file.key)
                else:
                    loose.append(file)
        if len(loose) < 2:  # what closes the day stays as it is: it holds the place
            return 0
        made = 0
        piece: list[tuple[_File, pa.Table]] = []
        for file in loose:
            table = self._lake.read(file.key)
            size = sum(rows.nbytes for _, rows in piece)
            if piece and (not table.num_rows or size + table.nbytes > _PACKED_BYTES):
                made += self._write_packed(piece)
                piece.clear()
            if table.num_rows:
                piece.append((file, table))
        return made + self._write_packed(piece)

    def _write_packed(self, piece: Sequence[tuple[_File, pa.Table]]) -> int:
        """Make one file of several; returns 1, or 0 if there are none."""
        if len(piece) < 2:
            return 0
        rows = pa.concat_tables(table for _, table in piece)
        first, last = rows["seq"][0].as_py(), rows["seq"][-1].as_py()
        folder, _, _ = piece[0][0].key.rpartition("/")
        stated = self._lake.metadata(piece[-1][0].key)
        self._lake.write(f"{folder}/{first:012d}-{last:012d}.parquet", rows, stated)
        for file, _ in piece:
            self._lake.delete(file.key)
        return 1

    def _put(self, day: str, seq: int, table: pa.Table, end: Head, next_day: str) -> bool:
        """Write a file unless there is one of that name; False, and nothing known, if there is."""
        stated = {"live": self._live, "rows": f"{end.rows}", "hash": end.hash, "day": next_day}
        written = False

        def put(before: Stored | None) -> Stored | None:
            nonlocal written
            written = before is None
            return (table, stated) if written else None

        self._lake.update(f"{self._folder}/date={day}/{seq:012d}.parquet", put)
        if not written:
            self._known = None
        return written

    def _end(self) -> tuple[Head, str]:
        """The end of the chain, and the day whose folder is open."""
        if self._known is None or time.monotonic() - self._known[0] > _TRUSTED_S:
            stated = self._stated()
            if stated is not None:
                try:
                    head, day = Head(int(stated["rows"]), stated["hash"]), stated["day"]
                except (KeyError, ValueError) as error:
                    raise GiveUp(f"{self._folder} ends in no file of signals") from error
            else:
                head, day = Head(), self._first_day
            self._known = time.monotonic(), head, day
        return self._known[1], self._known[2]

    def _stated(self) -> dict[str, str] | None:
        """What stands beside the rows of the last file; None without any."""
        while files := self._files():
            with suppress(FileNotFoundError):  # packed since it was listed
                return self._lake.metadata(files[-1].key)
        return None

    def _files(self, from_seq: int = 0) -> list[_File]:
        """Files that may hold rows from that number on, in order; none that a packed one holds."""
        files: list[_File] = []
        held = -1  # the last row of a packed file
        for file in self._listed():
            if file.first > held:
                files.append(file)
                held = max(held, -1 if file.last is None else file.last)
        while len(files) > 1 and files[1].first <= from_seq:
            files.pop(0)
        return files

    def _listed(self) -> list[_File]:
        """Every file of the folder, in the order of reading."""
        found: list[_File] = []
        for key in self._lake.list(self._folder):
            if named := _FILE.fullmatch(key.removeprefix(f"{self._folder}/")):
                day, first, last = named.groups()
                found.append(_File(key, day, int(first), int(last) if last else None))
        return sorted(found, key=lambda file: file.rank)


def _first_ms(rows: pa.Table) -> int:
    first: int = rows["published_at"][0].cast(pa.int64()).as_py()
    return first


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"
