"""From the ledger's hints to Celery messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from alphamill.errors import Misconfigured
from alphamill.ledger import Hint
from alphamill.stages.registry import task_name
from workers.app import app

_log = logging.getLogger(__name__)
_LOWEST = 9


def check_broker() -> None:
    """Raise Misconfigured for a broker that no worker could use: before anything is written."""
    try:
        app.connection_for_write().get_transport_cls()
    except (KeyError, ImportError) as error:
        raise Misconfigured(
            "ALPHAMILL_BROKER_URL", "no such kind of broker", "write redis:// or amqp://"
        ) from error


def publish(hints: Iterable[Hint]) -> int:
    """Send one message a hint: (run, job id). Returns how many.

    A run's priority is 0 to 9 with the higher first.
    A message lost here or anywhere else is published again by the sweep.
    """
    sent = 0
    try:
        with app.producer_pool.acquire(block=True) as producer:
            for hint in hints:
                sent += _send(hint, producer)
    except OperationalError as error:
        _log.warning("the broker cannot be reached (%s); the sweep publishes the rest", error)
    return sent


def label(hint: Hint) -> str:
    """What a job is about, for people: "fetch BTCUSDT 1h 2022-03"."""
    job = hint.job
    words = [hint.stage, *(str(job[name]) for name in ("symbol", "interval") if job.get(name))]
    if "start_ms" in job and "end_ms" in job:
        first, last = (_month(job["start_ms"]), _month(job["end_ms"] - 1))
        words.append(first if first == last else f"{first}..{last}")
    if "round" in job:
        words.append(f"round {job['round'] + 1}")
    if "shard" in job:
        words.append(f"shard {job['shard'] + 1} of {job['shards']}")
    return " ".join(words)


def _month(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m}"


def _on_the_wire(priority: int, driver: str) -> int:
    """RabbitMQ serves the higher number first, Redis the lower."""
    return priority if driver == "amqp" else _LOWEST - priority


def _send(hint: Hint, producer: Any) -> bool:
    try:
        app.send_task(
            task_name(hint.stage),
            args=[hint.run, hint.job_id],
            # What monitors show. Not the task's name: Flower keeps every name for ever.
            argsrepr=label(hint),
            kwargsrepr=hint.run,
            queue=hint.queue,
            priority=_on_the_wire(hint.priority, producer.connection.transport.driver_type),
            producer=producer,
            ignore_result=True,
        )
    except QueueNotFound:  # another version's run; its own workers will publish it
        _log.warning("%s of %s wants queue %s, not known here", hint.job_id, hint.run, hint.queue)
        return False
    return True
