"""Undecidable: what fails, on bars that could hardly have shown anything else."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from alphamill.evaluation import (
    GateThresholds,
    Grade,
    Score,
    TrialFacts,
    benjamini_hochberg,
    benjamini_hochberg_hurdles,
    judge,
)
from alphamill.evaluation.power import TESTS, pass_probability, power_of, standard_error
from alphamill.evaluation.significance import default_lags, newey_west_t, normal_cdf, one_sided_p

FACTS = TrialFacts(20, 20.0, 1 / 600, bh_p=0.2, fdr_hurdle_p=0.05)  # what 1.64 asks too
HURDLES = dict(zip(TESTS, (1.64, 1.64, 3.0), strict=True))
ALSO = ("validation_sign", "false_discovery", "holdout_sign")


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


def verdict_of(validation: Score, holdout: Score | None, thresholds=None, facts=FACTS, **changes):
    given = {"library_correlation": None, "look_ahead_ok": True} | changes
    discovery = segment(0.03, 0.01)
    thresholds = thresholds or GateThresholds()
    return judge(discovery, validation, holdout, trials=facts, thresholds=thresholds, **given)


@pytest.mark.parametrize(("d1", "d2", "c1", "c2"), [(1, 2, 1.64, 1.64), (4, 3, 3.5, 2.6)])
def test_two_hurdles_apart_are_a_product(d1, d2, c1, c2):
    found = pass_probability([d1, d2], [700, 500], (c1, c2, -50.0))
    assert found == pytest.approx(normal_cdf(d1 - c1) * normal_cdf(d2 - c2), abs=1e-9)


@pytest.mark.parametrize("expected", [(0.5, 1.0), (2.0, 2.5), (6.0, 0.0)])
def test_one_hurdle_of_both_together_is_one_normal(expected):
    both = (math.sqrt(700) * expected[0] + math.sqrt(500) * expected[1]) / math.sqrt(1200)
    found = pass_probability(expected, [700, 500], (-50.0, -50.0, 3.0))
    assert found == pytest.approx(normal_cdf(both - 3.0), abs=1e-9)


def drawn(rng, n_bars: int, horizon: int = 4) -> Score:
    """A segment whose correlations overlap as labels do, with a real Newey-West t; mean 0.03."""
    noise = rng.normal(0, 0.3, n_bars + horizon - 1)
    series = 0.03 + np.convolve(noise, np.ones(horizon) / math.sqrt(horizon), "valid")
    t = newey_west_t(series, default_lags(n_bars, 3 * horizon))
    made = segment(float(series.mean()), 1.0, n_bars)
    return replace(made, rank_ic_t=t, p_value=one_sided_p(t))


@pytest.mark.parametrize(
    ("n_bars", "others", "looks"), [((1600, 1500), 0, 0), ((2600, 2000), 30, 4)]
)
def test_the_power_is_how_often_the_gates_on_the_correlation_are_passed(n_bars, others, looks):
    """False discoveries and looks among them. 300 draws: three standard errors are 0.087."""
    rng = np.random.default_rng([15, others])
    beside = [0.0004, *rng.random(others - 1)] if others else []
    stated, passed = [], []
    for _ in range(300):
        segments = [drawn(rng, n) for n in n_bars]
        p_values = [segments[0].p_value, *beside]
        facts = replace(
            FACTS,
            n_trials=len(p_values),
            bh_p=benjamini_hochberg(p_values)[0],
            fdr_hurdle_p=benjamini_hochberg_hurdles(p_values, 0.05)[0],
        )
        verdict = verdict_of(*segments, facts=facts, looks_before=looks)
        asked = [gate.passed for gate in verdict.gates if gate.name in (*TESTS, *ALSO)]
        assert len(asked) == 6
        passed.append(all(asked))
        stated.append(verdict.power.frac)
    assert 0.1 < np.mean(passed) < 0.7  # where a wrong hurdle would show
    assert np.mean(stated) == pytest.approx(np.mean(passed), abs=0.087)


def test_a_trial_is_a_discovery_where_its_p_is_at_most_its_hurdle():
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 40):
        for strong in (0, size // 3):
            p = rng.random(size)
            p[:strong] /= 200
            p[rng.random(size) < 0.1] = math.nan
            hurdles = benjamini_hochberg_hurdles(p, 0.1)
            assert ((p <= hurdles) == (benjamini_hochberg(p) <= 0.1)).all()
            for own, at_most in enumerate(hurdles):
                moved = p.copy()
                moved[own] = at_most * (1 - 1e-9)
                assert benjamini_hochberg(moved)[own] <= 0.1
                moved[own] = min(at_most * (1 + 1e-9), 1.0)
                assert benjamini_hochberg(moved)[own] > 0.1


def test_more_trials_and_more_looks_take_power():
    two = segment(0.005, 0.01), segment(0.005, 0.01)
    unknown = replace(FACTS, fdr_hurdle_p=math.nan)  # then as if nothing else were found
    alone, searched, beside_finds, looked = (
        verdict_of(*two, facts=facts, looks_before=looks).power.frac
        for facts, looks in (
            (replace(unknown, n_trials=1), 0),
            (replace(unknown, n_trials=200), 0),
            (replace(FACTS, n_trials=200, fdr_hurdle_p=0.02), 0),
            (replace(unknown, n_trials=1), 20),
        )
    )
    assert searched < beside_finds < alone
    assert looked < alone


def test_the_bars_asked_for_have_the_power_asked_for():
    for least in (0.5, 0.8):
        few = power_of(segment(0.01, 0.02), segment(0.01, 0.02), HURDLES, 0.03, least)
        times = few.bars_needed / few.bars
        error = 0.02 / math.sqrt(times)
        enough = power_of(segment(0.01, error), segment(0.01, error), HURDLES, 0.03, least)
        assert few.frac < least
        assert least <= enough.frac < least + 0.03  # two digits, rounded up
        # A RankIC's noise goes with 1 / sqrt(symbols - 1), and here there are 12.
        assert few.symbols_needed - 1 == pytest.approx(11 * times, rel=0.06)


def test_what_could_not_have_been_shown_is_undecidable_and_says_what_would():
    verdict = verdict_of(segment(0.02, 0.02), segment(0.01, 0.02))
    assert verdict.grade is Grade.UNDECIDABLE
    assert not verdict.grade.admitted
    # 1.5 * sqrt(2) against 3.0 is 0.19 by itself; each half must pass too.
    assert 0.1 < verdict.power.frac < 0.19
    assert verdict.power.gate == "out_of_sample_t"
    power = verdict.power
    assert verdict.reasons[0] == (
        "Undecidable: with a true correlation of 0.03 the tests of it are passed on these 1,200 "
        f"bars of validation and holdout with a probability of {power.frac:.2g}, out_of_sample_t "
        f"the hardest; about {power.bars_needed:,}, or {power.symbols_needed} symbols, are needed."
    )
    assert any(reason.startswith("Fails out_of_sample_t") for reason in verdict.reasons)
    assert json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("segments", "changes"),
    [
        ((segment(0.01, 0.008), segment(0.01, 0.008)), {}),  # bars enough
        ((segment(-0.04, 0.02), segment(-0.02, 0.02)), {}),  # they speak against it
        # One of them turns round beyond what noise allows, though both together do not.
        ((segment(0.06, 0.03), segment(-0.05, 0.03)), {}),
        ((segment(-0.05, 0.03), segment(0.06, 0.03)), {}),
        ((segment(0.02, 0.02, coverage=0.5), segment(0.01, 0.02)), {}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"library_correlation": 0.9}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"look_ahead_ok": False}),
        ((segment(0.02, 0.02), segment(0.01, 0.02)), {"look_ahead_ok": None}),
        (
            (segment(0.02, 0.02), segment(0.01, 0.02)),
            {"check_faults": ["adds a price to a volume"]},
        ),
        ((segment(0.02, 0.02), None), {}),
        ((segment(0.02, 0.02), segment(0.02, math.nan, fault="the factor is constant")), {}),
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


@pytest.mark.parametrize("t", [-1.6, -0.1, 0.0])
def test_a_sign_that_flips_within_noise_rejects_nothing(t):
    flipped = verdict_of(segment(0.06, 0.03), segment(0.03 * t, 0.03))
    assert flipped.grade is Grade.UNDECIDABLE


def test_enough_bars_ask_for_no_more():
    found = power_of(segment(0.01, 0.004), segment(0.01, 0.004), HURDLES, 0.03, 0.5)
    assert found.frac > 0.99
    assert (found.bars, found.bars_needed, found.symbols_needed) == (1200, 1200, 12)


def test_a_segment_too_short_for_any_t_has_no_power():
    fault = "only 12 bars have a correlation; 30 needed"
    short = replace(segment(math.nan, 1.0, 20, fault=fault), gross_sharpe_per_bar=math.nan)
    verdict = verdict_of(segment(0.02, 0.02), short)
    assert verdict.power.frac == 0.0
    assert (verdict.power.bars_needed, verdict.power.symbols_needed) == (None, None)
    assert verdict.grade is Grade.UNDECIDABLE
    assert any("probability of 0, holdout_t the hardest." in one for one in verdict.reasons)
    nothing = segment(math.nan, 1.0, 0, fault="the panel has no bars")
    assert verdict_of(nothing, nothing).grade is Grade.UNDECIDABLE
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_mean_of_exactly_nothing_borrows_the_other_segments_error():
    flat, known = segment(0.0, 1.0, 2400), segment(0.01, 0.02)
    found = power_of(known, flat, HURDLES, 0.03, 0.5)
    same = power_of(known, segment(0.01, 0.01, 2400), HURDLES, 0.03, 0.5)
    assert found.frac == pytest.approx(same.frac)
    assert power_of(flat, flat, HURDLES, 0.03, 0.5) is None  # nothing to go by


def test_more_evidence_never_makes_a_verdict_worse():
    """On bars that decide nothing: from a weak sign, over a book that lacks some, to a claim."""
    order, before = list(Grade), 1
    for t, sharpe in ((1.0, 0.0), (3.5, 0.01), (3.5, 0.08), (4.0, 0.2)):
        one = replace(segment(0.02 * t, 0.02), gross_sharpe_per_bar=sharpe)
        found = verdict_of(one, one, facts=replace(FACTS, bh_p=20 * one_sided_p(t)))
        assert found.power.frac < 0.5
        assert order.index(found.grade) >= before
        before = order.index(found.grade)
    assert found.grade.admitted


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
    found = power_of(alone, alone, HURDLES, 0.03, 0.5)
    assert found.bars_needed > found.bars
    assert found.symbols_needed is None


def test_grades_are_in_order():
    assert [grade.admitted for grade in Grade] == [False, False, True, True]
    assert Grade.TRADABLE.reaches(Grade.PREDICTIVE)
    assert Grade.PREDICTIVE.reaches(Grade.PREDICTIVE)
    assert not Grade.UNDECIDABLE.reaches(Grade.PREDICTIVE)
