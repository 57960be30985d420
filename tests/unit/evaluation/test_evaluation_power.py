"""Undecidable: what fails, on bars that could hardly have shown anything else."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from alphamill.evaluation import GateThresholds, Grade, Score, TrialFacts, judge
from alphamill.evaluation.power import TESTS, power_of, standard_error
from alphamill.evaluation.significance import default_lags, newey_west_t

HURDLES = dict(zip(TESTS, (1.64, 1.64, 3.0), strict=True))


def segment(mean: float, error: float, n_bars: int = 600, **changes) -> Score:
    """A cross-section's, bought in the direction +1, whose mean RankIC has that standard error."""
    made = Score(4, 1, 0, 11.0, 8760.0, 1, n_bars=n_bars, n_symbols=12, coverage=0.99)
    return replace(
        made,
        rank_ic_mean=mean,
        rank_ic_t=mean / error,
        n_obs=n_bars - 5,
        gross_sharpe_per_bar=0.02,
        net_sharpe=1.0,
        net_sharpe_per_bar=0.01,
        skew=0.0,
        kurtosis=3.0,
        **changes,
    )


def verdict_of(validation: Score, holdout: Score | None, thresholds=None, **changes):
    given = {"library_correlation": None, "look_ahead_ok": True} | changes
    facts = TrialFacts(20, 20.0, 1 / 600, bh_p=0.2)
    discovery = segment(0.03, 0.01)
    thresholds = thresholds or GateThresholds()
    return judge(discovery, validation, holdout, trials=facts, thresholds=thresholds, **given)


@pytest.mark.parametrize("n_bars", [250, 600])
def test_the_power_is_how_often_the_tests_are_passed(n_bars):
    """Overlapping labels and all: correlations that are correlated in time, a real Newey-West t."""
    rng = np.random.default_rng(n_bars)
    horizon, draws = 4, 400
    stated, passed = [], dict.fromkeys(TESTS, 0)
    for _ in range(draws):
        segments = []
        for _ in ("validation", "holdout"):
            noise = rng.normal(0, 0.3, n_bars + horizon - 1)
            series = 0.03 + np.convolve(noise, np.ones(horizon) / horizon, "valid")
            t = newey_west_t(series, default_lags(n_bars, 3 * horizon))
            mean = float(series.mean())
            segments.append(replace(segment(mean, 1.0, n_bars), rank_ic_t=t))
        power = power_of(*segments, HURDLES, 0.03, 0.5)
        stated.append(power.frac)
        verdict = verdict_of(*segments)
        for gate in verdict.gates:
            if gate.name in TESTS:
                passed[gate.name] += gate.passed
    seen = min(passed.values()) / draws
    # Newey-West's errors are a little too small on so few bars, which the t shares.
    assert np.median(stated) == pytest.approx(seen, abs=0.06)


def test_the_bars_asked_for_have_the_power_asked_for():
    for least in (0.5, 0.8):
        power = power_of(segment(0.0, 1.0), segment(0.0, 1.0), HURDLES, 0.03, least)
        assert power is None  # a t of 0 has no standard error to go by
        few = power_of(segment(0.01, 0.02), segment(0.01, 0.02), HURDLES, 0.03, least)
        times = few.bars_needed / few.bars
        error = 0.02 / math.sqrt(times)
        enough = power_of(segment(0.01, error), segment(0.01, error), HURDLES, 0.03, least)
        assert few.frac < least
        assert enough.frac == pytest.approx(least, abs=0.01)


def test_what_could_not_have_been_shown_is_undecidable_and_says_what_would():
    verdict = verdict_of(segment(0.02, 0.02), segment(0.01, 0.02))
    assert verdict.grade is Grade.UNDECIDABLE
    assert not verdict.grade.admitted
    assert verdict.power.frac == pytest.approx(0.19, abs=0.01)  # 1.5 * sqrt(2) against 3.0
    assert verdict.power.gate == "out_of_sample_t"
    assert verdict.reasons[0] == (
        "Undecidable: with a true correlation of 0.03 these 1,200 bars of validation and holdout "
        "pass out_of_sample_t with a probability of 0.19; about 2,400 are needed."
    )
    assert any(reason.startswith("Fails out_of_sample_t") for reason in verdict.reasons)
    assert json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("segments", "changes"),
    [
        ((segment(0.01, 0.008), segment(0.01, 0.008)), {}),  # bars enough
        ((segment(-0.04, 0.02), segment(-0.02, 0.02)), {}),  # they speak against it
        ((segment(0.02, 0.02, coverage=0.5), segment(0.01, 0.02)), {}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"library_correlation": 0.9}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"look_ahead_ok": False}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"look_ahead_ok": None}),
        (
            (segment(0.02, 0.02), segment(0.01, 0.02)),
            {"check_faults": ["adds a price to a volume"]},
        ),
        ((segment(0.02, 0.02), None), {}),
        ((segment(0.02, 0.02), segment(0.02, math.nan, fault="no value")), {}),
        (
            (segment(0.02, 0.02), segment(0.01, 0.02)),
            {"thresholds": GateThresholds(least_power=0.0)},
        ),
        (
            (segment(0.02, 0.02), segment(0.01, 0.02)),
            {"thresholds": GateThresholds(power_correlation=0.05)},
        ),
    ],
)
def test_what_more_bars_would_not_mend_is_rejected(segments, changes):
    assert verdict_of(*segments, **changes).grade is Grade.REJECTED


def test_power_never_admits_what_fails_a_gate_nor_holds_back_what_passes():
    fine = segment(0.03, 0.003, gross_sharpe=1.0)
    strong = {"gross_sharpe_per_bar": 0.3, "net_sharpe_per_bar": 0.2}
    fine = replace(fine, **strong)
    facts = TrialFacts(1, 1.0, 1 / 600, bh_p=0.001)
    given = {"trials": facts, "library_correlation": None, "look_ahead_ok": True}
    for ic in (0.03, 0.0001):  # at the second nothing has power
        thresholds = GateThresholds(power_correlation=ic)
        assert judge(fine, fine, fine, thresholds=thresholds, **given).grade is Grade.TRADABLE


def test_one_symbol_has_its_own_standard_error():
    alone = replace(
        segment(0.0, 1.0),
        rank_ic_mean=math.nan,
        rank_ic_t=math.nan,
        time_series_rank_corr=-0.02,
        time_series_t=-0.5,
        direction=-1,
    )
    assert standard_error(alone) == pytest.approx(0.04)


def test_grades_are_in_order():
    assert [grade.admitted for grade in Grade] == [False, False, True, True]
    assert Grade.TRADABLE.reaches(Grade.PREDICTIVE)
    assert Grade.PREDICTIVE.reaches(Grade.PREDICTIVE)
    assert not Grade.UNDECIDABLE.reaches(Grade.PREDICTIVE)
