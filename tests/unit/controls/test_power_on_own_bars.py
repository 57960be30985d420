"""A known factor in a run's own bars: planted at the IC that is asked for, and found or not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest

from alphamill.controls.direct import Alone
from alphamill.controls.leaning import leaning_signs, most_ic, realised_ic
from alphamill.controls.luck import Arm
from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.controls.mirrored import mirrored
from alphamill.controls.own_bars import Searched
from alphamill.controls.planted import Fate, Search
from alphamill.controls.power import count_power, strengths_in
from alphamill.errors import GiveUp
from alphamill.settings import SegmentSettings
from alphamill.sim.market import FORMULAS
from alphamill.testing import work_market
from producers.cli import main
from producers.run import bench_own_bars

REVERSAL = "-ts_zscore(close, 24)"
TAKERS = "ts_mean(taker_buy_base / volume, 12)"
SEGMENTS = SegmentSettings(horizon_bars=4)


@pytest.fixture(scope="module")
def noise():
    return panel_of(ControlMarket(3, 10, 1500, ragged=False))


def leant(panel, strength, seed, members=None, expression=REVERSAL):
    signs = leaning_signs(panel, FORMULAS[expression], strength, seed, members)
    return replace(panel, fields=mirrored(panel, signs))


def test_bars_show_the_ic_that_was_asked_for_in_the_mean_of_seeds(noise):
    most = most_ic(noise, REVERSAL, SEGMENTS)
    assert most > 0.2
    made = [leant(noise, 0.1 / most, seed) for seed in range(1, 5)]
    ics = [realised_ic(panel, REVERSAL, SEGMENTS) for panel in made]
    # 1,500 bars of overlapping labels over ten coins: standard error 0.017 a seed.
    assert np.mean(ics) == pytest.approx(0.1, abs=3 * 0.017 / math.sqrt(4))
    sizes = np.abs(np.diff(np.log(noise["close"]), axis=0))
    for panel in made:
        turned = np.abs(np.diff(np.log(panel["close"]), axis=0))
        np.testing.assert_allclose(turned, sizes, atol=1e-12)


def test_a_sign_knows_nothing_of_later_bars_and_nothing_at_strength_none(noise):
    cut = replace(
        noise, times_ms=noise.times_ms[:300], fields={k: v[:300] for k, v in noise.items()}
    )
    formula = FORMULAS[TAKERS]
    whole = leaning_signs(noise, formula, 0.7, 1)
    np.testing.assert_array_equal(leaning_signs(cut, formula, 0.7, 1), whole[:300])
    fair = leaning_signs(cut, formula, 0.0, 1)
    assert (fair != whole[:300]).any()
    # Until its windows are full the formula says nothing.
    np.testing.assert_array_equal(fair[:72], whole[:72])


def test_only_who_belongs_is_ordered(noise):
    members = np.zeros((noise.n_bars, len(noise.symbols)), dtype=bool)
    members[:, :4] = True
    panel = leant(noise, 1.0, 1, members)
    inside = realised_ic(panel, REVERSAL, SEGMENTS, members)
    outside = realised_ic(panel, REVERSAL, SEGMENTS, ~members)
    assert inside > 0.25
    assert abs(outside) < 0.5 * inside


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    market = ControlMarket(seed=5, n_symbols=4, n_bars=600)
    return work_market(tmp_path_factory.mktemp("lake"), market, Search(candidates=2))


def test_what_the_bars_cannot_show_is_refused_with_what_they_can(worked, noise):
    run = worked.published
    with pytest.raises(GiveUp, match=r"IC of 0.9 .* at most 0\.[1-6]\d\d; ask for a lower --ic"):
        strengths_in(run, REVERSAL, (0.01, 0.9))
    weak, strong = strengths_in(run, REVERSAL, (0.02, 0.04))
    assert strong == pytest.approx(2 * weak)
    assert 0 < weak < 1
    empty = replace(noise, fields={**noise, "volume": np.full_like(noise["volume"], np.nan)})
    with pytest.raises(GiveUp, match="no value on these bars: name another --formula"):
        most_ic(empty, TAKERS, SEGMENTS)


def one(seed, verdict="", alone="rejected", met=True, claims=0, ic=0.03, failed=()):
    fate = Fate(REVERSAL, 0.03, met, verdict, Alone(REVERSAL, 0.03, alone, (), 4.0, 11.0))
    arm = Arm("1h", 10, 9, 2.0, 0.7, 3, claims, 0, "")
    return Searched(seed, (arm,), 0.5, failed, 5, ic, (fate,))


def test_what_is_counted_over_seeds_of_one_strength():
    found = count_power(
        0.03,
        [
            one(0, "predictive", "predictive", claims=1),
            one(1, "rejected", "predictive", claims=2, ic=0.01),
            one(2, met=False),
            one(3, "predictive", "predictive", failed=("x: gone",)),
        ],
    )
    assert (found.power.planted, found.power.predictive_alone) == (3, 2)
    assert (found.power.met, found.power.found) == (2, 1)
    exact = binomtest(1, 3).proportion_ci(0.95, "exact")
    assert found.found == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert (found.mean_ic, found.lowest_ic) == (pytest.approx(0.07 / 3), 0.01)
    assert (found.false_claims, found.incomplete, found.cost_usd_micros) == (1, 1, 20)
    nothing = json.dumps(count_power(0.03, []).to_dict(), allow_nan=False)
    assert json.loads(nothing)["found"] == [None, None]


def test_the_command_plants_searches_and_goes_on_with_what_it_had(worked, monkeypatch):
    done = []

    def here(work, tasks, jobs, what, *, quiet):
        done.append(len(tasks))
        return map(work, tasks)

    monkeypatch.setenv("ALPHAMILL_LAKE", worked.lake.uri)
    monkeypatch.setattr(bench_own_bars, "in_processes", here)
    words = ["bench", "power", "--run", worked.spec.run_id, "--jobs", "1", "--ic", "0.15"]
    told = json.loads(CliRunner().invoke(main, [*words, "--seeds", "1", "--json"]).stdout)
    (power,) = told["power"]
    (search,) = told["searches"]
    assert power["power"]["planted"] == power["power"]["mined"] == 1
    assert search["target_ic"] == 0.15
    assert power["mean_ic"] == search["ic"] == pytest.approx(0.15, abs=0.1)
    assert search["fates"][0]["alone"]["expression"] == REVERSAL
    shown = CliRunner().invoke(main, [*words, "--seeds", "1"])
    assert shown.exit_code == 0, shown.output
    assert "1h bars, seeds 0 to 0 of each IC; proposed by the offline proposer" in shown.output
    assert done == [1, 0]
    nothing = CliRunner().invoke(main, ["bench", "power", "--ic", "0,0.1"])
    assert nothing.exit_code == 2
    assert "bench noise" in nothing.output
