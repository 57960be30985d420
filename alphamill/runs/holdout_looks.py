"""Looks at holdouts: noted before the holdout is opened, counted over all runs of a lake.

holdouts/market=spot/span=START-END/RUN-INTERVAL-HASH.json    one note a factor that was shown
runs/run=ID/looks/interval=1h/before.parquet                  how many there were, for every replay:
                                                              a row a judgement, the last one counts

A span is in UTC milliseconds, the close of its last bar excluded, so that bars of any length that
cover the same days count towards each other: what a holdout of 4h bars gave away, one of 1h bars of
those days no longer hides.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
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
    """At any bar of a holdout.

    before: of other runs, when this one opened it; and of this run, at factors that it no longer
    has for finalists: a run whose budget is raised is judged anew.
    """

    before: int
    so_far: int


_JUDGED = pa.schema(
    [
        pa.field("looks", pa.int64()),
        pa.field("own", pa.int64()),  # of them, by this run itself
        pa.field("opened", pa.string()),  # digest of the factors that were judged
    ]
)


def count_looks(opened: Mapping[str, str], holdout: SegmentPanel, deps: RunDeps) -> HoldoutLooks:
    """Note the factors that are about to see the holdout; all looks so far at any bar of it.

    opened: hash -> expression. Safe to repeat: a factor of a run is one look, and
    what was before is what it was the first time that these factors were judged. Of two runs at
    once each notes its own looks before it counts, so that at least one counts the other's.
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
    prefix, suffix = f"{deps.run_id}-{interval.value}-", ".json"
    mine = {name.removeprefix(prefix).removesuffix(suffix) for name in seen if prefix in name}
    return HoldoutLooks(_kept(deps, interval, foreign, mine - set(opened), opened), len(seen))


def looks_before(lake: Lake, run_id: str, interval: Interval) -> int:
    """Looks before this run's last judgement; 0 where that was not recorded."""
    return _last(lake, run_id, interval, "looks")


def own_looks_before(lake: Lake, run_id: str, interval: Interval) -> int:
    """Of `looks_before`, those by which this run itself had been judged before it was resumed."""
    return _last(lake, run_id, interval, "own")


def _last(lake: Lake, run_id: str, interval: Interval, column: str) -> int:
    try:
        table = lake.read(_key(run_id, interval))
    except FileNotFoundError:
        return 0
    return int(table[column][-1].as_py() or 0) if column in table.column_names else 0


def _kept(
    deps: RunDeps, interval: Interval, foreign: int, given_up: set[str], opened: Iterable[str]
) -> int:
    """The number of the first time that these factors were judged, which stays."""
    digest = hashlib.sha256("\n".join(sorted(opened)).encode()).hexdigest()[:16]
    now = {"looks": foreign + len(given_up), "own": len(given_up), "opened": digest}

    def judged(stored: Stored | None) -> Stored | None:
        rows = stored[0].to_pylist() if stored else []
        # A row of older code does not say of what: it stands as long as nothing else was judged.
        if rows and (rows[-1].get("opened") or (digest if not given_up else "")) == digest:
            return None
        return pa.Table.from_pylist([*rows, now], schema=_JUDGED), {}

    deps.lake.update(_key(deps.run_id, interval), judged)
    return looks_before(deps.lake, deps.run_id, interval)


def _key(run_id: str, interval: Interval) -> str:
    return run_key(run_id, f"looks/interval={interval.value}/before.parquet")
