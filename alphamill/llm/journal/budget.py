"""Accounts of a run and of a UTC day, and the rule that decides whether a call may be made.

An account holds what is `spent`, what is `reserved` for calls under way, and what is `unknown`:
reserved for calls whose outcome nobody saw, and therefore counted as spent. A reservation is
granted only if these three and the new amount together are within the cap, so they never pass the
cap as long as no reply costs more than its reservation. Should one do so, the true amount is
written down and `overruns` counts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from alphamill.errors import GiveUp

# How long an unsettled reservation may be a call under way: past any call's deadline.
HOLD_S = 300.0


class BudgetExhausted(GiveUp):
    """The call's worst case does not fit into what is left of a budget; nothing was sent.

    budget: whose, "run" or "day". needs_usd_micros: that worst case.
    """

    def __init__(self, reason: str, budget: str = "run", needs_usd_micros: int = 0) -> None:
        super().__init__(reason)
        self.args = (reason, budget, needs_usd_micros)
        self.budget = budget
        self.needs_usd_micros = needs_usd_micros


class Fit(StrEnum):
    """What a budget says to a call."""

    FITS = "fits"
    HELD = "held"  # would fit if the calls under way cost less than they reserved: ask again
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Account:
    """Money of a run or a day, in integer micro-dollars; `cap` as of the last reservation."""

    spent_usd_micros: int = 0
    reserved_usd_micros: int = 0
    unknown_usd_micros: int = 0
    unknown_calls: int = 0
    settled_calls: int = 0
    overruns: int = 0
    cap_usd_micros: int = 0
    held_until_ms: int = 0  # no call under way is older than this
    # When a call of the run, or by the day's budget, was last refused for good; for people.
    exhausted_ms: int = field(default=0, compare=False)

    @property
    def committed_usd_micros(self) -> int:
        """All that the cap must cover."""
        return self.spent_usd_micros + self.reserved_usd_micros + self.unknown_usd_micros

    def fit(self, micros: int, cap: int, now_ms: int) -> Fit:
        """Whether `micros` more are within `cap`."""
        if self.committed_usd_micros + micros <= cap:
            return Fit.FITS
        gone = self.spent_usd_micros + self.unknown_usd_micros
        return Fit.HELD if gone + micros <= cap and now_ms < self.held_until_ms else Fit.EXHAUSTED


@dataclass(frozen=True, slots=True)
class BudgetState:
    """Both accounts that a call is charged to."""

    run: Account
    day: Account


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that a run and a UTC day may cost."""

    run_usd_micros: int
    day_usd_micros: int


def utc_day(now_ms: int) -> str:
    """For example "2026-11-22"."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def refusal(account: str, micros: int, cap: int, left: int) -> str:
    """What a person reads when a budget is spent; what to do depends on all that it leaves out."""
    return (
        f"the {account}'s budget of {_usd(cap)} has {_usd(max(0, left))} left and this call may "
        f"cost {_usd(micros)}"
    )


def _usd(micros: int) -> str:
    return f"${micros / 1e6:.6f}".rstrip("0").rstrip(".")
