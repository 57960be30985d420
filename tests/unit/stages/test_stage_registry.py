"""A stage is a file and a record: all who route, plan or work jobs read the record."""

import runpy
from dataclasses import dataclass

import pytest
from celery import Celery

from alphamill import flow, mill
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.frames import Interval
from alphamill.jobs import Facts, Message, Queue
from alphamill.lake import Lake, run_key
from alphamill.replay import run as replaying
from alphamill.stages.registry import STAGES, Stage, stage_of
from alphamill.testing import work_market
from workers import tasks


@dataclass(frozen=True, slots=True)
class ToyJob(Message):
    """Count the verdicts."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class ToyFacts(Facts):
    verdicts: int


def count_verdicts(job, context):
    run = context.run
    count = len(run.lake.list(run_key(run.run_id, f"verdicts/interval={job.interval.value}")))
    run.lake.write_bytes(run_key(run.run_id, "toy.txt"), str(count).encode())
    return ToyFacts(count)


@pytest.fixture
def toy(monkeypatch):
    stage = Stage("toy", Queue.EVALUATE, ToyJob, count_verdicts)
    monkeypatch.setitem(STAGES, "toy", stage)
    return stage


def test_it_has_a_task_and_a_route(toy):
    celery = Celery(set_as_current=False)
    tasks.register(celery)
    assert celery.tasks["alphamill.toy"].__doc__ == "Count the verdicts."
    assert runpy.run_module("celeryconfig")["task_routes"]["alphamill.toy"] == {"queue": "evaluate"}


def test_it_is_worked_where_the_plan_has_it_and_again_in_a_replay(toy, tmp_path, monkeypatch):
    def plan(spec):
        *jobs, publish = flow.plan(spec)
        return [*jobs, flow._job(ToyJob(spec.intervals[0]), needs=jobs[-1].needs), publish]

    monkeypatch.setattr(mill, "plan", plan)
    monkeypatch.setattr(replaying, "plan", plan)
    market = ControlMarket(seed=5, n_symbols=4, n_bars=600)
    got = work_market(tmp_path / "lake", market, Search(candidates=2))
    job = got.jobs[-2]
    assert (job.stage, job.queue, job.result) == ("toy", "evaluate", {"verdicts": 1})
    scratch = Lake(str(tmp_path / "scratch"))
    again = replaying.replay(got.published, scratch)
    assert (again.equal, again.failed) == (True, ())
    assert scratch.read_bytes(run_key(got.spec.run_id, "toy.txt")) == b"1"


def test_a_job_that_no_stage_takes_is_a_mistake_in_the_plan():
    with pytest.raises(LookupError, match="ToyJob"):
        stage_of(ToyJob(Interval.H1))
