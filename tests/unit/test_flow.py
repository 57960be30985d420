"""The plan of a run: every job once, in order, with edges that mean what they say."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import FetchJob, FundingJob, RunKind, RunSpec
from alphamill.testing import spec_of

JAN_2024, MAR_2024 = 1_704_067_200_000, 1_709_251_200_000
DAY = 86_400_000


def spec(kind=RunKind.MINE, symbols=("AUSDT", "BUSDT"), **more):
    return spec_of(*symbols, kind=kind, **{"start_ms": JAN_2024, "end_ms": MAR_2024} | more)


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


@pytest.mark.parametrize(
    ("interval", "start", "opens"),
    [
        (Interval.W1, "2020-08-11", "2020-08-10"),  # SOLUSDT was listed on the 11th
        (Interval.D1, "2020-08-11T06:00", "2020-08-11"),
        (Interval.D3, "2024-01-02", "2024-01-01"),
        (Interval.MO1, "2020-08-11", "2020-08-01"),
        (Interval.W1, "2024-02-01", "2024-01-29"),  # in the month before
        (Interval.H1, "2020-08-11", "2020-08-11"),
    ],
)
def test_a_range_that_begins_on_the_day_of_listing_has_the_first_bar(interval, start, opens):
    start_ms, opens_ms = (int(np.datetime64(t, "ms").astype(np.int64)) for t in (start, opens))
    asked = spec(
        RunKind.FETCH, intervals=(interval,), start_ms=start_ms, end_ms=JAN_2024 + 90 * DAY
    )
    jobs = [job.message for job in plan(asked) if job.message["symbol"] == "AUSDT"]
    assert jobs[0]["start_ms"] == opens_ms
    assert jobs[-1]["end_ms"] == asked.end_ms
    assert all(a["end_ms"] == b["start_ms"] for a, b in pairwise(jobs))


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
    hour = Interval.H1.ms
    run = spec(RunKind.FETCH, ("AUSDT",), start_ms=JAN_2024 + hour, end_ms=MAR_2024 - hour)
    first, second = (FetchJob.from_message(job.message) for job in plan(run))
    assert first.start_ms == JAN_2024 + 3_600_000
    assert first.end_ms == second.start_ms
    assert second.end_ms == MAR_2024 - 3_600_000


def test_a_spec_survives_the_trip_through_json():
    run = spec(strategy="x", expressions=("rank(close)",))
    assert RunSpec.from_message(run.to_message()) == run


def funded(market=Market.USD_M, **more):
    return spec(market=market, intervals=(Interval.H1, Interval.H4), rounds=1, **more)


def of_stage(spec, stage):
    return [job for job in plan(spec) if job.stage == stage]


@pytest.mark.parametrize("kind", [RunKind.FETCH, RunKind.MINE, RunKind.EVALUATE])
@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_one_funding_job_a_symbol_whatever_its_intervals_and_months(kind, market):
    jobs = of_stage(funded(kind=kind, market=market), "funding")
    assert [FundingJob.from_message(job.message) for job in jobs] == [
        FundingJob(market, symbol, JAN_2024, MAR_2024 + 60_000) for symbol in funded().symbols
    ]
    assert {job.queue for job in jobs} == {"fetch"}
    assert {job.goal for job in jobs} == {kind is RunKind.FETCH}


def test_every_panel_waits_for_funding_and_does_not_need_it():
    funding = {job.id for job in of_stage(funded(), "funding")}
    panels = of_stage(funded(), "panel")
    assert len(panels) == 2
    assert all(funding <= set(panel.after) and not funding & set(panel.needs) for panel in panels)


@pytest.mark.parametrize("kind", RunKind)
def test_spot_has_no_funding_and_is_otherwise_the_same(kind):
    spot, futures = (funded(kind=kind, market=market) for market in (Market.SPOT, Market.USD_M))
    assert not of_stage(spot, "funding")
    assert len([job for job in plan(futures) if job.stage != "funding"]) == len(plan(spot))


def test_features_and_comparisons_do_not_fetch_funding():
    assert not of_stage(funded(kind=RunKind.FEATURES), "funding")
    assert not of_stage(funded(kind=RunKind.FETCH, verify_frac=1.0), "funding")
