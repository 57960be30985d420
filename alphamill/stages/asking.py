"""What a stage that asks a model works with: propose and veto."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from alphamill.frames import Interval
from alphamill.ledger import BudgetRaise
from alphamill.llm.call import Call, PaidReply
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import Message
from alphamill.llm.prompts import PROMPT_VERSION, Setting
from alphamill.llm.replies import json_schema
from alphamill.runs.schemas import RunDeps
from alphamill.settings import Tier


class Asks(Protocol):
    """The way to a model: `llm.gateway.Gateway`."""

    def ask(self, call: Call) -> PaidReply: ...
    def answered(self, run: str, call_id: str) -> CallRecord | None: ...


@dataclass(frozen=True, slots=True)
class AskingDeps(RunDeps):
    """day_budget_usd_micros: the cap over all runs of a UTC day.

    retries: attempts at this job that failed before. age_s: since the run was submitted. raises:
    of the run's budget.
    """

    gateway: Asks
    day_budget_usd_micros: int
    call_id: str  # of the job: asked again, it is answered from the journal
    retries: int = 0
    age_s: float = 0.0
    raises: Sequence[BudgetRaise] = ()

    def ask(
        self, tier: Tier, messages: tuple[Message, ...], reply: type[BaseModel], part: str = ""
    ) -> PaidReply:
        """The tier's answer in the form of `reply`; part: names a job's second call.

        Raises what the gateway does: BudgetExhausted, RetryLater, GiveUp.
        """
        return self.gateway.ask(
            Call(
                run=self.run_id,
                call_id=self._part(part),
                tier=tier.value,
                tier_settings=self.spec.tiers[tier],
                messages=messages,
                caps=Caps(self._budget_usd_micros, self.day_budget_usd_micros),
                schema=json_schema(reply),
                prompt_version=PROMPT_VERSION,
                retries=self.retries,
            )
        )

    def answered(self, part: str = "") -> CallRecord | None:
        """What `ask` would be answered from at no cost, if anything."""
        return self.gateway.answered(self.run_id, self._part(part))

    def _part(self, part: str) -> str:
        return f"{self.call_id}.{part}" if part else self.call_id

    @property
    def _budget_usd_micros(self) -> int:
        return self.raises[-1].usd_micros if self.raises else self.spec.budget_usd_micros

    def setting(self, interval: Interval) -> Setting:
        """What every prompt about an interval is told of the run."""
        return Setting(interval.value, self.spec.strategy, sorted(self.spec.groups))
