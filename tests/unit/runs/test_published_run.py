"""A published run is opened from the lake alone; rows and columns are each other's reverse."""

import json
import math
from dataclasses import fields, replace

import pytest

from alphamill.errors import GiveUp
from alphamill.factors import parse
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.ledger import JobState
from alphamill.runs import schemas
from alphamill.runs.failures import group_failures
from alphamill.runs.figures import Measures
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import Admission, RankedTrial, ReviewedFinalist, ValidatedTrial, as_traded
from tests import rows

H1 = Interval.H1
SPEC = RunSpec(RunKind.MINE, "/gone", Market.SPOT, ("AUSDT",), (H1,), 0, 3_600_000)
FACTOR = replace(
    rows.figures_of(rows.FACTOR, discovery={"half_life_bars": 6.0, "start_ms": 1}),
    gates=(rows.gate("validation_t", passed=True, value=3.5),),
    bh_p=math.nan,
)
TRIAL = replace(rows.TRIAL, score_text='{"n_bars":744}')


def publish(lake, **tables):
    tables = {"trials": [TRIAL], "factors": [FACTOR]} | tables
    return rows.publish(lake, "mine-1", SPEC.to_message(), **tables)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def blank(kind):
    return kind(**dict.fromkeys(one.name for one in fields(kind)))


@pytest.mark.parametrize(
    ("row", "tables"),
    [
        (TRIAL, [schemas.PROPOSALS, schemas.TRIALS, schemas.GIVEN_TRIALS, schemas.MINED_TRIALS]),
        (replace(blank(ValidatedTrial), figures=Measures()), [schemas.VALIDATION]),
        (blank(RankedTrial), [schemas.RANKING]),
        (blank(ReviewedFinalist), [schemas.VETO]),
        (FACTOR, [schemas.VERDICTS]),
        (blank(Admission), [schemas.LIBRARY]),
    ],
)
def test_a_row_has_every_column_of_its_tables_and_no_other(row, tables):
    beside = {"discovery", "validation", "holdout", "figures", "score_text"}
    columns = {name for table in tables for name in table.names}
    assert set(row.to_row()) - beside == columns


def test_what_is_written_is_read_back(lake):
    run = publish(lake)
    assert run.factors[0].gates == FACTOR.gates
    assert run.factors[0].discovery == FACTOR.discovery
    assert run.factors[0].bh_p is None  # NaN in the lake
    assert run.factors[0].traded == "-(rank(close / open))"
    assert run.trials == [TRIAL]
    assert run.calls[0].message_digests == (("", "d1"), ("", "d2"))
    assert run.usage()["totals"]["cost_usd_micros"] == 1000
    assert (run.spec, run.kind, run.missing, run.manifests) == (SPEC, RunKind.MINE, [], [])
    assert not run.offline


@pytest.mark.parametrize(
    ("expression", "traded"),
    [
        ("close / open", "-(close / open)"),
        ("-returns", "returns"),
        ("-ts_mean(rank(close / open), 3)", "ts_mean(rank(close / open), 3)"),
        ("-(close - open)", "(close - open)"),
        ("-rank(close) + rank(open)", "-(-rank(close) + rank(open))"),
        ("-rank(close) * rank(open)", "-(-rank(close) * rank(open))"),
        ("-returns ^ 2", "-(-returns ^ 2)"),
        ("-rsi_14 / 100 - rank(close)", "-(-rsi_14 / 100 - rank(close))"),
    ],
)
def test_what_is_sold_is_written_so_that_it_means_the_opposite(expression, traded):
    assert as_traded(expression, 1) == expression
    assert as_traded(expression, -1) == traded
    assert parse(traded).hash == parse(f"-({expression})").hash


def test_columns_of_a_later_version_are_none_in_an_older_lake(lake):
    publish(lake)
    for name, gone in (
        ("factors", ["holdout_looks_before", "validation_capacity_quote", "discovery_start_ms"]),
        ("factors", ["power", "power_bars_needed", "power_symbols_needed"]),
        ("trials", ["cut", "validation_capacity_quote"]),
        ("calls", ["endpoint", "provider_cost_usd_micros"]),
    ):
        key = run_key("mine-1", f"{name}.parquet")
        lake.write(key, lake.read(key).drop_columns(gone), {})
    run = PublishedRun.open(lake, "mine-1")
    factor = run.factors[0]
    assert factor.holdout_looks_before is None
    assert (factor.validation.capacity_quote, factor.validation.net_sharpe) == (None, -16.64)
    assert factor.discovery.start_ms is None
    assert (factor.power, factor.power_bars_needed, factor.power_symbols_needed) == (None,) * 3
    assert run.trials[0].cut is None
    assert run.calls[0].provider_cost_usd_micros is None


def test_json_has_the_columns_of_the_table_in_their_order_and_decoded(lake):
    run = publish(lake)
    plain = run.factors[0].to_json(schemas.VERDICTS)
    assert list(plain) == schemas.VERDICTS.names
    assert plain["reasons"] == ["a reason"]
    assert plain["gates"][0]["needed_for"] == "predictive"
    json.dumps([plain, run.trials[0].to_json(schemas.MINED_TRIALS)], allow_nan=False)
    assert run.trials[0].to_json(schemas.TRIALS)["score"] == {"n_bars": 744}


def test_what_is_missing_is_grouped_and_an_old_summary_says_only_stage_and_reason(lake):
    missing = [{"stage": "fetch", "id": f"fetch-{n}", "reason": "HTTP 451"} for n in range(2)]
    (group,) = group_failures(publish(lake, missing=missing).missing)
    assert (group.stage, group.state, group.jobs) == ("fetch", JobState.DEAD, 2)


def test_a_run_that_is_not_there_says_where_it_was_looked_for(lake):
    with pytest.raises(GiveUp, match=f"{lake.uri} has no run.json of it"):
        PublishedRun.open(lake, "mine-1")


def test_below_three_symbols_the_correlation_is_that_in_time():
    timed = Measures(time_series_rank_corr=-0.1, time_series_t=-2.0)
    assert (timed.in_time, timed.association, timed.association_t) == (True, -0.1, -2.0)
    across = Measures(rank_ic_mean=0.1, time_series_rank_corr=0.5)
    assert (across.in_time, across.association, across.association_t) == (False, 0.1, None)
    assert not Measures().in_time
