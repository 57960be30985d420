"""All runs at a glance: how their jobs stand, what waits on which queue, and why jobs are dead.

A few pipelined trips whatever the number of jobs; no job is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis

from alphamill.ledger.protocol import Counts, JobState, RunState
from alphamill.ledger.raises import BudgetRaise, budget_usd_micros, read_raises, read_unfunded
from alphamill.redis_store import as_text, reached

_HEAD = (
    *("state", "kind", "priority", "created_ms", "finished_ms"),
    *("raises", "unfunded:run", "unfunded:day"),
)
_reached = partial(reached, "ledger unreachable")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A run's jobs on one queue. since_ms: from when the one that waits longest has waited."""

    ready: int  # for room in the window
    queued: int  # their messages are out
    running: int
    since_ms: int | None

    @property
    def waiting(self) -> int:
        """Those that a worker could take."""
        return self.ready + self.queued


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run without its jobs. Times are UTC epoch milliseconds of the ledger's clock.

    failed: (stage, kind of reason) -> dead jobs; of like reasons, symbols and times left out.
    """

    id: str
    kind: str
    spec: Mapping[str, Any]
    state: RunState
    priority: int
    created_ms: int
    finished_ms: int | None
    counts: Counts
    queues: Mapping[str, QueueDepth] = field(default_factory=dict)
    failed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    raises: Sequence[BudgetRaise] = ()
    unfunded: Mapping[str, int] = field(default_factory=dict)  # see RunRecord

    @property
    def budget_usd_micros(self) -> int:
        """What it may spend: as asked for, or as raised since."""
        return budget_usd_micros(self.spec, self.raises)


class LedgerOverview:
    """Reads the ledger for people and scrapers; remembers what no longer changes."""

    def __init__(self, client: redis.Redis, prefix: str = "alphamill") -> None:
        self._client: Any = client
        self._prefix = prefix
        self._specs: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, tuple[Sequence[str], RunOverview]] = {}  # head -> as it was then

    def now_ms(self) -> int:
        """The ledger's clock, UTC epoch milliseconds."""
        with _reached():
            seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def runs(self, most_ended: int | None = None) -> list[RunOverview]:
        """The active runs and the ended ones, or the newest of these; the newest first."""
        with _reached():
            ids = [as_text(run) for run in self._client.zrange(self._prefix + ":runs", 0, -1)]
        heads = self._heads(ids[::-1])
        ended = [run for run, head in heads.items() if not RunState(head[0]).active]
        kept = set(ended if most_ended is None else ended[:most_ended])
        shown = {run: head for run, head in heads.items() if run not in ended or run in kept}
        self._forget(set(heads))
        fresh = [run for run in shown if self._ended.get(run, ((), None))[0] != shown[run]]
        found = self._details({run: shown[run] for run in fresh})
        for run in found.values():
            if not run.state.active:
                self._ended[run.id] = (shown[run.id], run)
        return [found.get(run) or self._ended[run][1] for run in shown]

    def _heads(self, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for run in ids:
                pipe.hmget(self._key(run, "run"), *_HEAD)
            answers = pipe.execute() if ids else []
        return {
            run: tuple("" if value is None else as_text(value) for value in head)
            for run, head in zip(ids, answers, strict=True)
            if head[0] is not None  # forgotten since
        }

    def _forget(self, known: set[str]) -> None:
        for cache in (self._specs, self._ended):
            for gone in set(cache) - known:
                del cache[gone]

    def _details(self, heads: Mapping[str, Sequence[str]]) -> dict[str, RunOverview]:
        queues = self._queues(heads)
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for run in heads:
                pipe.hget(self._key(run, "run"), "spec" if run not in self._specs else "state")
                for name in ("counts", "taken", "failed"):
                    pipe.hgetall(self._key(run, name))
                for queue in queues[run]:
                    pipe.zcard(self._key(run, f"ready:{queue}"))
                    pipe.zcard(self._key(run, f"since:{queue}"))
                    pipe.zrange(self._key(run, f"since:{queue}"), 0, 0, withscores=True)
            answers = iter(pipe.execute() if heads else [])
        found = {}
        for run, head in heads.items():
            spec, counts, taken, failed = (next(answers) for _ in range(4))
            depths = {}
            for queue in queues[run]:
                ready, waiting, first = (next(answers) for _ in range(3))
                out = max(0, waiting - ready)
                running = max(0, int(_texts(taken).get(queue, 0)) - out)
                since_ms = int(first[0][1]) if first else None
                depths[queue] = QueueDepth(ready, out, running, since_ms)
            if run not in self._specs and spec is not None:
                self._specs[run] = json.loads(as_text(spec))
            found[run] = _overview(run, head, self._specs.get(run, {}), counts, depths, failed)
        return found

    def _queues(self, heads: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The queues of the active runs; on those of an ended one nothing waits."""
        active = [run for run, head in heads.items() if RunState(head[0]).active]
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for run in active:
                pipe.hkeys(self._key(run, "taken"))
            answers = pipe.execute() if active else []
        named = {
            run: sorted(as_text(queue) for queue in names)
            for run, names in zip(active, answers, strict=True)
        }
        return {run: named.get(run, []) for run in heads}

    def _key(self, run: str, name: str) -> str:
        return f"{self._prefix}:{{{run}}}:{name}"


def _overview(
    run: str,
    head: Sequence[str],
    spec: Mapping[str, Any],
    counts: Mapping[Any, Any],
    queues: Mapping[str, QueueDepth],
    failed: Mapping[Any, Any],
) -> RunOverview:
    state, kind, priority, created_ms, finished_ms, raises, *_ = head
    return RunOverview(
        id=run,
        kind=kind,
        spec=spec,
        state=RunState(state),
        priority=int(priority or 0),
        created_ms=int(float(created_ms)),
        finished_ms=int(float(finished_ms)) if finished_ms else None,
        counts=_counts(_texts(counts)),
        queues=queues,
        failed={
            (stage, reason): int(jobs)
            for name, jobs in _texts(failed).items()
            for stage, _, reason in [name.partition("|")]
            if int(jobs) > 0
        },
        raises=read_raises(raises),
        unfunded=read_unfunded(dict(zip(_HEAD, head, strict=True))),
    )


def _texts(mapping: Mapping[Any, Any]) -> dict[str, str]:
    return {as_text(name): as_text(value) for name, value in mapping.items()}


def _counts(fields: Mapping[str, str]) -> Counts:
    table: Counts = {}
    for name, value in fields.items():
        stage, _, state = name.rpartition("|")
        if int(value):
            table.setdefault(stage, {})[JobState(state)] = int(value)
    return table
