"""Whole runs in one process: verdicts recomputed to the last digit, one symbol, bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest

from alphamill.clock import ManualClock
from alphamill.controls.markets import ControlMarket, klines_of
from alphamill.controls.planted import OfflineChat, Search, _spec
from alphamill.evaluation import probability_of_backtest_overfitting
from alphamill.factors import parse
from alphamill.factors.likeness import complexity_nodes, shared_subtree_frac
from alphamill.flow import plan
from alphamill.lake import Lake, run_key
from alphamill.llm.scripted import ScriptedChat
from alphamill.market import FakeExchange
from alphamill.replay.factor import recheck
from alphamill.runs.schemas import RunDeps, read_rows
from alphamill.testing.mill import InlineMill

MARKET = ControlMarket(seed=11, n_symbols=5, n_bars=700)


def run_of(folder, market=MARKET, chat=None, change=lambda bars: bars, **changes):
    exchange = FakeExchange(ManualClock(market.end_ms + 86_400_000))
    for symbol, bars in market.bars().items():
        exchange.add(symbol, market.interval, klines_of(change(bars), market.interval))
    mill = InlineMill(Lake(str(folder)), exchange, chat or OfflineChat(1), indicators=False)
    spec = replace(_spec(market, Search(candidates=3), str(folder)), **changes)
    return mill, spec, mill.work(spec, plan(spec))


class Says:
    """A model that names these expressions in every call and vetoes nothing."""

    def __init__(self, *expressions):
        self.expressions = expressions

    def complete(self, request):
        candidates = [{"expression": text, "hypothesis": "", "horizon_bars": None,
                       "direction": None} for text in self.expressions]  # fmt: skip
        keeps = '"keep"' in request.messages[0].content
        said = {"keep": [], "veto": []} if keeps else {"candidates": candidates}
        return ScriptedChat([json.dumps(said)]).complete(request)

    def models(self):
        return []


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    mill, spec, _ = run_of(tmp_path_factory.mktemp("lake"))
    return mill, spec


def test_every_verdict_is_recomputed_to_the_last_digit_and_leaves_no_trace(worked):
    mill, spec = worked
    deps = RunDeps(mill.lake, spec.run_id, spec)
    files = {key: mill.lake.read_bytes(key) for key in mill.lake.list("")}
    factors = mill.table(spec, "factors")
    assert len(factors) > 2
    for row in factors:
        done = recheck(row, deps)
        assert done.equal, done.differences
        assert done.columns > 70
        assert done.verdict == row["verdict"]
    assert {key: mill.lake.read_bytes(key) for key in mill.lake.list("")} == files


@pytest.mark.parametrize("column", ["discovery_rank_ic_t", "holdout_net_sharpe", "deflated_sharpe",
                                    "pbo", "residual_t", "bh_p"])  # fmt: skip
def test_a_last_digit_that_was_changed_is_found(worked, column):
    mill, spec = worked
    row = mill.table(spec, "factors")[1]
    forged = row | {column: float(np.nextafter(row[column], np.inf))}
    done = recheck(forged, RunDeps(mill.lake, spec.run_id, spec))
    assert [one.column for one in done.differences] == [column]


def test_pbo_is_of_all_trials_and_the_clusters_are_no_more_than_they(worked):
    mill, spec = worked
    rows = read_rows(mill.lake, run_key(spec.run_id, "validation"))
    series = [row["gross_returns"] for row in rows if row["gross_returns"]]
    length = min(map(len, series))
    matrix = np.array([one[-length:] for one in series]).T
    expected = probability_of_backtest_overfitting(matrix, 12)
    for row in mill.table(spec, "factors"):
        assert row["pbo"] == expected
        assert 1 <= row["n_clusters"] <= len(series)


def test_novelty_is_beside_better_finalists(worked):
    mill, spec = worked
    factors = sorted(mill.table(spec, "factors"), key=lambda row: row["rank"])
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
    mill, spec, ledger = run_of(tmp_path, market)
    assert ledger.run(spec.run_id).state == "done"
    trials = [row for row in mill.table(spec, "trials") if row["status"] == "evaluated"]
    assert trials
    for row in trials:
        score = json.loads(row["score"])
        assert row["rank_ic_mean"] is None
        assert row["ic_mean"] is None
        assert score["time_series_rank_corr"] is not None
        assert score["time_series_t"] is not None
        assert row["gross_sharpe"] is not None
    for row in mill.table(spec, "factors"):
        gates = {gate["name"]: gate for gate in json.loads(row["gates"])}
        assert gates["validation_t"]["value"] is not None
        assert row["validation_rank_ic_mean"] is None
        assert recheck(row, RunDeps(mill.lake, spec.run_id, spec)).equal
