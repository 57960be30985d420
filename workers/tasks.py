"""The Celery tasks: one a stage of the registry, and the sweep that beat asks for.

Every stage goes through this one door: claim, decode, do, finish.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple

import redis
from celery import Celery
from celery.exceptions import Retry, SoftTimeLimitExceeded
from pydantic import ValidationError

from alphamill.errors import AlphamillError, RetryLater, Unwanted
from alphamill.fleet.identity import build
from alphamill.frames import Market
from alphamill.ledger import Claim, JobState
from alphamill.ledger.presence import Presence
from alphamill.runs.schemas import RunDeps
from alphamill.stages.registry import STAGES, JobContext, Stage, task_name
from workers.app import app
from workers.resources import Resources, resources
from workers.send import publish

_log = logging.getLogger(__name__)


@app.task(name=task_name("sweep"), send_events=False)  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> str:
    """Publish again what lapsed, feed what is ready. Any number at once does no harm."""
    process = resources()
    try:
        sent = publish(process.ledger.sweep())
        Presence(process.redis).swept(process.clock.now_ms())
        process.notifier.poke()
    except (RetryLater, redis.RedisError) as error:  # the next tick is a second away
        return str(error)
    return f"{sent} published"


def register(celery: Celery) -> None:
    """Give every stage its task.

    The message holds the run and the job's id; the ledger holds the rest. A message that comes
    twice, late or for a cancelled run finds nothing to claim and ends.
    """
    for stage in STAGES.values():
        name = task_name(stage.name)
        celery.task(name=name, shared=False, throws=(JobFailed,), **_limits(stage))(
            _receiver(stage)
        )


def _limits(stage: Stage[Any]) -> dict[str, float]:
    if stage.limit_s is None:
        return {}
    return {"soft_time_limit": stage.limit_s, "time_limit": stage.limit_s + 60}


class JobFailed(Exception):
    """A job is dead. The ledger has it; raised so that monitors show the task as failed."""


class Became(Enum):
    """What the work on a message has come to."""

    SETTLED = auto()  # done, or there was nothing to do
    AGAIN = auto()  # it goes on later
    DEAD = auto()


class Outcome(NamedTuple):
    """What has become of a job, and why."""

    became: Became
    says: str


def _receiver(stage: Stage[Any]) -> Callable[[str, str], str]:
    def receive(run_id: str, job_id: str) -> str:
        outcome = attend(run_id, job_id, stage)
        if outcome.became is Became.DEAD:
            raise JobFailed(outcome.says)
        if outcome.became is Became.AGAIN:
            # Only said: the ledger publishes it. `Task.retry` would send a message of its own.
            raise Retry(outcome.says)
        return outcome.says

    receive.__doc__ = stage.job_type.__doc__
    return receive


register(app)


def attend(run_id: str, job_id: str, stage: Stage[Any]) -> Outcome:
    """Claim the job and do it, or say why not."""
    process = resources()
    try:
        claim = process.ledger.claim(run_id, job_id, worker=f"{socket.gethostname()}:{os.getpid()}")
        if claim is None:
            publish(process.ledger.feed(run_id))
            return Outcome(Became.SETTLED, "nothing to claim")
        with process.leases.hold(claim) as wanted:
            return _work(process, claim, stage, wanted)
    except RetryLater as error:
        # The ledger cannot be reached, so nothing can be said of the job: the sweep finds it
        # again by its deadline or its lease.
        _log.warning("%s left as it is: %s", job_id, error)
        return Outcome(Became.AGAIN, str(error))


def _work(
    process: Resources, claim: Claim, stage: Stage[Any], wanted: Callable[[], bool]
) -> Outcome:
    try:
        spec = process.spec(claim.run)
        run = RunDeps(process.lake(spec.lake), claim.run, spec)
        context = JobContext(run, claim.job, claim.attempt, process, wanted=wanted)
        facts = stage.do(claim.record.message, context)
        if facts.landed:
            process.count(claim.run, Market(claim.record.message["market"]), facts.landed)
        hints = process.ledger.finish(claim, facts.to_message(), build().label)
    except Unwanted as error:
        _log.info("%s %s stopped: %s", claim.record.stage, claim.job, error)
        return Outcome(Became.SETTLED, str(error))
    except (AlphamillError, ValidationError) as error:
        return _after(process, claim, error)
    except SoftTimeLimitExceeded:
        return _after(process, claim, RetryLater("took longer than its soft_time_limit"))
    except Exception as error:  # noqa: BLE001  a defect costs this job, not the worker
        _log.exception("%s %s", claim.record.stage, claim.job)
        again_s = random.uniform(0.5, 1.0) * 2.0**claim.attempt  # noqa: S311  jitter
        return _after(process, claim, RetryLater(f"{type(error).__name__}: {error}", again_s))
    publish(hints or ())
    return Outcome(Became.SETTLED, "finished elsewhere" if hints is None else "done")


def _after(process: Resources, claim: Claim, error: Exception) -> Outcome:
    """The retry policy, by the class of the error: errors.py."""
    if isinstance(error, RetryLater):
        _log.info("%s %s in %.1f s: %s", claim.record.stage, claim.job, error.after_s, error)
        hints = process.ledger.put_back(claim, error.reason, error.after_s, error.counts)
    else:
        _log.warning("%s %s failed: %s", claim.record.stage, claim.job, error)
        hints = process.ledger.fail(claim, str(error))
    publish(hints or ())
    # A wait that costs no attempt has not ended the job; of any other only the ledger knows.
    if isinstance(error, RetryLater) and not error.counts:
        return Outcome(Became.AGAIN, str(error))
    job = process.ledger.job(claim.run, claim.job)
    if job is None or job.state is JobState.DONE:  # forgotten, or finished by somebody else
        return Outcome(Became.SETTLED, str(error))
    return Outcome(Became.DEAD if job.state.settled else Became.AGAIN, str(error))
