"""Tokens, cost, errors and latencies of model calls, counted once over all workers."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.usage.memory import MemoryUsage
    from alphamill.usage.protocol import Usage, UsageEntry
    from alphamill.usage.redis import RedisUsage

__all__ = ["MemoryUsage", "RedisUsage", "Usage", "UsageEntry"]

export_on_demand(__name__)
