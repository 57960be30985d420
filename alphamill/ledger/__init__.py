"""Runs and their jobs, remembered in Redis: states, leases, dependencies, attempts, sweeps."""

from alphamill.ledger.memory import MemoryLedger
from alphamill.ledger.protocol import (
    RESULT_LIMIT_BYTES,
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
from alphamill.ledger.redis import RedisLedger

__all__ = [
    "RESULT_LIMIT_BYTES",
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
