"""The Celery app: `celery -A workers.app worker -Q fetch -P threads -c 8`."""

from __future__ import annotations

import ctypes
import pkgutil
from typing import Any

import pyarrow as pa
from celery import Celery, signals

from alphamill import stages
from alphamill.fleet.identity import build
from alphamill.jobs import Queue
from workers import transport
from workers.announce import Announcer
from workers.resources import resources

_STAGE_FILES = pkgutil.iter_modules(stages.__path__)

transport.install()
app = Celery(
    "alphamill",
    config_source="celeryconfig",
    # The stages too: what is loaded before the fork is shared by the children.
    include=[
        "workers.tasks",
        "workers.lives",
        *(f"{stages.__name__}.{file.name}" for file in _STAGE_FILES),
    ],
)

_announcer = Announcer(resources)
_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MMAP_FROM_BYTES = 1 << 20  # fixed: by itself it grows to 32 MB, and what is below is kept


def give_back_freed_memory() -> None:
    """Have this process's allocators give memory back rather than keep it for the next month.

    A fetch worker's threads each take some 20 MB for a month and drop it. What Arrow's allocator
    and glibc keep of that came to 424 MB after 1,200 months on 8 threads; this holds it at 340 MB
    for five per cent more time (benchmarks/fetch_memory.py). Evaluation wants the opposite, and has
    it. Without effect on glibc's part where there is no glibc.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _starting(**_: Any) -> None:
    build()  # of the code that is loaded now, before the fork; files may change later


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    queues = tuple(sorted(queue.name for queue in sender.task_consumer.queues))
    if queues == (Queue.FETCH.value,):
        give_back_freed_memory()
    _announcer.start(sender.hostname, queues, sender.pool.num_processes)


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stopped(**_: Any) -> None:
    _announcer.stop()
