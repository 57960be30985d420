"""What budgets kept a run from asking, and what would pay for it.

A call is made only if its worst case (every byte of the prompt a token, every allowed token
written) fits into what is left, so that a run may stop with money in hand. What is left out is told
with the command that goes on, and a figure that is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

from alphamill.ledger import BudgetRaise, JobRecord, Ledger, RunRecord
from alphamill.llm.journal.budget import Account
from alphamill.llm.journal.records import CallRecord
from alphamill.runs.failures import Unasked, group_unasked
from alphamill.runs.funnel import spending

# Prompts of later rounds hold up to a third more than those that were refused: what was learned.
_PROMPTS_GROW = 1.5
_DIGITS = 2  # of a figure that is told


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Calls that were left out. Money in micro-dollars.

    unfunded: how many by the run's own budget, and how many by the day's. committed: spent, set
    aside, or possibly billed. needs: the worst case of all calls left out together.
    """

    run: str
    by_run: int
    by_day: int
    budget_usd_micros: int
    committed_usd_micros: int
    needs_usd_micros: int

    @property
    def calls(self) -> int:
        """How many were left out."""
        return self.by_run + self.by_day

    @property
    def enough_usd_micros(self) -> int:
        """A budget of the whole run that pays for what was left out, rounded up to two digits.

        Of each call the worst case, with room for what its prompt learns until then, and a call
        more, for the review or the repairs that may follow.
        """
        each = self.needs_usd_micros / max(1, self.calls)
        needed = self.committed_usd_micros + _PROMPTS_GROW * (self.needs_usd_micros + each)
        return max(_rounded_up(needed), self.budget_usd_micros)

    @property
    def command(self) -> str:
        """What to type to go on."""
        if self.enough_usd_micros == self.budget_usd_micros:
            return f"alphamill resume {self.run}"
        return f"alphamill resume {self.run} --budget-usd {dollars(self.enough_usd_micros)}"

    @property
    def stopped_by(self) -> str:
        """For example "its budget of $0.004"."""
        own = f"its budget of ${dollars(self.budget_usd_micros)}"
        if not self.by_day:
            return own
        return f"{own} and the day's budget" if self.by_run else "the day's budget"

    @property
    def advice(self) -> str:
        """How to go on, as the end of a sentence."""
        when = "from 00:00 UTC on, or with a higher budget.day_usd, " if self.by_day else ""
        return f"go on {when}with: {self.command}"

    @property
    def sentence(self) -> str:
        """What happened and how to go on."""
        return f"{self.what}; {self.advice}"

    @property
    def what(self) -> str:
        """What happened."""
        calls = "1 model call" if self.calls == 1 else f"{self.calls:,} model calls"
        return f"{self.stopped_by} kept {calls} from being made"


def shortfall(
    run_id: str, unasked: Iterable[Unasked], budget_usd_micros: int, committed_usd_micros: int
) -> Shortfall | None:
    """None if no budget was in the way of any call."""
    groups = [group for group in unasked if group.unfunded]
    if not groups:
        return None
    of_day = sum(group.jobs for group in groups if group.unfunded == "day")
    return Shortfall(
        run_id,
        by_run=sum(group.jobs for group in groups) - of_day,
        by_day=of_day,
        budget_usd_micros=budget_usd_micros,
        committed_usd_micros=committed_usd_micros,
        needs_usd_micros=sum(group.needs_usd_micros for group in groups),
    )


def shortfall_of(run: RunRecord, ledger: Ledger, account: Account) -> Shortfall | None:
    """Of a run in the ledger, whose jobs are looked at only if a budget stopped any."""
    if not run.unfunded:
        return None
    return shortfall(
        run.id,
        group_unasked(_asking(ledger.jobs(run.id))),
        run.budget_usd_micros,
        account.committed_usd_micros,
    )


def _asking(jobs: Iterable[JobRecord]) -> Iterable[tuple[str, dict[str, object]]]:
    return ((job.stage, job.result) for job in jobs if job.result)


def committed_usd_micros(calls: Sequence[CallRecord]) -> int:
    """Spent by these calls or possibly billed."""
    _, paid, doubtful = spending(calls)
    return paid + doubtful


def raises_line(asked_usd_micros: int, raises: Sequence[BudgetRaise]) -> str:
    """What a run asked for and what that became; "" for a budget that stayed."""
    if not raises:
        return ""
    steps = ", ".join(
        f"raised to ${dollars(one.usd_micros)} on {_moment(one.at_ms)}" for one in raises
    )
    return f"its budget: ${dollars(asked_usd_micros)} asked for, {steps}"


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def dollars(micros: int) -> str:
    """Exactly, without zeros at the end: "0.05", "12"."""
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _rounded_up(micros: float) -> int:
    exact = Decimal(max(1.0, micros))
    step = Decimal(1).scaleb(max(0, exact.adjusted() - _DIGITS + 1))
    return int((exact / step).to_integral_value(ROUND_CEILING) * step)
