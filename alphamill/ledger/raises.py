"""What a run may spend: what it asked for when it was submitted, or what that was raised to since.

The spec stays as it was asked for, since its hash is the run's id; a raise is written beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BUDGETS = ("run", "day")  # that may keep a job from asking its model


@dataclass(frozen=True, slots=True)
class BudgetRaise:
    """A run's budget from then on, in micro-dollars. at_ms: UTC epoch ms of the ledger's clock."""

    at_ms: int
    usd_micros: int


def asked_usd_micros(spec: Mapping[str, Any]) -> int:
    """The budget that a run was submitted with; spec: as a message."""
    return int(spec.get("budget_usd_micros") or 0)


def budget_usd_micros(spec: Mapping[str, Any], raises: Sequence[BudgetRaise]) -> int:
    """The budget that binds now."""
    return raises[-1].usd_micros if raises else asked_usd_micros(spec)


def read_raises(text: str | None) -> tuple[BudgetRaise, ...]:
    """As raise_budget.lua writes them: [[at_ms, micros], ...] in their order."""
    rows = json.loads(text) if text else []
    return tuple(BudgetRaise(int(at_ms), int(usd_micros)) for at_ms, usd_micros in rows)


def read_unfunded(run: Mapping[str, str]) -> dict[str, int]:
    """Budget -> done jobs that it kept from asking, from the fields of a run's hash."""
    counted = {budget: int(run.get(f"unfunded:{budget}") or 0) for budget in BUDGETS}
    return {budget: jobs for budget, jobs in counted.items() if jobs > 0}
