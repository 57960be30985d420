"""One follower a market and egress: who holds the lease follows, the others stand by."""

from __future__ import annotations

import uuid

import redis

from alphamill.redis_store import reached, script

LEASE_S = 6.0  # after a kill another follows within this time and one look more


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
