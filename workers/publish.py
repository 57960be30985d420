"""From the ledger's hints to Celery messages."""

from __future__ import annotations

from collections.abc import Iterable

from alphamill.ledger import Hint
from workers.app import app

_LOWEST = 9


def publish(hints: Iterable[Hint]) -> int:
    """Send one message a hint: (run, job id). Returns how many.

    A run's priority is 0 to 9 with the higher first; Redis serves the lower number first.
    A message lost here or anywhere else is published again by the sweep.
    """
    sent = 0
    with app.producer_pool.acquire(block=True) as producer:
        for hint in hints:
            app.send_task(
                f"alphamill.{hint.stage}",
                args=[hint.run, hint.job_id],
                queue=hint.queue,
                priority=_LOWEST - hint.priority,
                producer=producer,
                ignore_result=True,
            )
            sent += 1
    return sent
