"""One follower a market and egress: who holds the lease follows, the others stand by."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress

import redis

from alphamill.errors import AlphamillError
from alphamill.redis_store import reached, script

LEASE_S = 5.0  # after a kill another follows within this time and one look more
_STUCK_S = 60.0


class Lease:
    """A name in Redis that one holder has at a time, while it renews it.

    It saves work and connections; what is published once is seen to by the journal. Raises
    RetryLater when Redis cannot be reached.
    """

    def __init__(
        self, client: redis.Redis, name: str, prefix: str = "alphamill", lease_s: float = LEASE_S
    ) -> None:
        self.key = f"{prefix}:follower:{name}"
        self.token = uuid.uuid4().hex
        self._redis = client
        self._ms = round(lease_s * 1000)
        self._hold = client.register_script(script("alphamill.live", "hold"))

    def hold(self, who: str = "") -> bool:
        """Take it if it is free, renew it if it is ours; whether we hold it. who: for people."""
        with reached("the followers' lease cannot be held"):
            held = self._hold(keys=[self.key], args=[self.token, self._ms, who])
        return bool(held)

    def let_go(self) -> None:
        """Free it at once, if it is ours."""
        with reached("the followers' lease cannot be let go"):
            self._hold(keys=[self.key], args=[self.token, 0, ""])


class Renewal:
    """Renews a lease that is held, from a thread of its own: a step of its holder's work, such as
    the first that needs a kernel, may take longer than the lease lasts.

    A holder that has not said `works` for a minute is stuck, and is renewed no more. Close it
    before the lease is let go.
    """

    def __init__(self, lease: Lease, who: str, every_s: float = LEASE_S / 3) -> None:
        self._lease, self._who, self._every_s = lease, who, every_s
        self._holds = False
        self._worked_s = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)
        self._thread.start()

    def works(self, *, holds: bool) -> None:
        """The holder is at work; whether it holds the lease at all."""
        self._holds, self._worked_s = holds, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is renewed next time."""
        return self._holds and time.monotonic() - self._worked_s < _STUCK_S

    def close(self) -> None:
        """Renew no more."""
        self._holds = False
        self._closing.set()
        self._thread.join(10.0)

    def _work(self) -> None:
        while not self._closing.wait(self._every_s):
            if self.due:
                with suppress(AlphamillError):  # its holder will find out
                    self._lease.hold(self._who)
