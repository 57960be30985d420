"""What the lake has of a symbol, what is missing, and why: one cheap read.

The files' own metadata is the truth. `manifests/market=.../interval=.../symbol=BTCUSDT.json` only
remembers it by each file's version (size, time, inode or ETag), and anyone may lose or rewrite it:
an entry that does not fit the listing is not used. A version is remembered only once it is
`_SETTLED_NS` old and was the same before and after its metadata was read. A later file then differs
in time or in inode, so that two writers cannot make an old entry fit a new file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alphamill.errors import AlphamillError
from alphamill.frames import BarSpan, Interval, Market, Month, TimeRange
from alphamill.lake.files import Stat
from alphamill.lake.layout import MetricsSeries, Series, month_of, series_of
from alphamill.lake.months import Partition, partition_of
from alphamill.lake.store import Lake, Unreadable
from alphamill.lake.upgrade import manifest_key, old_manifest_key

_VERSION = 2
_SETTLED_NS = 10 * 10**9  # more than clocks of one site differ and than times are coarse
_READS = 5

Why = Literal["not fetched", "before listing", "absent at the exchange", "damaged"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One month: what its file says, and the file. `partition` is None for a damaged file."""

    month: Month
    partition: Partition | None
    size_bytes: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class Missing(TimeRange):
    """A stretch without bars. `bars` is None where it is not known how many there should be."""

    bars: int | None
    why: Why


@dataclass(frozen=True, slots=True)
class Manifest:
    """All months of a series that the lake has, in order."""

    series: Series | MetricsSeries
    entries: tuple[Entry, ...]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The months whose files can be read."""
        return tuple(entry.partition for entry in self.entries if entry.partition)

    @property
    def rows(self) -> int:
        """Bars in all months."""
        return sum(partition.rows for partition in self.partitions)

    @property
    def expected(self) -> int:
        """Bars that the ranges asked for should have."""
        return sum(partition.expected for partition in self.partitions)

    @property
    def first_ms(self) -> int | None:
        """Open time of the first bar of all."""
        return min((p.first_ms for p in self.partitions if p.first_ms is not None), default=None)

    def missing(self, start_ms: int, end_ms: int) -> list[Missing]:
        """Every stretch of [start_ms, end_ms) without bars, in order, with its reason."""
        entries = {entry.month: entry for entry in self.entries}
        found: list[Missing] = []
        for month, asked in TimeRange(start_ms, end_ms).by_month():
            for stretch in self._missing_in(entries.get(month), asked):
                _append(found, stretch)
        return found

    def _missing_in(self, entry: Entry | None, asked: TimeRange) -> list[Missing]:
        if entry is None:
            return [Missing(asked.start_ms, asked.end_ms, None, "not fetched")]
        if entry.partition is None:
            return [Missing(asked.start_ms, asked.end_ms, None, "damaged")]
        facts = entry.partition.facts
        stretches = [
            Missing(left.start_ms, left.end_ms, None, "not fetched")
            for left in asked.without(facts.asked)
        ]
        for gap in facts.gaps:
            if gap.within(asked):
                stretches += self._reasons(gap, facts.unverified)
        return sorted(stretches, key=lambda one: one.start_ms)

    def _reasons(self, gap: BarSpan, unverified: tuple[BarSpan, ...]) -> Iterator[Missing]:
        """A gap, cut where only the archive was asked: for those bars nobody knows."""
        doubted = [part for doubt in unverified if (part := doubt.within(gap))]
        for part in sorted([*gap.without(*doubted), *doubted], key=lambda one: one.start_ms):
            why: Why = "not fetched" if part in doubted else self._why(part.end_ms)
            bars = round(gap.bars * part.length_ms / gap.length_ms)
            yield Missing(part.start_ms, part.end_ms, bars, why)

    def _why(self, gap_end_ms: int) -> Why:
        first_ms = self.first_ms
        before = first_ms is None or gap_end_ms <= first_ms
        return "before listing" if before else "absent at the exchange"


def _append(found: list[Missing], stretch: Missing) -> None:
    """Add a stretch, joined to the one before where they touch and have one reason."""
    if found and found[-1].end_ms == stretch.start_ms and found[-1].why == stretch.why:
        last = found.pop()
        known = last.bars is not None and stretch.bars is not None
        bars = (last.bars or 0) + (stretch.bars or 0) if known else None
        stretch = Missing(last.start_ms, stretch.end_ms, bars, stretch.why)
    found.append(stretch)


def manifest(lake: Lake, market: Market, symbol: str, interval: Interval) -> Manifest:
    """What the lake has of a symbol now; reads the metadata of changed files only."""
    series = Series(market, symbol, interval)
    folder = series.folder("klines")
    listing = lake.versions(folder)
    cached = _read_cache(lake, manifest_key(folder))
    old = old_manifest_key(folder)
    left = old in listing  # by older code, in a lake that nobody has written since, or since then
    known = _read_cache(lake, old) | cached if left else cached
    entries, remembered = [], {}
    for key, listed in listing.items():
        month, name = month_of(key), key.rsplit("/", 1)[-1]
        if month is None or key != f"{folder}/{name}":
            continue
        metadata, version = _metadata(lake, key, listed, known.get(name))
        if version is None:
            continue  # deleted meanwhile
        if metadata is not None and time.time_ns() - version.written_ns > _SETTLED_NS:
            remembered[name] = {"version": _stamp(version), "metadata": dict(metadata)}
        partition = _partition(series, month, metadata)
        entries.append(Entry(month, partition, version.size_bytes, version.written_ms))
    if remembered != cached:
        _write_cache(lake, manifest_key(folder), remembered)
    if left:
        with contextlib.suppress(AlphamillError):
            lake.delete(old)
    return Manifest(series, tuple(sorted(entries, key=lambda entry: entry.month)))


def manifest_of(lake: Lake, series: Series | MetricsSeries) -> Manifest:
    """As `manifest`, of any series of bars: the metadata of every file is read, nothing cached."""
    folder, entries = series.folder(series.kind), []
    for key, listed in lake.versions(folder).items():
        month = month_of(key)
        if month is None:
            continue
        metadata, version = _metadata(lake, key, listed, None)
        if version is not None:
            partition = _partition(series, month, metadata)
            entries.append(Entry(month, partition, version.size_bytes, version.written_ms))
    return Manifest(series, tuple(sorted(entries, key=lambda entry: entry.month)))


def partitions(lake: Lake) -> list[Series]:
    """Every series that the lake has klines of, sorted."""
    found = {series_of(key) for key in lake.list("klines") if month_of(key)}
    return sorted(series for series in found if series)


def _metadata(
    lake: Lake, key: str, version: Stat, cached: Any
) -> tuple[Mapping[str, str] | None, Stat | None]:
    """A file's metadata and the version it belongs to; (None, version) if it is damaged."""
    now: Stat | None = version
    for _ in range(_READS):
        if now is None:
            return None, None
        if isinstance(cached, dict) and cached.get("version") == _stamp(now):
            return cached.get("metadata", {}), now
        before = now
        try:
            metadata: Mapping[str, str] | None = lake.metadata(key)
        except Unreadable:
            metadata = None
        except FileNotFoundError:
            return None, None
        now = lake.stat(key)
        if now == before:
            return metadata, now
    # Replaced at every look: what was read last is true of a version newer than any remembered.
    return metadata, Stat(before.size_bytes, time.time_ns(), before.tag)


def _partition(
    series: Series | MetricsSeries, month: Month, metadata: Mapping[str, str] | None
) -> Partition | None:
    try:
        return partition_of(series, month, metadata) if metadata is not None else None
    except (KeyError, ValueError, TypeError):
        return None


def _stamp(version: Stat) -> list[int | str]:
    return [version.size_bytes, version.written_ns, version.tag]


def _read_cache(lake: Lake, key: str) -> dict[str, Any]:
    try:
        data = json.loads(lake.read_bytes(key))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        return {}
    files = data.get("files")
    return files if isinstance(files, dict) else {}


def _write_cache(lake: Lake, key: str, files: Mapping[str, Any]) -> None:
    text = json.dumps({"version": _VERSION, "files": files}, sort_keys=True)
    with contextlib.suppress(AlphamillError):  # a reader without permission to write still reads
        lake.write_bytes(key, text.encode())
