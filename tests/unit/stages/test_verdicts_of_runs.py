"""Whole runs in one process: verdicts recomputed to the last digit, one symbol, bad input."""

import json

import numpy as np
import pytest

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.evaluation import probability_of_backtest_overfitting
from alphamill.factors import parse
from alphamill.factors.likeness import complexity_nodes, shared_subtree_frac
from alphamill.lake import run_key
from alphamill.replay.factor import recheck
from alphamill.runs.rows import JudgedFactor, ValidatedTrial
from alphamill.runs.schemas import read_rows
from alphamill.testing import work_market

MARKET = ControlMarket(seed=11, n_symbols=5, n_bars=700)


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    return work_market(tmp_path_factory.mktemp("lake"), MARKET, Search(candidates=3))


def test_every_verdict_is_recomputed_to_the_last_digit_and_leaves_no_trace(worked):
    files = {key: worked.lake.read_bytes(key) for key in worked.lake.list("")}
    factors = worked.published.factors
    assert len(factors) > 2
    for factor in factors:
        done = recheck(factor, worked.deps)
        assert done.equal, done.differences
        assert done.columns > 70
        assert done.verdict == factor.verdict
    assert {key: worked.lake.read_bytes(key) for key in worked.lake.list("")} == files


@pytest.mark.parametrize(
    "column",
    ["discovery_rank_ic_t", "holdout_net_sharpe", "deflated_sharpe", "pbo", "residual_t", "bh_p"],
)
def test_a_last_digit_that_was_changed_is_found(worked, column):
    row = worked.table("factors")[1]
    forged = row | {column: float(np.nextafter(row[column], np.inf))}
    done = recheck(JudgedFactor.from_row(forged), worked.deps)
    assert [one.column for one in done.differences] == [column]


def test_pbo_is_of_all_trials_and_the_clusters_are_no_more_than_they(worked):
    prefix = run_key(worked.spec.run_id, "validation")
    rows = read_rows(worked.lake, prefix, ValidatedTrial)
    series = [row.gross_returns for row in rows if row.gross_returns]
    length = min(map(len, series))
    matrix = np.array([one[-length:] for one in series]).T
    expected = probability_of_backtest_overfitting(matrix, 12)
    for row in worked.table("factors"):
        assert row["pbo"] == expected
        assert 1 <= row["n_clusters"] <= len(series)


def test_novelty_is_beside_better_finalists(worked):
    factors = sorted(worked.table("factors"), key=lambda row: row["rank"])
    best, *others = factors
    own = best["direction"] * best["validation_rank_ic_mean"]
    # There is none better; an outage takes labels, and with them ranks, from some bars.
    assert best["residual_rank_ic"] == pytest.approx(own, rel=0.02)
    assert best["shared_subtree_frac"] == 0
    for row in others:
        assert row["residual_rank_ic"] != row["direction"] * row["validation_rank_ic_mean"]
        assert 0 <= row["shared_subtree_frac"] <= 1
        assert row["complexity_nodes"] == complexity_nodes(parse(row["expression"]))


def test_the_shared_part_of_two_expressions():
    one = parse("rank(ts_mean(close, 12) / close)")
    assert complexity_nodes(one) == 6
    assert shared_subtree_frac(one, [parse("ts_mean(close, 12)")]) == pytest.approx(3 / 6)
    assert shared_subtree_frac(one, [parse("ts_mean(close, 13)")]) == 0
    assert shared_subtree_frac(one, [parse("-rank(ts_mean(close, 12) / close)")]) == 1
    assert shared_subtree_frac(one, []) == 0


def test_one_symbol_has_figures_in_time_and_no_ic(tmp_path):
    market = ControlMarket(seed=2, n_symbols=1, n_bars=700, ragged=False)
    worked = work_market(tmp_path, market, Search(candidates=3))
    assert worked.record.state == "done"
    trials = [row for row in worked.table("trials") if row["status"] == "evaluated"]
    assert trials
    for row in trials:
        score = json.loads(row["score"])
        assert row["rank_ic_mean"] is None
        assert row["ic_mean"] is None
        assert score["time_series_rank_corr"] is not None
        assert score["time_series_t"] is not None
        assert row["gross_sharpe"] is not None
    for row in worked.table("factors"):
        gates = {gate["name"]: gate for gate in json.loads(row["gates"])}
        assert gates["validation_t"]["value"] is not None
        assert row["validation_rank_ic_mean"] is None
        assert recheck(JudgedFactor.from_row(row), worked.deps).equal
