"""Control arms: markets whose truth is known, what is counted over them, and plain luck."""

import json
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest

from alphamill.controls.calibration import calibrate, uniformity, upper_bound
from alphamill.controls.direct import Alone, judge_alone, judge_panel
from alphamill.controls.luck import arm_of_run, luck_funnel, mine_luck
from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.controls.planted import DECOYS, Fate, Found, Outcome, Search, mine_market
from alphamill.evaluation import GateThresholds, Grade, forward_returns
from alphamill.factors import check
from alphamill.report.terminal.control_arms import calibration_table
from alphamill.search.formulas import random_formulas
from alphamill.settings import FeeSettings, SegmentSettings
from alphamill.sim.market import PlantedFactor
from alphamill.testing import work_market
from producers.cli import main
from producers.run.bench import planted as planted_command
from tests.rendering import shown

SMALL = ControlMarket(seed=5, n_symbols=4, n_bars=600)
QUICK = Search(candidates=2)
PLAIN = ("ts_mean", "rank", "neg", "div", "pct_change")  # compiled already, most likely
REVERSAL = "-ts_zscore(close, 24)"


def test_a_ragged_market_has_what_real_ones_have_and_is_the_same_every_time():
    market = ControlMarket(seed=3, n_symbols=12, n_bars=600)
    bars = market.bars()
    again = market.bars()
    for symbol in bars:
        assert bars[symbol].close.tobytes() == again[symbol].close.tobytes()
    panel = panel_of(market)
    absent = np.isnan(panel["close"])
    assert (absent.all(axis=1)).sum() >= 1  # an outage of all
    assert absent[0].sum() == 1  # a late listing
    gone = np.flatnonzero(absent[-1])
    assert len(gone) == 1
    close = panel["close"][:, gone[0]]
    last = np.flatnonzero(np.isfinite(close))[-1]
    assert close[last] < 0.5 * close[last - 1]
    # The collapse is somebody's loss: the label before it is realised, not dropped.
    assert forward_returns(panel, 4)[last - 2, gone[0]] < -0.5
    assert (panel["low"][last, gone[0]]) <= close[last]


def test_random_formulas_are_seeded_different_and_clean():
    first = list(random_formulas(1, 30, ("open", "close", "volume", "returns")))
    assert [f.hash for f in first] == [
        f.hash for f in random_formulas(1, 30, ("open", "close", "volume", "returns"))
    ]
    assert len({f.hash for f in first}) == 30
    assert not [f.text for f in first if check(f)]
    other = {f.hash for f in random_formulas(2, 30, ("open", "close", "volume", "returns"))}
    assert len(other & {f.hash for f in first}) < 10
    with pytest.raises(ValueError, match=r"only \d of 50"):
        list(random_formulas(1, 50, ("returns",), ("is_nan",)))


def alone(ic, verdict="predictive", break_even_bps=4.0, failed=()):
    return Alone(REVERSAL, ic, verdict, failed, break_even_bps, cost_bps=11.0)


def outcome(seed=0, ic=0.0, verdict="", likeness=None, met=False, p_value=0.5, kept="", own=None):
    planted = (PlantedFactor(REVERSAL, ic),) if ic else ()
    factors = (Found("x", verdict, likeness, 4.0, 2.0),) if verdict else ()
    fates = (Fate(REVERSAL, ic, met, kept, own or alone(ic)),) if ic else ()
    market = ControlMarket(seed, planted=planted)
    return Outcome(market, 10, p_value, factors, fates, {"-close": "unclean"})


def test_what_is_counted():
    found = calibrate(
        [
            outcome(1),
            outcome(2, verdict="rejected"),
            outcome(3, verdict="predictive"),
            outcome(4, 0.03, "predictive", 0.9, True, kept="predictive"),
            outcome(5, 0.03, "tradable", 0.05, True, kept=""),
            outcome(6, 0.06, "rejected", 0.9, True, kept="rejected"),
            outcome(7, 0.06, "predictive", 0.8, False, kept="predictive"),
        ]
    )
    assert (found.noise_called, found.noise_markets) == (1, 3)
    assert (found.called, found.false_called) == (3, 1)
    weak, strong = found.power
    assert (weak.target_ic, weak.planted, weak.met, weak.kept, weak.found) == (0.03, 2, 2, 1, 1)
    assert (strong.planted, strong.met, strong.kept, strong.found) == (2, 1, 0, 1)
    assert (found.decoys, found.decoys_through) == (7, 0)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["false_discovery_rate"] == pytest.approx(1 / 3)
    assert plain["ks_p"] is None  # three markets say nothing of a distribution


def test_power_alone_and_what_is_too_fast_to_pay_its_fees_are_counted():
    weak = ("rejected", 4.0, ("deflated_sharpe", "holdout_t"))
    found = calibrate(
        [
            outcome(1, 0.03, own=alone(0.03, *weak)),
            outcome(2, 0.03, kept="tradable", own=alone(0.03)),  # too fast, and sold all the same
            outcome(3, 0.06, kept="tradable", own=alone(0.06, "tradable", 15.0)),  # it pays
            outcome(4),
        ],
        alone=[alone(0.03, "tradable"), alone(0.03, "predictive", None), alone(0.045, *weak)],
    )
    low, middle, high = found.power
    assert (low.planted, low.mined, low.predictive_alone) == (4, 2, 3)
    assert low.failed_alone == {"deflated_sharpe": 1, "holdout_t": 1}
    assert (low.too_fast, low.too_fast_tradable) == (4, 2)
    assert (middle.planted, middle.mined, middle.alone_frac) == (1, 0, 0.0)
    assert (high.too_fast, high.too_fast_tradable, high.found) == (0, 0, 1)
    assert json.dumps(found.to_dict(), allow_nan=False)


def lines_of(found, n_symbols, n_bars):
    return shown(calibration_table(found, n_symbols, n_bars), 140).splitlines()


def test_the_table_says_what_is_asked_and_what_is_missed():
    found = calibrate(
        [outcome(seed, verdict="predictive" if seed < 2 else "") for seed in range(20)]
        + [outcome(30, 0.03, met=True, own=alone(0.03, "rejected", 4.0, ("holdout_t",)))],
        [],
        [alone(0.03), alone(0.02)],
    )
    lines = lines_of(found, 30, 8000)
    (noise,) = [line for line in lines if "noise markets" in line]
    assert "2 of 20" in noise
    assert "at most 5 % (missed)" in noise
    (power,) = [line for line in lines if "IC 0.03, judged alone" in line]
    assert "1 of 2 (50 %)" in power
    assert "at least 95 % (missed)" in power
    assert any("holdout_t 1" in line for line in lines)
    (kept,) = [line for line in lines if "kept, of those met" in line]
    assert "at least 80 % (missed)" in kept
    (weak,) = [line for line in lines if "IC 0.02, judged alone" in line]
    assert "–" in weak, "less than IC 0.03 is not asked for"
    assert "at least 95 %" not in "".join(lines_of(found, 12, 8000)), "nor is a small market"


def test_p_values_that_are_not_uniform_are_found_out():
    even = [(k + 0.5) / 200 for k in range(200)]
    assert uniformity(even)[1] > 0.99
    assert uniformity([p * p for p in even])[1] < 1e-6


def test_the_bound_of_a_share_is_clopper_and_pearsons():
    for hits, tries in ((0, 200), (3, 200), (10, 10)):
        exact = binomtest(hits, tries, alternative="less").proportion_ci(0.95, "exact").high
        assert upper_bound(hits, tries) == pytest.approx(exact, abs=1e-9)


@pytest.fixture(scope="module")
def mined():
    return mine_market(SMALL, QUICK)


def test_a_market_is_mined_from_fetch_to_verdict_and_no_decoy_comes_through(mined):
    assert mined.n_trials >= 5
    assert set(mined.decoys) == set(DECOYS)
    assert set(mined.decoys.values()) <= {"invalid", "unclean"}
    assert 0 <= mined.p_value <= 1
    assert mined.factors


def test_the_same_market_gives_the_same_outcome(mined):
    assert mine_market(SMALL, QUICK) == mined


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return work_market(tmp_path_factory.mktemp("lake"), SMALL, QUICK)


def test_luck_has_as_many_trials_and_opens_nobodys_holdout(run):
    mill, spec = run.mill, run.spec
    own = arm_of_run(mill.lake, spec.run_id, SMALL.interval)
    before = mill.lake.list("")
    luck = mine_luck(mill.lake, spec, SMALL.interval, 1, PLAIN)
    assert luck.trials == own.trials == len(mill.table(spec, "trials"))
    assert luck.measured > 0
    assert luck == mine_luck(mill.lake, spec, SMALL.interval, 1, PLAIN)
    assert mill.lake.list("") == before


def test_the_funnel_of_luck_has_as_many_trials_and_costs_nothing(run):
    mill, spec = run.mill, run.spec
    before = mill.lake.list("")
    luck = luck_funnel(mill.lake, spec, 1, PLAIN)
    arm = mine_luck(mill.lake, spec, SMALL.interval, 1, PLAIN)
    counted = luck.evaluated + luck.fault + luck.duplicate
    assert luck.proposed == luck.parsed == counted == arm.trials
    assert luck.admitted == arm.predictive
    assert luck.evaluated >= luck.passed_validation >= luck.admitted
    assert (luck.asked, luck.cost_usd_micros, luck.prompt_tokens) == (0, 0, 0)
    assert mill.lake.list("") == before


def test_the_funnel_command_shows_luck_beside_the_run(run, monkeypatch):
    mill, spec = run.mill, run.spec
    monkeypatch.setenv("ALPHAMILL_LAKE", mill.lake.uri)
    monkeypatch.setattr("alphamill.controls.luck_funnel", partial(luck_funnel, operators=PLAIN))
    words = ["funnel", "--run", spec.run_id, "--control", "--seed", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    (header,) = [line for line in done.output.splitlines() if "total" in line]
    assert header.split()[-1] == "random"
    told = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert told["control"]["proposed"] == len(mill.table(spec, "trials"))
    assert told["tiers"][-1]["tier"] == "total"


def test_a_strong_formula_judged_alone_is_predictive_and_a_weak_one_is_not():
    market = ControlMarket(7, 12, 3000, (PlantedFactor(REVERSAL, 0.12, 1),))
    once = SegmentSettings(horizon_bars=1)
    assert judge_panel(panel_of(market), REVERSAL, once).grade.admitted
    noise = ControlMarket(7, 12, 1500)
    assert not judge_panel(panel_of(noise), REVERSAL, once).grade.admitted


def strong(formula, seed):
    planted = PlantedFactor(formula, 0.08, 1)
    return panel_of(ControlMarket(seed, 12, 3000, (planted,))), planted


@pytest.mark.parametrize("seed", range(40, 44))
def test_a_formula_too_fast_to_pay_its_fees_is_never_tradable(seed):
    """Strong enough for every other gate: free of fees it is tradable."""
    panel, planted = strong(REVERSAL, seed)
    once = SegmentSettings(horizon_bars=1)
    judged = judge_alone(panel, planted, once, GateThresholds())
    assert judged.too_fast
    assert 0 < judged.break_even_bps < judged.cost_bps == 11.0
    assert judged.verdict == "predictive"
    free = FeeSettings(taker_bps=0.0, maker_bps=0.0, spread_bps=0.0)
    assert judge_panel(panel, REVERSAL, once, free).grade is Grade.TRADABLE


def test_a_slower_one_of_that_strength_pays():
    panel, planted = strong("ts_mean(volume, 6) / ts_mean(volume, 72)", 40)
    judged = judge_alone(panel, planted, SegmentSettings(horizon_bars=1), GateThresholds())
    assert not judged.too_fast
    assert judged.verdict == "tradable"


def test_the_command_judges_planted_formulas_without_a_search(monkeypatch):
    monkeypatch.setattr(
        "producers.run.bench.in_processes", lambda work, tasks, *_, **__: map(work, tasks)
    )
    words = ["--direct", "--ic", "0.12", "--formulas", "2", "--seeds", "2", "--symbols", "12"]
    words += ["--bars", "1500", "--jobs", "1"]
    result = CliRunner().invoke(planted_command, words)
    assert result.exit_code == 0, result.output
    assert "IC 0.12, judged alone" in result.output
    assert "4 planted formulas, each judged as the only trial" in result.output
    assert "12 symbols x 1,500 bars, horizon 1, seeds 0 to 1" in result.output
    told = json.loads(CliRunner().invoke(planted_command, [*words, "--json"]).stdout)
    (power,) = told["power"]
    assert (power["planted"], power["mined"]) == (4, 0)
    assert power["predictive_alone"] >= 3
    assert [one["seed"] for one in told["markets"]] == [0, 0, 1, 1]
    assert {one["verdict"] for one in told["markets"]} <= set(Grade)
    assert told["asked"]["alone_frac_at_least"] == 0.95
    nothing = CliRunner().invoke(planted_command, ["--direct", "--ic", "0,0.1"])
    assert nothing.exit_code == 2
    assert "each --ic above 0" in nothing.output


def test_strengths_that_make_no_sense_are_refused():
    for text in ("0.5", "x", "-0.1"):
        result = CliRunner().invoke(planted_command, ["--ic", text])
        assert result.exit_code == 2
