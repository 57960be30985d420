"""Celery's beat, that says in one line a while why nothing can be sent."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import redis
from celery.beat import PersistentScheduler, SchedulingError
from kombu.exceptions import OperationalError

from alphamill.ledger.presence import SILENCE_S, Presence
from alphamill.redis_store import fault_of
from workers.resources import resources
from workers.transport import CannotServe

AGAIN_S = 60.0  # the sweep is due every second

_BROKER = (redis.ConnectionError, redis.TimeoutError, OperationalError, OSError)

_log = logging.getLogger(__name__)


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # Celery has no types
    """What a broker does not take is due again a second later, so a line now and then will do.

    Celery's own writes a traceback for each, and a line for each that was sent.
    """

    _told_s: float | None = None
    _unsent = 0
    _heard_s = float(-SILENCE_S)

    def setup_schedule(self) -> None:
        """Tell monitors nothing of a message a second: it would drown the jobs."""
        self.app.conf.task_send_sent_event = False  # in this process, which sends nothing else
        super().setup_schedule()

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send it, whatever comes of that."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            causes = [cause for cause in _chain(error) if isinstance(cause, _BROKER)]
            if not causes:
                _log.exception("%s cannot be sent", entry.task)
                return
            self._tell(entry.task, causes[-1])
        else:
            if self._unsent:
                _log.info("%s is sent again, after %d that were not", entry.task, self._unsent)
            self._told_s, self._unsent = None, 0
            self._say_so()

    def _say_so(self) -> None:
        """Be heard of, as workers are: for whoever looks after this process."""
        now_s = time.monotonic()
        if now_s - self._heard_s >= SILENCE_S / 4:
            with suppress(redis.RedisError):  # the broker took it; the ledger may be elsewhere
                Presence(resources().redis).beats(socket.gethostname())
                self._heard_s = now_s

    def _tell(self, task: str, cause: BaseException) -> None:
        self._unsent += 1
        now_s = time.monotonic()
        if self._told_s is None or now_s - self._told_s >= AGAIN_S:
            self._told_s = now_s
            reason = _in_words(cause, self.app.conf.broker_url)
            _log.error("%s cannot be sent, %d so far: %s", task, self._unsent, reason)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of, down to the bottom."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _in_words(cause: BaseException, broker_url: str) -> str:
    """What is the matter with the broker, and the cure."""
    if isinstance(cause, CannotServe):
        return str(cause)
    if isinstance(cause, redis.RedisError):
        return "; ".join(fault_of(cause, broker_url))
    return f"the broker cannot be reached ({cause}); start it, or see `alphamill doctor`"
