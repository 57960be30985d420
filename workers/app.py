"""The Celery app: `celery -A workers.app worker -Q fetch -P threads -c 8`."""

from __future__ import annotations

import pkgutil
from typing import Any

from celery import Celery, signals

from alphamill import stages
from alphamill.fleet.identity import build
from alphamill.jobs import Queue
from workers import transport
from workers.announce import Announcer
from workers.memory import give_back_freed_memory, leave_libraries_out
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


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _starting(**_: Any) -> None:
    build()  # of the code that is loaded now, before the fork; files may change later


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    queues = tuple(sorted(queue.name for queue in sender.task_consumer.queues))
    if queues == (Queue.FETCH.value,):
        give_back_freed_memory()
        leave_libraries_out()
    _announcer.start(sender.hostname, queues, sender.pool.num_processes)


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stopped(**_: Any) -> None:
    _announcer.stop()
