"""Runs and their jobs, remembered in Redis: states, leases, dependencies, attempts, sweeps."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.ledger.memory import MemoryLedger
    from alphamill.ledger.protocol import (
        ACTIVE,
        ENDED,
        FAILED,
        RESULT_LIMIT_BYTES,
        SETTLED,
        UNFUNDED,
        Claim,
        Counts,
        Hint,
        JobRecord,
        JobSpec,
        JobState,
        Ledger,
        NoSuchRun,
        RunRecord,
        RunState,
    )
    from alphamill.ledger.raises import BudgetRaise
    from alphamill.ledger.redis import RedisLedger

__all__ = [
    "ACTIVE",
    "ENDED",
    "FAILED",
    "RESULT_LIMIT_BYTES",
    "SETTLED",
    "UNFUNDED",
    "BudgetRaise",
    "Claim",
    "Counts",
    "Hint",
    "JobRecord",
    "JobSpec",
    "JobState",
    "Ledger",
    "MemoryLedger",
    "NoSuchRun",
    "RedisLedger",
    "RunRecord",
    "RunState",
]

export_on_demand(__name__)
