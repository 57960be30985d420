"""The evaluate pool's doorways."""

from __future__ import annotations

from alphamill.jobs import EvaluateJob, RankJob, ScoreJob, ValidateJob, VerifyJob
from alphamill.stages import evaluate, score, validate, verify
from alphamill.stages.trials import RunDeps
from workers.resources import Resources
from workers.task import Facts, task


def _deps(run_id: str, tools: Resources) -> RunDeps:
    spec = tools.spec(run_id)
    return RunDeps(tools.lake(spec.lake), run_id, spec)


@task("evaluate", EvaluateJob)
def evaluate_candidates(job: EvaluateJob, run_id: str, tools: Resources) -> Facts:
    """Score one shard of a round's candidates on discovery. Safe to repeat."""
    return evaluate.run(job, _deps(run_id, tools))


@task("score", ScoreJob)
def score_expressions(job: ScoreJob, run_id: str, tools: Resources) -> Facts:
    """Score given expressions over the whole range. Safe to repeat."""
    return score.run(job, _deps(run_id, tools))


@task("validate", ValidateJob)
def validate_trials(job: ValidateJob, run_id: str, tools: Resources) -> Facts:
    """Score one shard of the trials on validation. Safe to repeat."""
    return validate.run_validate(job, _deps(run_id, tools))


@task("rank", RankJob)
def rank_trials(job: RankJob, run_id: str, tools: Resources) -> Facts:
    """Rank the trials by validation and choose the finalists. Safe to repeat."""
    return validate.run_rank(job, _deps(run_id, tools))


@task("verify", VerifyJob)
def verify_finalists(job: VerifyJob, run_id: str, tools: Resources) -> Facts:
    """Open the holdout for the finalists and judge them. Safe to repeat."""
    return verify.run(job, _deps(run_id, tools))
