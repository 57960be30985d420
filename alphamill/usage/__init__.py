"""Tokens, cost, errors and latencies of model calls, counted once over all workers."""

from alphamill.usage.memory import MemoryUsageCounters
from alphamill.usage.protocol import Usage, UsageEntry
from alphamill.usage.redis import UsageCounters

__all__ = ["MemoryUsageCounters", "Usage", "UsageCounters", "UsageEntry"]
