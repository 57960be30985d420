"""A run worked in this process: its plan, job after job, by the same stages as the workers'.

No broker, no ledger, no clock: what comes out is a function of the lake, the market and the models'
replies. Replays and control arms run so, and so may your own tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from alphamill.clock import Clock, ManualClock
from alphamill.errors import GiveUp
from alphamill.flow import plan
from alphamill.frames import Market, Wide
from alphamill.jobs import FeaturesJob, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.ledger import BudgetRaise, JobRecord, JobSpec, JobState
from alphamill.limits import OpenGate
from alphamill.llm.cutoffs import CutoffTable
from alphamill.llm.endpoint.client import Chat
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.protocol import Journal
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.market import (
    Exchange,
    FakeExchange,
    FakeFunding,
    FakeMetrics,
    FakeTrades,
    FundingExchange,
    MetricsExchange,
    TradeExchange,
)
from alphamill.market.exchange import KlineSource
from alphamill.runs.builds import Share
from alphamill.runs.failures import Unasked, group_unasked
from alphamill.runs.schemas import RunDeps, rows_in
from alphamill.settings import Price, Tier
from alphamill.stages.asking import Asks
from alphamill.stages.registry import STAGES, JobContext
from alphamill.usage import MemoryUsage


@dataclass
class InProcess:
    """The `Resources` of one run's jobs, in memory, and what works them.

    bars, settlements, figures, prices_of, fills: of exchanges that list nothing, unless given.
    records: of the jobs so far. indicators: whether panels hold them. budget_raises: as a ledger
    would have them.
    """

    gateway: Asks
    bars: Exchange = field(default_factory=partial(FakeExchange, ManualClock()))
    settlements: FundingExchange = field(default_factory=partial(FakeFunding, ManualClock()))
    journal: Journal = field(default_factory=MemoryJournal)
    indicators: bool = True
    figures: MetricsExchange = field(default_factory=partial(FakeMetrics, ManualClock()))
    prices_of: Mapping[Wide, KlineSource] = field(default_factory=dict)
    fills: TradeExchange = field(default_factory=partial(FakeTrades, ManualClock()))
    clock: Clock = field(default_factory=ManualClock)
    day_budget_usd_micros: int = 10**12  # a run's own budget is all that binds
    records: list[JobRecord] = field(default_factory=list)
    cutoffs: CutoffTable = field(default_factory=CutoffTable.shipped)
    budget_raises: Sequence[BudgetRaise] = ()

    def work_in_order(self, jobs: Iterable[JobSpec], run: RunDeps) -> list[JobRecord]:
        """Do every job; jobs: each after those that it waits for, as `flow.plan` has them.

        A job that cannot be done costs what needs it, not the run. Nothing is tried twice:
        RetryLater passes through.
        """
        for job in jobs:
            self.records.append(self._settled(job, run))
        return self.records

    def _settled(self, job: JobSpec, run: RunDeps) -> JobRecord:
        record = partial(JobRecord, job.id, job.stage, job.queue, dict(job.message), goal=job.goal)
        for other in self.records:
            if other.id in job.needs and other.state is not JobState.DONE:
                return record(JobState.SKIPPED, error=f"needs {other.id}: {other.error}")
        context = JobContext(run, job.id, 1, self, self.indicators)
        try:
            facts = STAGES[job.stage].do(job.message, context)
        except GiveUp as error:
            return record(JobState.DEAD, error=str(error))
        return record(JobState.DONE, result=facts.to_message())

    def exchange(self, _market: Market) -> Exchange:
        return self.bars

    def funding(self, _market: Market) -> FundingExchange:
        return self.settlements

    def prices(self, _market: Market, kind: Wide) -> KlineSource:
        return self.prices_of.get(kind) or FakeExchange(self.clock)

    def metrics(self, _market: Market) -> MetricsExchange:
        return self.figures

    def trades(self, _market: Market) -> TradeExchange:
        return self.fills

    def archive(self, _market: Market) -> None:
        return None

    def age_s(self, _run_id: str) -> float:
        return 0.0

    def dead(self, _run_id: str) -> Iterable[JobRecord]:
        return [record for record in self.records if record.state is not JobState.DONE]

    def unasked(self, _run: RunDeps) -> list[Unasked]:
        return group_unasked((record.stage, record.result or {}) for record in self.records)

    def calls(self, run_id: str) -> Iterable[CallRecord]:
        return self.journal.calls(run_id)

    def builds(self, _run_id: str) -> list[Share]:
        return []  # all of one process

    def prompt(self, record: CallRecord) -> Sequence[Message]:
        return self.journal.prompt(record)

    def raises(self, _run_id: str) -> Sequence[BudgetRaise]:
        return self.budget_raises


@dataclass
class Mill:
    """A mill in memory, but for its lake: a market and a model in, verdicts out.

    funding, metrics, prices: where those of futures come from. trades: what flow is made of.
    indicators: False leaves them out, which halves the time. price: of the models. clock: tells
    what an exchange may still have.
    """

    lake: Lake
    exchange: Exchange
    chat: Chat
    indicators: bool = True
    funding: FundingExchange = field(default_factory=partial(FakeFunding, ManualClock()))
    metrics: MetricsExchange = field(default_factory=partial(FakeMetrics, ManualClock()))
    prices: Mapping[Wide, KlineSource] = field(default_factory=dict)
    trades: TradeExchange = field(default_factory=partial(FakeTrades, ManualClock()))
    price: Price = field(default_factory=lambda: Price(input=0.0, output=0.0))
    journal: Journal = field(default_factory=MemoryJournal)
    usage: MemoryUsage = field(default_factory=MemoryUsage)
    clock: Clock = field(default_factory=ManualClock)
    cutoffs: CutoffTable = field(default_factory=CutoffTable.shipped)

    def work(self, spec: RunSpec, raises: Sequence[BudgetRaise] = ()) -> list[JobRecord]:
        """What became of the run's jobs, in the order of its plan. Done again, it asks no model.

        raises: of the run's budget; then it asks what that had left out.
        """
        jobs = [
            job
            for job in plan(spec)
            if self.indicators or STAGES[job.stage].job_type is not FeaturesJob
        ]
        process = InProcess(
            self._gateway(spec),
            self.exchange,
            self.funding,
            self.journal,
            self.indicators,
            self.metrics,
            self.prices,
            self.trades,
            self.clock,
            cutoffs=self.cutoffs,
            budget_raises=raises,
        )
        return process.work_in_order(jobs, RunDeps(self.lake, spec.run_id, spec))

    def table(self, spec: RunSpec, name: str) -> list[dict[str, Any]]:
        """Rows of a published table: trials, factors, calls."""
        return rows_in(self.lake, run_key(spec.run_id, f"{name}.parquet"))

    def _gateway(self, spec: RunSpec) -> Gateway:
        prices = PriceTable.shipped({tier.model: self.price for tier in spec.tiers.values()})
        routes = OneEndpoint(self.chat, prices, {tier.value: OpenGate() for tier in Tier})
        return Gateway(routes, prices, self.journal, self.usage, ManualClock())
