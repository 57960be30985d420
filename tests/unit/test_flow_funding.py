"""Which runs fetch funding, and who waits for it."""

from dataclasses import replace

import pytest

from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FundingJob, RunKind, RunSpec

JANUARY, MARCH = Month(2023, 1), Month(2023, 3)
SPEC = RunSpec(RunKind.MINE, "lake", Market.USD_M, ("BTCUSDT", "ETHUSDT"),
               (Interval.H1, Interval.H4), JANUARY.start_ms, MARCH.end_ms, rounds=1)  # fmt: skip


def of_stage(spec, stage):
    return [job for job in plan(spec) if job.stage == stage]


@pytest.mark.parametrize("kind", [RunKind.FETCH, RunKind.MINE, RunKind.EVALUATE])
@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_one_job_a_symbol_whatever_its_intervals_and_months(kind, market):
    jobs = of_stage(replace(SPEC, kind=kind, market=market), "funding")
    assert [FundingJob.from_message(job.message) for job in jobs] == [
        FundingJob(market, symbol, JANUARY.start_ms, MARCH.end_ms + 60_000)
        for symbol in SPEC.symbols
    ]
    assert {job.queue for job in jobs} == {"fetch"}
    assert {job.goal for job in jobs} == {kind is RunKind.FETCH}


def test_every_panel_waits_for_it_and_does_not_need_it():
    funding = {job.id for job in of_stage(SPEC, "funding")}
    panels = of_stage(SPEC, "panel")
    assert len(panels) == 2
    assert all(funding <= set(panel.after) and not funding & set(panel.needs) for panel in panels)


@pytest.mark.parametrize("kind", RunKind)
def test_spot_is_as_it_was(kind):
    spec = replace(SPEC, kind=kind, market=Market.SPOT)
    assert not of_stage(spec, "funding")
    futures = [job for job in plan(replace(spec, market=Market.USD_M)) if job.stage != "funding"]
    assert len(futures) == len(plan(spec))


def test_features_and_comparisons_do_not_fetch_it():
    assert not of_stage(replace(SPEC, kind=RunKind.FEATURES), "funding")
    assert not of_stage(replace(SPEC, kind=RunKind.FETCH, verify_frac=1.0), "funding")
