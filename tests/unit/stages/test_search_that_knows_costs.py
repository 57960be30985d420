"""Candidates that cost more than they earn: told to models, smoothed by rule, and chosen last."""

import json
import math
from dataclasses import replace

import pytest

from alphamill.controls.luck import mine_luck
from alphamill.controls.markets import ControlMarket
from alphamill.frames import Interval
from alphamill.lake import Lake
from alphamill.language import read_expression
from alphamill.replay.run import replay
from alphamill.runs.figures import Measures
from alphamill.runs.rows import RankedTrial, Trial
from alphamill.runs.schemas import read_interval, read_trials
from alphamill.search.feedback import feedback
from alphamill.search.slower import slower
from alphamill.settings import SearchSettings
from alphamill.stages import rank
from alphamill.testing import ProposingChat, work_market
from tests.unit.stages.test_search_that_learns import SPEC

MARKET = ControlMarket(seed=4, n_symbols=6, n_bars=700)
FAST = ("-returns", "rank(close / open)", "-ts_zscore(close, 6)", "ts_rank(volume, 5)")
LIMIT = 5


def trial(text, t, pays, **more):
    discovery = Measures(rank_ic_mean=0.02, rank_ic_t=t, break_even_bps=pays, turnover_per_bar=0.2)
    factor = read_expression(text)
    own = {"expression": factor.text, "hash": factor.hash, "discovery": discovery}
    return Trial(**{"interval": Interval.H1, "status": "evaluated"} | own | more)


WEAK, DEAR, DEARER, PAYS = (
    trial("rank(open)", 2.9, 1.0),
    trial("rank(close)", -4.0, 10.9),
    trial("rank(high)", 5.0, -3.0),
    trial("rank(low)", 6.0, 11.0),
)


def test_what_predicts_and_does_not_pay_is_smoothed_the_strongest_first():
    failed = replace(DEAR, status="fault")
    unknown = trial("rank(vwap)", 9.0, None)
    made = slower([WEAK, DEAR, DEARER, PAYS, failed, unknown], 11.0, 3.0, 4)
    assert [(one.expression, text) for one, text in made] == [
        (one.expression, f"ema({one.expression}, {bars})")
        for one in (DEARER, DEAR)
        for bars in (12, 48, 96)
    ]


def test_slower_ones_are_asked_for_where_most_of_the_best_do_not_pay():
    told = feedback([WEAK, DEAR, DEARER, PAYS], cost_bps=11.0)
    assert (told.too_fast.count, told.too_fast.best, told.too_fast.cost_bps) == (3, 4, 11.0)
    assert [one.break_even_bps for one in told.worked] == [11.0, -3.0, 10.9, 1.0]
    assert feedback([WEAK, DEAR, DEARER, PAYS], cost_bps=1.0).too_fast is None
    assert feedback([WEAK, DEAR, DEARER, PAYS]).too_fast is None
    assert feedback([], cost_bps=11.0).too_fast is None


def ranked(hash_, t, number):
    return RankedTrial(
        hash=hash_,
        expression=hash_,
        direction=1,
        oriented_t=t,
        bh_p=0.1,
        n_trials=4,
        n_effective=4.0,
        n_clusters=4,
        sharpe_variance=0.1,
        discovery_pbo=0.1,
        pbo=0.1,
        rank=number,
    )


def test_finalists_are_first_those_that_pay_on_discovery_and_ranks_stay_those_of_t():
    trials = [
        replace(DEAR, validation=Measures(break_even_bps=99.0)),  # which nobody may know yet
        replace(DEARER, discovery=replace(DEARER.discovery, break_even_bps=0.0)),
        PAYS,
        replace(WEAK, discovery=Measures()),
    ]
    by_t = [ranked(one.hash, 9.0 - at, at + 1) for at, one in enumerate(trials)]
    order = {
        least: [row.rank for row in rank._pays_first(by_t, trials, least)]
        for least in (None, -1.0, 0.0, 11.0)
    }
    assert order == {None: [1, 2, 3, 4], -1.0: [1, 2, 3, 4], 0.0: [1, 2, 3, 4], 11.0: [3, 1, 2, 4]}
    dear_first = [replace(by_t[0], hash="not measured"), *by_t[1:]]
    assert [row.rank for row in rank._pays_first(dear_first, trials, 0.0)] == [2, 3, 1, 4]


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    search = SearchSettings(slower_variants=LIMIT, promising_t=0.01, finalists_break_even_bps=5.0)
    got = work_market(
        tmp_path_factory.mktemp("lake"), MARKET, None, ProposingChat(*FAST), search=search, shards=2
    )
    assert got.record.state == "done"
    return got


def test_variants_by_rule_are_trials_within_their_limit(mined):
    trials = mined.published.trials
    variants = [one for one in trials if one.slower_of]
    proposed = {one.hash: one for one in trials if not one.slower_of and one.evaluated}
    assert len(variants) >= LIMIT
    for key in {(one.round, one.tier) for one in variants}:
        assert sum((one.round, one.tier) == key for one in variants) <= LIMIT
    assert len({one.hash for one in variants}) == len(variants)
    for one in variants:
        origin = proposed[one.slower_of]
        assert one.expression.startswith(f"ema({origin.expression}, ")
        assert (one.call_id, one.tier, one.round) == (origin.call_id, origin.tier, origin.round)
        assert one.evaluated, "none is made that needs more bars than there are"
        assert one.discovery.turnover_per_bar < origin.discovery.turnover_per_bar
    (factor, *_) = mined.table("factors")
    assert factor["n_trials"] == sum(one.counted for one in trials)


def test_a_run_with_variants_is_replayed_equal(mined, tmp_path):
    again = replay(mined.published, Lake(str(tmp_path / "again")))
    assert (again.equal, again.failed) == (True, ())


def test_the_random_arm_has_as_many_trials_and_no_variants_of_its_own(mined):
    counted = sum(one.counted for one in mined.published.trials)
    arm = mine_luck(mined.lake, mined.spec, Interval.H1, seed=1)
    assert arm.trials == counted


def test_the_run_chose_finalists_that_pay_on_discovery_before_the_others(mined):
    ranking = read_interval(mined.lake, mined.spec.run_id, "ranking", Interval.H1, RankedTrial)
    trials = {one.hash: one for one in read_trials(mined.lake, mined.spec.run_id, Interval.H1)}
    order = rank._pays_first(
        sorted((row for row in ranking if row.rank), key=lambda row: row.rank),
        list(trials.values()),
        5.0,
    )
    first = next(row for row in order if row.oriented_t > 0)
    assert first.finalist
    assert [row.rank for row in order] != sorted(row.rank for row in order)
    ranks = sorted(row.rank for row in ranking if row.rank)
    assert ranks == list(range(1, len(ranks) + 1))
    by_rank = sorted((row for row in ranking if row.rank), key=lambda row: row.rank)
    t = [row.oriented_t for row in by_rank]
    assert t == sorted(t, reverse=True)
    assert not any(math.isnan(one) for one in t)


def test_without_the_settings_a_run_is_the_run_it_was():
    plain = SPEC.to_message()
    assert {"slower_variants", "finalists_break_even_bps"} & plain["search"].keys() == set()
    assert {"band", "hold_bars"} & plain["portfolio"].keys() == set()
    assert {"least_power", "power_correlation"} & plain["gates"].keys() == set()
    assert SPEC.run_id == "mine-b24ef7fbd2e15a7b"  # as before there were such settings
    asked = replace(SPEC, search=SearchSettings(slower_variants=3, finalists_break_even_bps=0.0))
    assert asked.to_message()["search"]["finalists_break_even_bps"] == 0.0
    assert type(SPEC).from_message(json.loads(json.dumps(asked.to_message()))) == asked
    assert asked.run_id != SPEC.run_id
