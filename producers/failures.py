"""Jobs that did not get through, gathered by what stopped them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from alphamill.frames import Month
from alphamill.ledger import JobRecord, JobState
from alphamill.report.values import plain, whole

_NAMED = 3  # jobs of a group that are named


@dataclass(frozen=True, slots=True)
class Trouble:
    """Jobs of one stage with one state and reason. `subjects`: what the first few were about."""

    stage: str
    state: str
    reason: str
    jobs: int
    subjects: tuple[str, ...]


def gathered(jobs: Iterable[JobRecord]) -> list[Trouble]:
    """Dead jobs before skipped ones before those that will be tried again, large groups first."""
    found: dict[tuple[str, str, str], Trouble] = {}
    for job in jobs:
        key = (job.stage, job.state.value, job.error)
        known = found.get(key, Trouble(*key, jobs=0, subjects=()))
        named = (*known.subjects, subject(job.message))[:_NAMED]
        found[key] = replace(known, jobs=known.jobs + 1, subjects=named)
    order = [JobState.DEAD, JobState.SKIPPED]

    def rank(trouble: Trouble) -> tuple[int, int, str]:
        state = JobState(trouble.state)
        return order.index(state) if state in order else 2, -trouble.jobs, trouble.stage

    return sorted(found.values(), key=rank)


def subject(message: Mapping[str, Any]) -> str:
    """What a job is about, for a reader: "BTCUSDT 1h 2024-01", "1h round 2"."""
    parts = [str(message[name]) for name in ("symbol", "interval") if message.get(name)]
    if "start_ms" in message:
        parts.append(str(Month.of_ms(int(message["start_ms"]))))
    if "round" in message:
        parts.append(f"round {int(message['round']) + 1}")
    return " ".join(parts)


def failures_table(troubles: Sequence[Trouble], most: int = 12) -> Table:
    """A line a group: how many jobs of which stage, about what, and why."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for trouble in troubles[:most]:
        style = "red" if trouble.state == JobState.DEAD else "yellow"
        about = ", ".join(filter(None, trouble.subjects))
        if about and trouble.jobs > len(trouble.subjects):
            about += ", ..."
        reason = Text(plain(trouble.reason or "no reason given"))
        if about:
            reason.append(f"  ({plain(about, 160)})", style="dim")
        table.add_row(
            Text(whole(trouble.jobs)),
            Text(f"{plain(trouble.stage, 28)} {_WORDS.get(trouble.state, trouble.state)}", style),
            reason,
        )
    if len(troubles) > most:
        table.add_row(Text(""), Text(""), Text(f"and {len(troubles) - most} more kinds: --json"))
    return table


_WORDS = {"dead": "failed", "delayed": "waits, tried before"}
