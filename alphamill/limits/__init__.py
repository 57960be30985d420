"""Limits that hold over all workers: fixed windows and steady rates, booked together."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.limits.gates import (
        ExchangeGate,
        OpenGate,
        TierGate,
        binance_pool,
        data_pool,
        funding_pool,
        shown_pool,
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
    "data_pool",
    "funding_pool",
    "shown_pool",
    "tier_pool",
]

export_on_demand(__name__)
