"""Which queues a pool reads: what waits runs in threads, what computes in processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from alphamill.jobs import Queue


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """A kind of worker. concurrency: threads or processes unless -c says otherwise."""

    name: str
    queues: tuple[Queue, ...]
    kind: Literal["threads", "prefork"]
    concurrency: int


STREAM = "stream"
"""The pool that follows lives: no Celery worker, see workers.stream."""
STREAM_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
"""What its process is started with, where nothing else is said. Its tables are small, and Arrow's
own allocator keeps 15 MB aside for large ones; each of its threads would have a heap of its own.
"""
_CORES = os.cpu_count() or 1

POOLS = {
    pool.name: pool
    for pool in (
        WorkerPool("fetch", (Queue.FETCH,), "threads", 8),
        WorkerPool("features", (Queue.FEATURES,), "prefork", _CORES),
        WorkerPool("evaluate", (Queue.EVALUATE,), "prefork", _CORES),
        WorkerPool(
            "llm",
            (Queue.QUICK_SCAN, Queue.DETAILED_ANALYSIS, Queue.FINAL_VERIFICATION),
            "threads",
            16,
        ),
        WorkerPool("control", (Queue.CONTROL,), "threads", 4),
    )
}


def worker_arguments(pool: WorkerPool, concurrency: int | None = None) -> list[str]:
    """Arguments of `python -m celery` that start one worker of the pool."""
    return [
        *("-A", "workers.app", "worker"),
        *("-Q", ",".join(pool.queues)),
        *("-P", pool.kind),
        *("-c", str(concurrency or pool.concurrency)),
        *("-n", f"{pool.name}-{os.getpid()}@%h"),
        *("-l", "INFO"),
        # Workers need to know nothing of each other; the ledger does.
        *("--without-gossip", "--without-mingle"),
    ]
