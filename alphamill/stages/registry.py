"""Every stage, declared once: its name, its queue, the jobs that it takes and how they are done.

Celery's routes and tasks, the plan of a run, replays and the mill in one process read this table. A
new stage is a file with `run(job, deps) -> Facts`, and here a record with the function that makes
its deps. That function imports the file when its first job comes: who only routes jobs, or plans
them, loads neither Parquet nor HTTP clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from alphamill import jobs
from alphamill.jobs import Facts, Message, Queue
from alphamill.settings import Tier

if TYPE_CHECKING:
    from alphamill.clock import Clock
    from alphamill.frames import Market, Wide
    from alphamill.ledger import BudgetRaise, JobRecord
    from alphamill.llm.cutoffs import CutoffTable
    from alphamill.llm.journal.records import CallRecord
    from alphamill.llm.messages import Message as ChatMessage
    from alphamill.market import Archive, Exchange, FundingExchange, MetricsExchange
    from alphamill.market.exchange import KlineSource
    from alphamill.market.trades.api import TradeExchange
    from alphamill.runs.builds import Share
    from alphamill.runs.failures import Unasked
    from alphamill.runs.schemas import RunDeps
    from alphamill.stages.asking import AskingDeps, Asks
    from alphamill.stages.fetch import FetchDeps
    from alphamill.stages.wide import WideDeps

JobT = TypeVar("JobT", bound=Message)


class Resources(Protocol):
    """What a process offers its jobs: connections and clients, or what stands for them.

    day_budget_usd_micros: what all runs of a UTC day may spend. archive: None where it is not to be
    used. age_s: since the run was submitted. dead: the run's jobs that failed, or needed one that
    did. calls: what the run asked of models, prompt: an attempt's messages. raises: of the run's
    budget. builds: which code did its jobs. cutoffs: of models' training data.
    """

    @property
    def clock(self) -> Clock: ...
    @property
    def gateway(self) -> Asks: ...
    @property
    def day_budget_usd_micros(self) -> int: ...
    @property
    def cutoffs(self) -> CutoffTable: ...
    def exchange(self, market: Market) -> Exchange: ...
    def funding(self, market: Market) -> FundingExchange: ...
    def prices(self, market: Market, kind: Wide) -> KlineSource: ...
    def metrics(self, market: Market) -> MetricsExchange: ...
    def trades(self, market: Market) -> TradeExchange: ...
    def archive(self, market: Market) -> Archive | None: ...
    def age_s(self, run_id: str) -> float: ...
    def dead(self, run_id: str) -> Iterable[JobRecord]: ...
    def unasked(self, run: RunDeps) -> list[Unasked]: ...
    def calls(self, run_id: str) -> Iterable[CallRecord]: ...
    def builds(self, run_id: str) -> list[Share]: ...
    def prompt(self, record: CallRecord) -> Sequence[ChatMessage]: ...
    def raises(self, run_id: str) -> Sequence[BudgetRaise]: ...


@dataclass(frozen=True, slots=True)
class JobContext:
    """What surrounds a job. attempt: from 1, without waits that were nobody's fault.

    indicators: whether panels hold the indicators' columns beside the bars'. wanted: whether
    anybody still waits for the job; what takes minutes asks now and then, and stops with Unwanted.
    """

    run: RunDeps
    job_id: str
    attempt: int
    resources: Resources
    indicators: bool = True
    wanted: Callable[[], bool] = field(default=lambda: True, compare=False)


@dataclass(frozen=True, slots=True)
class Stage(Generic[JobT]):
    """How one kind of job is named, where it waits, and what does it."""

    #: part of its jobs' ids; their stage in the ledger; its Celery task is alphamill.NAME
    name: str
    #: where its jobs wait for a worker
    queue: Queue
    #: what a job asks for
    job_type: type[JobT]
    #: makes the stage's deps of what surrounds the job, and runs it; safe to repeat
    work: Callable[[JobT, JobContext], Facts]
    #: the only tier whose jobs it takes; None: it takes every job of its type
    tier: Tier | None = None
    #: seconds after which it is stopped and tried again; None: as every task
    limit_s: float | None = None

    @property
    def asks_models(self) -> bool:
        """Whether its jobs ask models, and so may be left out by a budget."""
        return self.queue in (Queue.QUICK_SCAN, Queue.DETAILED_ANALYSIS, Queue.FINAL_VERIFICATION)

    def takes(self, job: Message) -> bool:
        """Whether `job` is one of its own."""
        return type(job) is self.job_type and self.tier in (None, getattr(job, "tier", None))

    def do(self, message: Mapping[str, Any], context: JobContext) -> Facts:
        """Do the job that a message of its type asks for. Raises ValidationError for any other."""
        return self.work(self.job_type.from_message(message), context)


def task_name(stage: str) -> str:
    """The Celery task of a stage, whether this version has the stage or not."""
    return f"alphamill.{stage}"


def stage_of(job: Message) -> Stage[Any]:
    """The stage that takes a job. Raises LookupError if there is none."""
    for stage in STAGES.values():
        if stage.takes(job):
            return stage
    raise LookupError(f"no stage takes {job}")


def _fetch(job: jobs.FetchJob, context: JobContext) -> Facts:
    from alphamill.stages.fetch import run

    return run(job, _kline_sources(job.market, context))


def _funding(job: jobs.FundingJob, context: JobContext) -> Facts:
    from alphamill.stages.funding import FundingDeps, run

    source, lake = context.resources, context.run.lake
    exchange, archive = source.funding(job.market), source.archive(job.market)
    return run(job, FundingDeps(exchange, lake, archive, source.clock))


def _wide(job: jobs.WideJob, context: JobContext) -> Facts:
    from alphamill.stages.wide import run

    return run(job, _wide_sources(job.market, context))


def _recheck(job: jobs.RecheckJob, context: JobContext) -> Facts:
    from alphamill.stages.recheck import RecheckDeps, run

    source, market = context.resources, job.market
    archive = source.archive(market)
    return run(job, RecheckDeps(_wide_sources(market, context), source.funding(market), archive))


def _wide_sources(market: Market, context: JobContext) -> WideDeps:
    from alphamill.stages.wide import WideDeps

    source, archive = context.resources, context.resources.archive(market)
    prices = partial(source.prices, market)
    lake, metrics = context.run.lake, source.metrics(market)
    return WideDeps(lake, prices, metrics, archive, archive, source.clock)


def _bars(job: jobs.BarsJob, context: JobContext) -> Facts:
    from alphamill.stages.bars import BarsDeps, run

    source, lake, market = context.resources, context.run.lake, job.market
    exchange, archive = source.trades(market), source.archive(market)
    return run(job, BarsDeps(exchange, source.exchange(market), lake, archive, source.clock))


def _reverify(job: jobs.ReverifyJob, context: JobContext) -> Facts:
    from alphamill.stages.reverify import run

    return run(job, _kline_sources(job.market, context))


def _kline_sources(market: Market, context: JobContext) -> FetchDeps:
    from alphamill.stages.fetch import FetchDeps

    source, lake = context.resources, context.run.lake
    return FetchDeps(source.exchange(market), lake, source.archive(market), source.clock)


def _features(job: jobs.FeaturesJob, context: JobContext) -> Facts:
    from alphamill.stages.features import FeaturesDeps, run

    return run(job, FeaturesDeps(context.run.lake))


def _panel(job: jobs.PanelJob, context: JobContext) -> Facts:
    from alphamill.stages.panel import PanelDeps, run

    return run(job, PanelDeps(context.run.lake, context.run.spec, indicators=context.indicators))


def _propose(job: jobs.ProposeJob, context: JobContext) -> Facts:
    from alphamill.stages.propose import run

    return run(job, _asking(context))


def _evaluate(job: jobs.EvaluateJob, context: JobContext) -> Facts:
    from alphamill.stages.evaluate import run

    return run(job, context.run)


def _score(job: jobs.ScoreJob, context: JobContext) -> Facts:
    from alphamill.stages.score import run

    return run(job, context.run)


def _combine(job: jobs.CombineJob, context: JobContext) -> Facts:
    from alphamill.stages.combine import run

    return run(job, context.run, context.wanted)


def _validate(job: jobs.ValidateJob, context: JobContext) -> Facts:
    from alphamill.stages.validate import run

    return run(job, context.run)


def _rank(job: jobs.RankJob, context: JobContext) -> Facts:
    from alphamill.stages.rank import run

    return run(job, context.run)


def _veto(job: jobs.VetoJob, context: JobContext) -> Facts:
    from alphamill.stages.veto import run

    return run(job, _asking(context))


def _asking(context: JobContext) -> AskingDeps:
    from alphamill.stages.asking import AskingDeps

    run, resources = context.run, context.resources
    return AskingDeps(
        run.lake,
        run.run_id,
        run.spec,
        resources.gateway,
        resources.day_budget_usd_micros,
        call_id=context.job_id,
        retries=context.attempt - 1,
        age_s=resources.age_s(run.run_id),
        raises=resources.raises(run.run_id),
    )


def _verify(job: jobs.VerifyJob, context: JobContext) -> Facts:
    from alphamill.stages.verify import run

    return run(job, context.run)


def _publish(job: jobs.PublishJob, context: JobContext) -> Facts:
    from alphamill.stages.publish import PublishDeps, run

    source, of = context.resources, context.run
    missing = sorted(source.dead(of.run_id), key=lambda lost: lost.id)
    calls, unasked = source.calls(of.run_id), source.unasked(of)
    builds = source.builds(of.run_id)
    raises, prompt = source.raises(of.run_id), source.prompt
    known = (calls, missing, unasked, builds, raises, prompt, source.cutoffs)
    return run(job, PublishDeps(of.lake, of.run_id, of.spec, *known))


_DECLARED: tuple[Stage[Any], ...] = (
    Stage("fetch", Queue.FETCH, jobs.FetchJob, _fetch),
    Stage("funding", Queue.FETCH, jobs.FundingJob, _funding),
    Stage("wide", Queue.FETCH, jobs.WideJob, _wide),
    Stage("reverify", Queue.FETCH, jobs.ReverifyJob, _reverify),
    Stage("recheck", Queue.FETCH, jobs.RecheckJob, _recheck),
    Stage("bars", Queue.FETCH, jobs.BarsJob, _bars),
    Stage("features", Queue.FEATURES, jobs.FeaturesJob, _features),
    Stage("panel", Queue.FEATURES, jobs.PanelJob, _panel),
    Stage("propose.quick_scan", Queue.QUICK_SCAN, jobs.ProposeJob, _propose, Tier.QUICK_SCAN),
    Stage(
        "propose.detailed_analysis",
        Queue.DETAILED_ANALYSIS,
        jobs.ProposeJob,
        _propose,
        Tier.DETAILED_ANALYSIS,
    ),
    Stage("evaluate", Queue.EVALUATE, jobs.EvaluateJob, _evaluate),
    Stage("score", Queue.EVALUATE, jobs.ScoreJob, _score),
    # All draws are one job. Below the half hour after which RabbitMQ takes a message back.
    Stage("combine", Queue.EVALUATE, jobs.CombineJob, _combine, limit_s=1500),
    Stage("validate", Queue.EVALUATE, jobs.ValidateJob, _validate),
    Stage("rank", Queue.EVALUATE, jobs.RankJob, _rank),
    Stage("veto", Queue.FINAL_VERIFICATION, jobs.VetoJob, _veto),
    Stage("verify", Queue.EVALUATE, jobs.VerifyJob, _verify),
    Stage("publish", Queue.CONTROL, jobs.PublishJob, _publish),
)
STAGES: dict[str, Stage[Any]] = {stage.name: stage for stage in _DECLARED}
