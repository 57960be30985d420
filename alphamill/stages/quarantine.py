"""Where archive files go that cannot be trusted: kept for a person to look at, never read again.

`quarantine/market=.../symbol=.../NAME.zip` holds what came, `NAME.json` why it was refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from alphamill.lake import AnySeries, Lake
from alphamill.market import Damaged, FetchedPart

_FOLDER = "quarantine"
_MOST_FILES = 64  # of a series; beyond that the reasons are kept and the bytes are not


def keep_damaged(lake: Lake, series: AnySeries, damaged: Sequence[Damaged], found_ms: int) -> None:
    """Write each file's bytes and the reason; the latest finding of one name stays."""
    folder = series.folder(_FOLDER)
    for file in damaged:
        key = f"{folder}/{file.name}"
        kept = [name for name in lake.list(folder) if name.endswith(".zip")]
        room = len(kept) < _MOST_FILES or f"{key}.zip" in kept
        if file.content and room:
            lake.write_bytes(f"{key}.zip", file.content)
        lake.write_bytes(f"{key}.json", _reason(file, found_ms, kept=room))


def archive_note(parts: Iterable[FetchedPart]) -> str:
    """What went wrong with archive files, once each; what they lack was asked of the exchange."""
    parts = [*parts]
    said = [note for part in parts for note in part.notes]
    said += [f"quarantined {damaged}" for part in parts for damaged in part.damaged]
    return "; ".join(dict.fromkeys(said))


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
