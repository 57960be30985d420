"""Looks at holdouts: noted before the holdout is opened, counted over all runs of a lake.

holdouts/market=spot/span=START-END/RUN-INTERVAL-HASH.json    one note a factor that was shown
runs/run=ID/looks/interval=1h/before.parquet                  how many there were, for every replay

A span is in UTC milliseconds, the close of its last bar excluded, so that bars of any length that
cover the same days count towards each other: what a holdout of 4h bars gave away, one of 1h bars of
those days no longer hides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from alphamill.frames import Interval
from alphamill.lake import Lake, run_key
from alphamill.lake.store import Stored
from alphamill.runs.panels import SegmentPanel
from alphamill.runs.schemas import RunDeps

_NOTE = re.compile(r"/span=(?P<start>\d+)-(?P<end>\d+)/(?P<name>[^/]+)$")


@dataclass(frozen=True, slots=True)
class HoldoutLooks:
    """At any bar of a holdout. before: of other runs, when this one first opened it."""

    before: int
    so_far: int


def count_looks(opened: Mapping[str, str], holdout: SegmentPanel, deps: RunDeps) -> HoldoutLooks:
    """Note the factors that are about to see the holdout; all looks so far at any bar of it.

    opened: hash -> expression. Safe to repeat: a factor of a run is one look, and
    what was before the run is what it was the first time. Of two runs at once each notes its own
    looks before it counts, so that at least one counts the other's.
    """
    folder = f"holdouts/market={deps.spec.market.value}"
    interval = holdout.panel.interval
    scored_ms = holdout.panel.times_ms[holdout.scored]
    start_ms, end_ms = int(scored_ms[0]), int(scored_ms[-1]) + interval.ms
    for factor_hash, expression in opened.items():
        note = json.dumps({"expression": expression})
        name = f"{deps.run_id}-{interval.value}-{factor_hash}.json"
        deps.lake.write_bytes(f"{folder}/span={start_ms}-{end_ms}/{name}", note.encode())
    notes = (_NOTE.search(key) for key in deps.lake.list(folder))
    seen = [
        note["name"]
        for note in notes
        if note is not None and int(note["start"]) < end_ms and start_ms < int(note["end"])
    ]
    foreign = sum(not name.startswith(f"{deps.run_id}-") for name in seen)
    return HoldoutLooks(_kept(deps, interval, foreign), len(seen))


def looks_before(lake: Lake, run_id: str, interval: Interval) -> int:
    """Looks of other runs when this one opened its holdout; 0 where that was not recorded."""
    try:
        return int(lake.read(_key(run_id, interval))["looks"][0].as_py())
    except FileNotFoundError:
        return 0


def _kept(deps: RunDeps, interval: Interval, foreign: int) -> int:
    """The number of the first time, which stays."""

    def first(stored: Stored | None) -> Stored | None:
        return None if stored else (pa.table({"looks": pa.array([foreign], pa.int64())}), {})

    deps.lake.update(_key(deps.run_id, interval), first)
    return looks_before(deps.lake, deps.run_id, interval)


def _key(run_id: str, interval: Interval) -> str:
    return run_key(run_id, f"looks/interval={interval.value}/before.parquet")
