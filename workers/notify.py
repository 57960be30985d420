"""The control worker tells a person what has ended, was stopped or is wrong: each thing once.

It looks and sends in a thread of its own. Nothing waits for it, and what cannot be sent is a line
in the log.
"""

from __future__ import annotations

import logging
import threading
import time

import redis
import requests

from alphamill.errors import AlphamillError
from alphamill.fleet.notices import Notice, due, send
from alphamill.fleet.snapshot import FleetReader
from alphamill.settings import Settings
from alphamill.settings.notify import Destination, destination

LOOK_EVERY_S = 5.0
_TRIES, _PAUSE_S = 3, 2.0
_TOLD_S = 30 * 86_400

_log = logging.getLogger(__name__)


class Notifier:
    """Of one process. Of several, one tells: whoever notes it in Redis first."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        url = settings.notify_url
        self._to = destination(url.get_secret_value()) if url is not None else None
        self._redis = client
        self._reader = FleetReader(client, settings)
        self._looking = threading.Lock()
        self._next_s = 0.0

    def poke(self) -> None:
        """Look soon, if it is time and nobody looks; returns at once."""
        to = self._to
        if to is None or time.monotonic() < self._next_s:
            return
        if self._looking.acquire(blocking=False):
            self._next_s = time.monotonic() + LOOK_EVERY_S
            threading.Thread(target=self._look, args=(to,), name="notify", daemon=True).start()

    def _look(self, to: Destination) -> None:
        try:
            for notice in due(self._reader.read(most_ended=50)):
                if self._first_to_tell(notice):
                    _tell(to, notice)
        except (AlphamillError, redis.RedisError) as error:
            _log.info("nobody is told of anything: %s", error)
        except Exception:  # noqa: BLE001  a defect here must not cost the worker its other work
            _log.exception("notices")
        finally:
            self._looking.release()

    def _first_to_tell(self, notice: Notice) -> bool:
        kept_s = notice.again_s or _TOLD_S
        return bool(self._redis.set(f"alphamill:told:{notice.id}", 1, nx=True, ex=kept_s))


def _tell(to: Destination, notice: Notice) -> None:
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S * 2**attempt)
        try:
            send(to, notice)
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            why = f"HTTP {status}" if status else type(error).__name__  # its text may hold the URL
            if status is not None and status < 500 and status != 429:
                break
        else:
            return
    _log.warning("%s was not told of %s: %s", to.name, notice.title, why)
