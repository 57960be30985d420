"""Where replies that were paid for are kept, with the money of every attempt.

A call moves open -> settled | unknown | failed. The order of a call: `admit` (a settled reply costs
nothing; else its turn and its money), send, then exactly one of `settle`, `release`, `lose` or
`cancel`. A caller that dies in between leaves its reservation counted; the next `reserve` of the
same call turns it into `unknown` and makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from alphamill.errors import RetryLater
from alphamill.llm.journal.budget import BudgetExhausted, BudgetState, Caps, Fit, refusal
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import Message
from alphamill.redis_store import ScriptCall

HELD_RETRY_S = 2.0


def nothing() -> None:
    """Nothing else is to be written."""


class Turn(Protocol):
    """A call's turn at its tier."""

    def at_once(self) -> ScriptCall[Any] | None:
        """What books it if it need not wait, in a step of the journal's; None if nothing can.

        It answers JSON with `granted`, which reads as the slot, or None if nothing was booked.
        """

    def take(self, slot: Any) -> None:
        """It was booked so."""

    def wait(self) -> None:
        """Book it, and wait for it. Raises RetryLater if it is far."""


class Journal(Protocol):
    """Where replies and budgets are kept. Every method may raise RetryLater: no store, no calls."""

    def lookup(self, run: str, call_id: str) -> CallRecord | None:
        """The settled record that answers a call, or None."""

    def look(self, run: str, call_id: str, day: str) -> tuple[CallRecord | None, BudgetState]:
        """`lookup`, and both accounts as they stand, in one step."""

    def admit(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps, turn: Turn
    ) -> CallRecord | None:
        """`reserve` once the call has its turn, in one step with it where it need not wait.

        Nobody waits for a turn whose call is answered, or that the budget would refuse anyway.
        """

    def reserve(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps
    ) -> CallRecord | None:
        """Set `record.reserved_usd_micros` aside in both budgets; safe to repeat.

        Returns the answer instead, if another caller settled the call meanwhile. Raises
        BudgetExhausted, or RetryLater while calls under way hold what this one needs.
        """

    def settle(self, record: CallRecord, also: Callable[[], object] = nothing) -> CallRecord:
        """Charge `record.cost_usd_micros` and store the reply, in one step; safe to repeat.

        also: what else is written once this is; it may be in the same trip, and must be safe to
        repeat too.
        Returns the record that answers the call: another's, if that was settled first.
        """

    def release(self, record: CallRecord) -> None:
        """Give the money back: the attempt failed and was certainly not billed."""

    def lose(self, record: CallRecord) -> None:
        """Count the money as spent: the attempt failed and may have been billed."""

    def cancel(self, record: CallRecord) -> None:
        """Give the money back and forget the attempt: nothing was sent."""

    def state(self, run: str, day: str) -> BudgetState:
        """Both accounts as they stand."""

    def calls(self, run: str) -> Iterator[CallRecord]:
        """Every attempt of a run, by start time."""

    def prompt(self, record: CallRecord) -> tuple[Message, ...]:
        """The messages of an attempt as sent."""


def refuse(verdict: Fit, account: str, micros: int, cap: int, left: int) -> None:
    """Raise what the verdict calls for; FITS passes."""
    if verdict is Fit.EXHAUSTED:
        raise BudgetExhausted(refusal(account, micros, cap, left), account, micros)
    if verdict is Fit.HELD:
        reason = f"calls under way hold the {account}'s budget"
        raise RetryLater(reason, HELD_RETRY_S, counts=False)
