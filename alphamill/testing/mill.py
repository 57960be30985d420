"""A run worked in this process: the plan, ledger, lake and stages of the workers, without them.

No broker, no network, no clock: what comes out is a function of the lake, the market and the chat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.jobs import (
    EvaluateJob,
    FeaturesJob,
    FetchJob,
    Message,
    PanelJob,
    ProposeJob,
    PublishJob,
    RankJob,
    RunSpec,
    ScoreJob,
    ValidateJob,
    VerifyJob,
    VetoJob,
)
from alphamill.lake import Lake, run_key
from alphamill.ledger import JobRecord, JobSpec, Ledger, MemoryLedger
from alphamill.limits import OpenGate
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.protocol import Journal
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.market import Exchange
from alphamill.runs.schemas import Row, RunDeps
from alphamill.settings import LedgerSettings, Price, Tier
from alphamill.stages import (
    evaluate,
    features,
    fetch,
    panel,
    propose,
    publish,
    score,
    validate,
    verify,
    veto,
)
from alphamill.usage import MemoryUsageCounters

_DAY_BUDGET_USD_MICROS = 10**12  # nothing here is paid for


@dataclass(frozen=True, slots=True)
class _Stage:
    run: Callable[[Any, Any], Any]
    job: type[Message]
    tools: str = ""  # what it works with; "" for stages that only compute


_PROPOSE = _Stage(propose.run, ProposeJob, "propose")
_STAGES = {
    "fetch": _Stage(fetch.run, FetchJob, "fetch"),
    "features": _Stage(features.run, FeaturesJob, "features"),
    "panel": _Stage(panel.run, PanelJob, "panel"),
    "propose.quick_scan": _PROPOSE,
    "propose.detailed_analysis": _PROPOSE,
    "evaluate": _Stage(evaluate.run, EvaluateJob),
    "score": _Stage(score.run, ScoreJob),
    "validate": _Stage(validate.run_validate, ValidateJob),
    "rank": _Stage(validate.run_rank, RankJob),
    "veto": _Stage(veto.run, VetoJob, "propose"),
    "verify": _Stage(verify.run, VerifyJob),
    "publish": _Stage(publish.run, PublishJob, "publish"),
}


class Chat(Protocol):
    """A model: what `llm.client.OpenAIChat` does."""

    def complete(self, request: ChatRequest) -> ChatReply: ...

    def models(self) -> list[str]: ...


@dataclass
class InlineMill:
    """What workers share, in memory, with a lake of any kind.

    indicators: False leaves them out, which halves the time; their jobs then do nothing.
    """

    lake: Lake
    exchange: Exchange
    chat: Chat
    indicators: bool = True
    journal: Journal = field(default_factory=MemoryJournal)
    usage: MemoryUsageCounters = field(default_factory=MemoryUsageCounters)

    def work(self, spec: RunSpec, jobs: Sequence[JobSpec]) -> Ledger:
        """Run every job as the workers would, each when those it waits for have ended.

        jobs: of `workers.flows.plan`. A job that cannot be done costs what needs it, not the run;
        the ledger that comes back says which. Nothing is tried twice: RetryLater passes through.
        """
        ledger = MemoryLedger(LedgerSettings(window=1000), ManualClock())
        ledger.open_run(spec.run_id, spec.kind.value, spec.to_message())
        ledger.add_jobs(spec.run_id, list(jobs))
        ledger.seal(spec.run_id)
        gateway = self._gateway(spec)
        hints = list(ledger.feed(spec.run_id))
        while hints:
            hint = hints.pop(0)
            claim = ledger.claim(hint.run, hint.job_id, "inline")
            if claim is None:
                continue
            try:
                facts = self._stage(spec, ledger, claim.record, gateway)
            except GiveUp as error:
                hints += ledger.fail(claim, str(error)) or ()
            else:
                hints += ledger.finish(claim, json.loads(json.dumps(facts))) or ()
        return ledger

    def table(self, spec: RunSpec, name: str) -> list[Row]:
        """Rows of a published table: trials, factors, calls."""
        rows: list[Row] = self.lake.read(run_key(spec.run_id, f"{name}.parquet")).to_pylist()
        return rows

    def _gateway(self, spec: RunSpec) -> Gateway:
        free = {tier.model: Price(input=0.0, output=0.0) for tier in spec.tiers.values()}
        gates = {tier.value: OpenGate() for tier in Tier}
        prices = PriceTable.shipped(free)
        routes = OneEndpoint(self.chat, prices, gates)
        return Gateway(routes, prices, self.journal, self.usage, ManualClock())

    def _stage(
        self, spec: RunSpec, ledger: Ledger, record: JobRecord, gateway: Gateway
    ) -> Mapping[str, Any]:
        lake = self.lake
        tools: dict[str, Any] = {
            "fetch": fetch.FetchDeps(self.exchange, lake),
            "features": features.FeaturesDeps(lake),
            "panel": panel.PanelDeps(lake, spec, indicators=self.indicators),
            "propose": propose.ProposeDeps(
                lake, spec.run_id, spec, gateway, _DAY_BUDGET_USD_MICROS, call_id=record.id
            ),
            "publish": self._publication(spec, ledger),
        }
        if record.stage == "features" and not self.indicators:
            return {}
        stage = _STAGES[record.stage]
        deps = tools.get(stage.tools, RunDeps(lake, spec.run_id, spec))
        facts = stage.run(stage.job.from_message(record.message), deps)
        return facts if isinstance(facts, dict) else facts.to_message()

    def _publication(self, spec: RunSpec, ledger: Ledger) -> publish.PublishDeps:
        missing = [
            {"stage": job.stage, "id": job.id, "reason": job.error}
            for job in ledger.dead(spec.run_id)
        ]
        calls = self.journal.calls(spec.run_id)
        return publish.PublishDeps(self.lake, spec.run_id, spec, calls, missing)
