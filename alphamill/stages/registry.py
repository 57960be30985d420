"""Every stage, declared once: its name, its queue, the jobs that it takes and how they are done.

Celery's routes and tasks, the plan of a run, replays and the mill in one process read this table. A
new stage is a file with `run(job, deps) -> Facts`, and here a record with the function that makes
its deps. That function imports the file when its first job comes: who only routes jobs, or plans
them, loads neither Arrow's files nor HTTP clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from alphamill.jobs import (
    EvaluateJob,
    Facts,
    FeaturesJob,
    FetchJob,
    FundingJob,
    Message,
    PanelJob,
    ProposeJob,
    PublishJob,
    Queue,
    RankJob,
    ReverifyJob,
    ScoreJob,
    ValidateJob,
    VerifyJob,
    VetoJob,
)
from alphamill.settings import Tier

if TYPE_CHECKING:
    from alphamill.clock import Clock
    from alphamill.frames import Market
    from alphamill.ledger import JobRecord
    from alphamill.llm.journal.records import CallRecord
    from alphamill.market import Archive, Exchange, FundingExchange
    from alphamill.runs.schemas import RunDeps
    from alphamill.stages.asking import AskingDeps, Asks
    from alphamill.stages.fetch import FetchDeps

JobT = TypeVar("JobT", bound=Message)


class Resources(Protocol):
    """What a process offers its jobs: connections and clients, or what stands for them."""

    @property
    def clock(self) -> Clock:
        """What tells which files the archive may have."""

    @property
    def gateway(self) -> Asks:
        """The way to the models."""

    @property
    def day_budget_usd_micros(self) -> int:
        """What all runs of a UTC day may spend on models."""

    def exchange(self, market: Market) -> Exchange:
        """Where bars come from."""

    def funding(self, market: Market) -> FundingExchange:
        """Where settlements of funding come from."""

    def archive(self, market: Market) -> Archive | None:
        """The exchange's archive, if it is to be used."""

    def count(self, run_id: str, market: Market, landed: Mapping[str, int]) -> None:
        """For whoever watches the run: add what a job of its market data did."""

    def age_s(self, run_id: str) -> float:
        """Seconds since the run was submitted."""

    def dead(self, run_id: str) -> Iterable[JobRecord]:
        """The run's jobs that ended badly."""

    def calls(self, run_id: str) -> Iterable[CallRecord]:
        """What the run asked of models."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """What surrounds a job. attempt: from 1, without waits that were nobody's fault.

    indicators: whether panels hold the indicators' columns beside the bars'.
    """

    run: RunDeps
    job_id: str
    attempt: int
    resources: Resources
    indicators: bool = True


@dataclass(frozen=True, slots=True)
class Stage(Generic[JobT]):
    """How one kind of job is named, where it waits, and what does it."""

    #: part of its jobs' ids; their stage in the ledger
    name: str
    #: where its jobs wait for a worker
    queue: Queue
    #: what a job asks for
    job_type: type[JobT]
    #: makes the stage's deps of what surrounds the job, and runs it; safe to repeat
    work: Callable[[JobT, JobContext], Facts]
    #: the only tier whose jobs it takes; None: it takes every job of its type
    tier: Tier | None = None

    @property
    def task(self) -> str:
        """The name of its Celery task."""
        return task_name(self.name)

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


def _fetch(job: FetchJob, context: JobContext) -> Facts:
    """Bring one symbol-month of klines into the lake. Safe to repeat."""
    from alphamill.stages import fetch

    facts = fetch.run(job, _kline_sources(job.market, context))
    context.resources.count(context.run.run_id, job.market, facts.landed)
    return facts


def _funding(job: FundingJob, context: JobContext) -> Facts:
    """Bring a contract's settlements of funding into the lake. Safe to repeat."""
    from alphamill.stages import funding

    own = context.resources
    exchange, archive = own.funding(job.market), own.archive(job.market)
    deps = funding.FundingDeps(exchange, context.run.lake, archive, own.clock)
    facts = funding.run(job, deps)
    own.count(context.run.run_id, job.market, facts.landed)
    return facts


def _reverify(job: ReverifyJob, context: JobContext) -> Facts:
    """Compare a month with API and archive and replace what was corrected. Safe to repeat."""
    from alphamill.stages import reverify

    facts = reverify.run(job, _kline_sources(job.market, context))
    context.resources.count(context.run.run_id, job.market, facts.landed)
    return facts


def _kline_sources(market: Market, context: JobContext) -> FetchDeps:
    from alphamill.stages.fetch import FetchDeps

    own = context.resources
    return FetchDeps(own.exchange(market), context.run.lake, own.archive(market), own.clock)


def _features(job: FeaturesJob, context: JobContext) -> Facts:
    """Compute a symbol's indicators into the lake. Safe to repeat."""
    from alphamill.stages import features

    return features.run(job, features.FeaturesDeps(context.run.lake))


def _panel(job: PanelJob, context: JobContext) -> Facts:
    """Take the run's snapshot of all symbols, cut into segments. Safe to repeat."""
    from alphamill.stages import panel

    run = context.run
    return panel.run(job, panel.PanelDeps(run.lake, run.spec, indicators=context.indicators))


def _propose(job: ProposeJob, context: JobContext) -> Facts:
    """Ask a model for ideas, or to refine the best. A settled call is not paid again."""
    from alphamill.stages import propose

    return propose.run(job, _asking(context))


def _evaluate(job: EvaluateJob, context: JobContext) -> Facts:
    """Score one shard of a round's candidates on discovery. Safe to repeat."""
    from alphamill.stages import evaluate

    return evaluate.run(job, context.run)


def _score(job: ScoreJob, context: JobContext) -> Facts:
    """Score given expressions over the whole range. Safe to repeat."""
    from alphamill.stages import score

    return score.run(job, context.run)


def _validate(job: ValidateJob, context: JobContext) -> Facts:
    """Score one shard of the trials on validation. Safe to repeat."""
    from alphamill.stages import validate

    return validate.run(job, context.run)


def _rank(job: RankJob, context: JobContext) -> Facts:
    """Rank the trials by validation and choose the finalists. Safe to repeat."""
    from alphamill.stages import rank

    return rank.run(job, context.run)


def _veto(job: VetoJob, context: JobContext) -> Facts:
    """Ask which finalists to stop. A settled call is not paid again."""
    from alphamill.stages import veto

    return veto.run(job, _asking(context))


def _asking(context: JobContext) -> AskingDeps:
    from alphamill.stages.asking import AskingDeps

    run, own = context.run, context.resources
    return AskingDeps(
        run.lake,
        run.run_id,
        run.spec,
        own.gateway,
        own.day_budget_usd_micros,
        call_id=context.job_id,
        retries=context.attempt - 1,
        age_s=own.age_s(run.run_id),
    )


def _verify(job: VerifyJob, context: JobContext) -> Facts:
    """Open the holdout for the finalists and judge them. Safe to repeat."""
    from alphamill.stages import verify

    return verify.run(job, context.run)


def _publish(job: PublishJob, context: JobContext) -> Facts:
    """Gather the run's results into its parquet files. Safe to repeat."""
    from alphamill.stages import publish

    run, own = context.run, context.resources
    missing = publish.missing_rows(own.dead(run.run_id))
    deps = publish.PublishDeps(run.lake, run.run_id, run.spec, own.calls(run.run_id), missing)
    return publish.run(job, deps)


_DECLARED: tuple[Stage[Any], ...] = (
    Stage("fetch", Queue.FETCH, FetchJob, _fetch),
    Stage("funding", Queue.FETCH, FundingJob, _funding),
    Stage("reverify", Queue.FETCH, ReverifyJob, _reverify),
    Stage("features", Queue.FEATURES, FeaturesJob, _features),
    Stage("panel", Queue.FEATURES, PanelJob, _panel),
    Stage("propose.quick_scan", Queue.QUICK_SCAN, ProposeJob, _propose, Tier.QUICK_SCAN),
    Stage(
        "propose.detailed_analysis",
        Queue.DETAILED_ANALYSIS,
        ProposeJob,
        _propose,
        Tier.DETAILED_ANALYSIS,
    ),
    Stage("evaluate", Queue.EVALUATE, EvaluateJob, _evaluate),
    Stage("score", Queue.EVALUATE, ScoreJob, _score),
    Stage("validate", Queue.EVALUATE, ValidateJob, _validate),
    Stage("rank", Queue.EVALUATE, RankJob, _rank),
    Stage("veto", Queue.FINAL_VERIFICATION, VetoJob, _veto),
    Stage("verify", Queue.EVALUATE, VerifyJob, _verify),
    Stage("publish", Queue.CONTROL, PublishJob, _publish),
)
STAGES: dict[str, Stage[Any]] = {stage.name: stage for stage in _DECLARED}
