"""The evaluate pool's doorways."""

from __future__ import annotations

from alphamill.jobs import EvaluateJob, RankJob, ScoreJob, ValidateJob, VerifyJob
from alphamill.runs.schemas import RunDeps
from alphamill.stages import evaluate, score, validate, verify
from workers.resources import Resources
from workers.task import Facts, JobContext, task


def _deps(run_id: str, tools: Resources) -> RunDeps:
    spec = tools.spec(run_id)
    return RunDeps(tools.lake(spec.lake), run_id, spec)


@task("evaluate", EvaluateJob)
def evaluate_candidates(job: EvaluateJob, at: JobContext) -> Facts:
    """Score one shard of a round's candidates on discovery. Safe to repeat."""
    return evaluate.run(job, _deps(at.run_id, at.tools))


@task("score", ScoreJob)
def score_expressions(job: ScoreJob, at: JobContext) -> Facts:
    """Score given expressions over the whole range. Safe to repeat."""
    return score.run(job, _deps(at.run_id, at.tools))


@task("validate", ValidateJob)
def validate_trials(job: ValidateJob, at: JobContext) -> Facts:
    """Score one shard of the trials on validation. Safe to repeat."""
    return validate.run_validate(job, _deps(at.run_id, at.tools))


@task("rank", RankJob)
def rank_trials(job: RankJob, at: JobContext) -> Facts:
    """Rank the trials by validation and choose the finalists. Safe to repeat."""
    return validate.run_rank(job, _deps(at.run_id, at.tools))


@task("verify", VerifyJob)
def verify_finalists(job: VerifyJob, at: JobContext) -> Facts:
    """Open the holdout for the finalists and judge them. Safe to repeat."""
    return verify.run(job, _deps(at.run_id, at.tools))
