"""The app as Flower loads it: `celery -A workers.flower flower`."""

from __future__ import annotations

from typing import Any

from flower.views import BaseHandler

from workers.app import app

__all__ = ["app"]

_of_workers = BaseHandler.get_active_queue_names


def _all_queues(handler: Any) -> list[str]:
    """Every queue that is declared beside those that workers read.

    Flower leaves out the others as soon as one worker is there: a queue that nobody reads, which is
    the one to look at.
    """
    declared = {queue.name for queue in app.conf.task_queues}
    return sorted(declared.union(_of_workers(handler)))


BaseHandler.get_active_queue_names = _all_queues
