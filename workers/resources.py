"""What a worker process opens once, when first asked, and after the fork."""

from __future__ import annotations

from functools import cached_property

import redis

from alphamill.clock import SystemClock
from alphamill.ledger import Ledger, RedisLedger
from alphamill.settings import Settings
from workers.leases import LeaseKeeper


class Resources:
    """Connections and clients of one process. Thread-safe; each part opens on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()

    @cached_property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.settings.redis_url,
            socket_timeout=30,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=25,
        )

    @cached_property
    def ledger(self) -> Ledger:
        return RedisLedger(self.redis, self.settings.ledger)

    @cached_property
    def leases(self) -> LeaseKeeper:
        return LeaseKeeper(self.ledger, self.settings.ledger.lease_s)
