"""Looks at holdouts: noted before the holdout is opened, counted over all runs of a lake.

holdouts/market=spot/span=START-END/RUN-INTERVAL-HASH.json    one note a factor that was shown

A span is in UTC milliseconds, the close of its last bar excluded, so that bars of any length that
cover the same days count towards each other: what a holdout of 4h bars gave away, one of 1h bars of
those days no longer hides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from alphamill.stages.panels import SegmentPanel
from alphamill.stages.trials import Row, RunDeps

_SPAN = re.compile(r"/span=(\d+)-(\d+)/")


def count_looks(opened: Sequence[Row], holdout: SegmentPanel, deps: RunDeps) -> int:
    """Note the factors that are about to see the holdout; all looks so far at any bar of it.

    opened: rows with `hash` and `expression`. Safe to repeat: a factor of a run is one look.
    """
    folder = f"holdouts/market={deps.spec.market.value}"
    interval = holdout.panel.interval
    scored_ms = holdout.panel.times_ms[holdout.scored]
    start_ms, end_ms = int(scored_ms[0]), int(scored_ms[-1]) + interval.ms
    for row in opened:
        note = json.dumps({"expression": row["expression"]})
        name = f"{deps.run_id}-{interval.value}-{row['hash']}.json"
        deps.lake.write_bytes(f"{folder}/span={start_ms}-{end_ms}/{name}", note.encode())
    spans = (_SPAN.search(key) for key in deps.lake.list(folder))
    return sum(
        int(span[1]) < end_ms and start_ms < int(span[2]) for span in spans if span is not None
    )
