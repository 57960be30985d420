"""Tokens, cost, errors and latencies of model calls, counted once over all workers."""

from alphamill.usage.memory import MemoryUsage
from alphamill.usage.protocol import Usage, UsageEntry
from alphamill.usage.redis import RedisUsage

__all__ = ["MemoryUsage", "RedisUsage", "Usage", "UsageEntry"]
