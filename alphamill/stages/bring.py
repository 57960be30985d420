"""A range of an exchange's past brought into the lake, asking only for what is not there.

Archive files that cannot be trusted go to `quarantine/market=.../symbol=.../`, for a person to look
at, never read again: `NAME.zip` holds what came, `NAME.json` why it was refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import TimeRange
from alphamill.lake import AnySeries, Lake, MonthFacts
from alphamill.lake.coverage import extend, still_wanted
from alphamill.lake.days import DaySeries
from alphamill.market import Damaged, FetchedPart

_FOLDER = "quarantine"
_MOST_FILES = 64  # of a series; beyond that the reasons are kept and the bytes are not


@dataclass(slots=True)
class Brought:
    """What was asked for, in order of time. skipped: all was there already."""

    skipped: bool
    parts: list[FetchedPart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """Of the exchange's API."""
        return sum(part.requests for part in self.parts)

    @property
    def files(self) -> int:
        """Of its archive."""
        return sum(part.files for part in self.parts)

    @property
    def archive_note(self) -> str:
        """What of the archive could not be used, once each, and which rows were left out."""
        damaged = [f"quarantined {one}" for part in self.parts for one in part.damaged]
        return "; ".join(dict.fromkeys([*self.notes, *damaged]))


def bring(
    lake: Lake,
    series: AnySeries,
    asked: TimeRange,
    parts_of: Callable[[TimeRange], Iterable[FetchedPart]],
    merge: Callable[[list[pa.Table]], pa.Table],
    describe: Callable[[MonthFacts, pa.Table], MonthFacts],
    rows: str,
    again: Iterable[TimeRange] = (),
) -> Brought:
    """Each part is in the lake before the next is asked for; safe beside another worker.

    parts_of: a history's. merge, describe: as those of `extend`. rows: "bars", or what they are
    called. again: what to ask about although the lake has it. Raises as the history does, but not
    GiveUp where there were only doubts to ask about.
    """
    wanted = still_wanted(lake, series, asked, again)
    brought = Brought(skipped=not wanted)
    for stretch in wanted:
        try:
            for part in parts_of(stretch):
                found = part.table, part.source, part.unverified, part.off_grid
                extend(lake, series, part.range, *found, merge, describe)
                keep_damaged(lake, series, part.damaged, part.server_time_ms)
                brought.parts.append(part)
                brought.notes += part.notes
        except GiveUp as error:
            if not stretch.doubt:
                raise
            why = f"{rows} that the archive lacks could not be asked for: {error}"
            brought.notes.append(why)
    return brought


def keep_damaged(
    lake: Lake, series: AnySeries | DaySeries, damaged: Sequence[Damaged], found_ms: int
) -> None:
    """Write each file's bytes and the reason; the latest finding of one name stays."""
    folder = series.folder(_FOLDER)
    for file in damaged:
        key = f"{folder}/{file.name}"
        kept = [name for name in lake.list(folder) if name.endswith(".zip")]
        room = len(kept) < _MOST_FILES or f"{key}.zip" in kept
        if file.content and room:
            lake.write_bytes(f"{key}.zip", file.content)
        lake.write_bytes(f"{key}.json", _reason(file, found_ms, kept=room))


def _reason(file: Damaged, found_ms: int, *, kept: bool) -> bytes:
    return json.dumps(
        {
            "file": file.name,
            "reason": file.reason,
            "expected_sha256": file.expected,
            "sha256": hashlib.sha256(file.content).hexdigest(),
            "size_bytes": len(file.content),
            "kept": kept and bool(file.content),
            "found_ms": found_ms,
        },
        indent=1,
    ).encode()
