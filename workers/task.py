"""The task wrapper: claim, decode, call, finish. Every stage goes through this one door."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from pydantic import ValidationError

from alphamill.errors import AlphamillError, RetryLater
from alphamill.jobs import Message
from alphamill.ledger import Claim
from workers.app import app
from workers.resources import Resources, resources
from workers.send import publish

_log = logging.getLogger(__name__)

Facts = Mapping[str, Any]
JobT = TypeVar("JobT", bound=Message)


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a doorway is told beside its job. attempt: from 1, without free waits."""

    run_id: str
    job_id: str
    attempt: int
    tools: Resources


def task(stage: str, job_type: type[JobT]) -> Callable[[Callable[[JobT, JobContext], Facts]], Any]:
    """Register `function(job, context) -> facts` as the task of a stage.

    The message holds the run and the job's id; the ledger holds the rest. A message that comes
    twice, late or for a cancelled run finds nothing to claim and ends.
    """

    def decorate(function: Callable[[JobT, JobContext], Facts]) -> Any:
        def receive(run_id: str, job_id: str) -> str:
            return _attend(run_id, job_id, job_type, function)

        receive.__doc__ = function.__doc__
        return app.task(name=f"alphamill.{stage}")(receive)

    return decorate


def _attend(
    run_id: str,
    job_id: str,
    job_type: type[JobT],
    function: Callable[[JobT, JobContext], Facts],
) -> str:
    tools = resources()
    try:
        claim = tools.ledger.claim(run_id, job_id, worker=f"{socket.gethostname()}:{os.getpid()}")
        if claim is None:
            publish(tools.ledger.feed(run_id))
            return "nothing to claim"
        with tools.leases.hold(claim):
            return _work(tools, claim, job_type, function)
    except RetryLater as error:
        # The ledger cannot be reached, so nothing can be said of the job: the sweep finds it
        # again by its deadline or its lease.
        _log.warning("%s left as it is: %s", job_id, error)
        return str(error)


def _work(
    tools: Resources,
    claim: Claim,
    job_type: type[JobT],
    function: Callable[[JobT, JobContext], Facts],
) -> str:
    try:
        context = JobContext(claim.run, claim.job, claim.attempt, tools)
        facts = function(job_type.from_message(claim.record.message), context)
        hints = tools.ledger.finish(claim, facts)
    except (AlphamillError, ValidationError) as error:
        return _after(tools, claim, error)
    except SoftTimeLimitExceeded:
        return _after(tools, claim, RetryLater("took longer than task_soft_time_limit"))
    except Exception as error:  # noqa: BLE001  a defect costs this job, not the worker
        _log.exception("%s %s", claim.record.stage, claim.job)
        again_s = random.uniform(0.5, 1.0) * 2.0**claim.attempt  # noqa: S311  jitter
        return _after(tools, claim, RetryLater(f"{type(error).__name__}: {error}", again_s))
    publish(hints or ())
    return "finished elsewhere" if hints is None else "done"


def _after(tools: Resources, claim: Claim, error: Exception) -> str:
    """The retry policy, by the class of the error: errors.py."""
    if isinstance(error, RetryLater):
        _log.info("%s %s in %.1f s: %s", claim.record.stage, claim.job, error.after_s, error)
        hints = tools.ledger.put_back(claim, error.reason, error.after_s, error.counts)
    else:
        _log.warning("%s %s failed: %s", claim.record.stage, claim.job, error)
        hints = tools.ledger.fail(claim, str(error))
    publish(hints or ())
    return str(error)
