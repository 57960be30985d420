"""What a run of bars has made, in a few lines, for whoever waited for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from alphamill.flow import plan
from alphamill.jobs import RunKind, RunSpec
from alphamill.ledger import Ledger, RunRecord

_MOST_DAYS = 2000  # that are looked at one by one
_MOST_LINES = 6


def bars_lines(run: RunRecord, ledger: Ledger) -> list[str]:
    """Days, bars and trades, and what was wrong with them; nothing for runs of another kind."""
    if run.kind != RunKind.BARS:
        return []
    spec = RunSpec.from_message(run.spec)
    totals: Counter[str] = Counter()
    said: Counter[str] = Counter()
    first: dict[str, str] = {}
    for job in plan(spec)[:_MOST_DAYS]:
        facts: dict[str, Any] = dict(ledger.result(run.id, job.id) or {})
        if not facts:
            continue
        totals["days"] += 1
        totals["bars"] += facts["bars"]
        totals["trades"] += facts["trades"]
        for note in {facts["note"], *facts["archive_note"].split("; ")} - {""}:
            said[note] += 1
            folder, _, day = facts["key"].removesuffix(".parquet").rpartition("/")
            first.setdefault(note, f"{folder.rpartition('symbol=')[2]} {day}")
    if not totals["days"]:
        return []
    days = "1 day" if totals["days"] == 1 else f"{totals['days']:,} days"
    lines = [f"{days}: {totals['bars']:,} bars of {totals['trades']:,} {spec.trades}"]
    for note, count in said.most_common(_MOST_LINES):
        more = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"{first[note]}{more}: {note}")
    return lines
