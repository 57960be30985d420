"""The plan of a run: every job once, in order, with edges that mean what they say."""

from collections import Counter

import pytest

from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import FetchJob, RunKind, RunSpec

JAN_2024, MAR_2024 = 1_704_067_200_000, 1_709_251_200_000


def spec(kind=RunKind.MINE, symbols=("AUSDT", "BUSDT"), intervals=(Interval.H1,), **more):
    return RunSpec(
        kind=kind,
        lake="/lake",
        market=Market.SPOT,
        symbols=symbols,
        intervals=intervals,
        start_ms=JAN_2024,
        end_ms=MAR_2024,
        **more,
    )


def test_a_mining_run_has_every_stage_in_its_number():
    stages = Counter(job.stage for job in plan(spec(rounds=2, shards=2)))
    assert stages == {
        "fetch": 4,
        "features": 2,
        "panel": 1,
        "propose.quick_scan": 4,
        "evaluate": 8,
        "propose.detailed_analysis": 2,
        "validate": 2,
        "rank": 1,
        "veto": 1,
        "verify": 1,
        "publish": 1,
    }


@pytest.mark.parametrize("kind", list(RunKind))
def test_ids_are_unique_and_edges_point_back(kind):
    seen = set()
    for job in plan(spec(kind, intervals=(Interval.H1, Interval.H4))):
        assert job.id not in seen
        assert set(job.needs) | set(job.after) <= seen
        seen.add(job.id)


def test_equal_specs_have_equal_plans_and_ids():
    assert plan(spec()) == plan(spec())
    assert spec().run_id == spec().run_id
    assert spec(strategy="calm coins").run_id != spec().run_id


def test_a_failed_symbol_costs_no_other():
    jobs = {job.id: job for job in plan(spec())}
    panel = next(job for job in jobs.values() if job.stage == "panel")
    assert not panel.needs
    features = [job for job in jobs.values() if job.stage == "features"]
    assert {job.id for job in features} <= set(panel.after)
    assert all(not job.needs for job in features)


def test_what_computes_on_the_panel_is_skipped_without_it():
    jobs = plan(spec())
    panel = next(job.id for job in jobs if job.stage == "panel")
    behind = [job for job in jobs if job.stage in ("propose.quick_scan", "evaluate", "verify")]
    assert all(job.needs == (panel,) for job in behind)


def test_months_are_cut_at_the_range():
    run = RunSpec(
        kind=RunKind.FETCH,
        lake="/lake",
        market=Market.SPOT,
        symbols=("AUSDT",),
        intervals=(Interval.H1,),
        start_ms=JAN_2024 + 3_600_000,
        end_ms=MAR_2024 - 3_600_000,
    )
    first, second = (FetchJob.from_message(job.message) for job in plan(run))
    assert first.start_ms == JAN_2024 + 3_600_000
    assert first.end_ms == second.start_ms
    assert second.end_ms == MAR_2024 - 3_600_000


def test_a_spec_survives_the_trip_through_json():
    run = spec(strategy="x", expressions=("rank(close)",))
    assert RunSpec.from_message(run.to_message()) == run
