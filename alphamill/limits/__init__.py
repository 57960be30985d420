"""Limits that hold over all workers: fixed windows and steady rates, booked together."""

from alphamill.limits.gates import (
    ExchangeGate,
    OpenGate,
    TierGate,
    binance_pool,
    funding_pool,
    tier_pool,
)
from alphamill.limits.memory import MemoryLimiter
from alphamill.limits.protocol import (
    Concurrent,
    Dimension,
    DimensionState,
    FixedWindow,
    Limiter,
    Pool,
    PoolState,
    Slot,
    SteadyRate,
)
from alphamill.limits.redis import RedisLimiter

__all__ = [
    "Concurrent",
    "Dimension",
    "DimensionState",
    "ExchangeGate",
    "FixedWindow",
    "Limiter",
    "MemoryLimiter",
    "OpenGate",
    "Pool",
    "PoolState",
    "RedisLimiter",
    "Slot",
    "SteadyRate",
    "TierGate",
    "binance_pool",
    "funding_pool",
    "tier_pool",
]
