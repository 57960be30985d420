import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from alphamill.evaluation import (
    GateThresholds,
    Grade,
    Score,
    Segment,
    TrialFacts,
    benjamini_hochberg,
    combined_t,
    deflated_sharpe_ratio,
    judge,
    score,
    split_bars,
)
from alphamill.evaluation.out_of_sample import combined_deflated_sharpe, literal_deflated_sharpe

GOOD = Score(
    horizon_bars=4,
    entry_lag_bars=1,
    skip_bars=0,
    fee_bps=11.0,
    bars_per_year=8760.0,
    direction=-1,
    n_bars=3000,
    n_symbols=12,
    coverage=0.99,
    rank_ic_mean=-0.05,
    rank_ic_t=-5.0,
    p_value=6e-7,
    n_obs=2995,
    gross_sharpe=9.0,
    net_sharpe=6.0,
    gross_sharpe_per_bar=0.12,
    net_sharpe_per_bar=0.11,
    skew=0.1,
    kurtosis=5.0,
)
TRIALS = TrialFacts(
    n_trials=200, n_effective=40.0, sharpe_variance=1 / 3000, bh_p=0.001, fdr_hurdle_p=0.02
)
FINE = {
    "trials": TRIALS,
    "thresholds": GateThresholds(),
    "library_correlation": 0.3,
    "look_ahead_ok": True,
}


def failed(verdict):
    return {gate.name for gate in verdict.gates if not gate.passed}


def test_a_factor_that_passes_everything_is_tradable():
    verdict = judge(GOOD, GOOD, GOOD, **FINE)
    assert verdict.grade is Grade.TRADABLE
    assert verdict.reasons == ("Every gate is passed.",)
    assert verdict.deflated_sharpe_uncapped == deflated_sharpe_ratio(
        0.12, 1 / 3000, 200, 2995, 0.1, 5.0
    )
    assert verdict.deflated_sharpe_effective > verdict.deflated_sharpe
    assert json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("segment", "changes", "gates"),
    [
        ("validation", {"rank_ic_mean": -0.016, "rank_ic_t": -1.6}, {"validation_t"}),
        (
            "validation",
            {"rank_ic_mean": 0.05, "rank_ic_t": 5.0},
            {"validation_t", "validation_sign", "out_of_sample_t"},
        ),
        ("holdout", {"rank_ic_mean": -0.016, "rank_ic_t": -1.6}, {"holdout_t"}),
        (
            "holdout",
            {"rank_ic_mean": 0.05, "rank_ic_t": 5.0},
            {"holdout_t", "holdout_sign", "out_of_sample_t"},
        ),
        ("holdout", {"coverage": 0.79}, {"coverage"}),
        ("holdout", {"coverage": math.nan}, {"coverage"}),
        ("validation", {"coverage": 0.5}, {"coverage"}),
        ("discovery", {"coverage": 0.5}, {"coverage"}),
        ("validation", {"gross_sharpe_per_bar": -0.001}, {"gross_sharpe"}),
        ("holdout", {"gross_sharpe_per_bar": 0.0}, {"gross_sharpe"}),
    ],
)
def test_each_failed_gate_rejects_and_says_so(segment, changes, gates):
    segments = dict.fromkeys(("discovery", "validation", "holdout"), GOOD)
    segments[segment] = replace(GOOD, **changes)
    verdict = judge(*segments.values(), **FINE)
    assert verdict.grade is Grade.REJECTED
    assert failed(verdict) == gates
    for name in gates:
        assert any(reason.startswith(f"Fails {name}:") for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"library_correlation": 0.71}, "library_correlation"),
        ({"library_correlation": -0.71}, "library_correlation"),
        ({"library_correlation": math.nan}, "library_correlation"),
        ({"look_ahead_ok": False}, "look_ahead"),
        ({"look_ahead_ok": None}, "look_ahead"),
        ({"check_faults": ["adds a price to a volume"]}, "check"),
        ({"trials": replace(TRIALS, bh_p=0.051)}, "false_discovery"),
        ({"trials": replace(TRIALS, bh_p=math.nan)}, "false_discovery"),
    ],
)
def test_what_is_known_beside_the_scores_can_reject(changes, gate):
    verdict = judge(GOOD, GOOD, GOOD, **{**FINE, **changes})
    assert verdict.grade is Grade.REJECTED
    assert failed(verdict) == {gate}


def test_validation_and_holdout_count_together():
    weak = replace(GOOD, rank_ic_t=-2.0)
    longer = replace(GOOD, rank_ic_t=-3.0, n_bars=9000)
    assert combined_t(weak, weak) == pytest.approx(2 * math.sqrt(2))
    assert combined_t(weak, longer) == pytest.approx((2 + 3 * math.sqrt(3)) / 2)
    assert failed(judge(GOOD, weak, weak, **FINE)) == {"out_of_sample_t"}
    assert judge(GOOD, weak, longer, **FINE).grade is Grade.TRADABLE


def test_combined_t_of_noise_is_standard_normal():
    rng = np.random.default_rng(0)
    found = [
        combined_t(
            replace(GOOD, direction=1, n_bars=1000, rank_ic_t=a),
            replace(GOOD, direction=1, n_bars=3000, rank_ic_t=b),
        )
        for a, b in rng.normal(size=(2000, 2))
    ]
    assert kstest(found, "norm").pvalue > 0.01


def test_an_empty_library_is_no_obstacle():
    assert judge(GOOD, GOOD, GOOD, **{**FINE, "library_correlation": None}).grade is Grade.TRADABLE


@pytest.mark.parametrize(
    ("segment", "changes", "gates"),
    [
        (
            1,
            {"net_sharpe": -1.0, "net_sharpe_per_bar": -0.01},
            {"net_validation", "net_deflated_sharpe"},
        ),
        (1, {"net_sharpe": 2.0, "net_sharpe_per_bar": -0.04}, {"net_deflated_sharpe"}),
        (2, {"net_sharpe": 0.0}, {"net_holdout"}),
    ],
)
def test_information_that_fees_eat_is_predictive(segment, changes, gates):
    segments = [GOOD, GOOD, GOOD]
    segments[segment] = replace(GOOD, **changes)
    verdict = judge(*segments, **FINE)
    assert verdict.grade is Grade.PREDICTIVE
    assert failed(verdict) == gates


def test_an_unopened_holdout_rejects():
    verdict = judge(GOOD, GOOD, None, **FINE)
    assert verdict.grade is Grade.REJECTED
    assert failed(verdict) == {"holdout", "net_holdout"}
    assert any("not opened" in reason for reason in verdict.reasons)


def test_a_fault_is_named_and_rejects():
    fault = Score(4, 1, 0, 11.0, 8760.0, -1, fault="the factor has no value in the segment")
    verdict = judge(GOOD, GOOD, fault, **FINE)
    assert verdict.grade is Grade.REJECTED
    assert verdict.reasons[0] == "On holdout: the factor has no value in the segment."
    assert judge(GOOD, fault, None, **FINE).grade is Grade.REJECTED
    assert json.dumps(judge(GOOD, fault, None, **FINE).to_dict(), allow_nan=False)


def test_a_direction_chosen_on_the_test_set_is_refused():
    with pytest.raises(ValueError, match="direction of discovery"):
        judge(GOOD, replace(GOOD, direction=1), GOOD, **FINE)
    with pytest.raises(ValueError, match="direction of discovery"):
        judge(GOOD, GOOD, replace(GOOD, direction=1), **FINE)


def test_more_trials_never_help():
    ratios = [
        judge(GOOD, GOOD, GOOD, **{**FINE, "trials": replace(TRIALS, n_trials=n)}).deflated_sharpe
        for n in (1, 10, 1000, 100_000)
    ]
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == 4


def test_an_unknown_variance_is_that_of_worthless_trials():
    unknown = replace(TRIALS, sharpe_variance=math.nan)
    known = replace(TRIALS, sharpe_variance=1 / 2994)
    got, expected = (
        judge(GOOD, GOOD, GOOD, **{**FINE, "trials": trials}).deflated_sharpe
        for trials in (unknown, known)
    )
    assert got == expected


def test_one_symbol_is_judged_by_its_own_statistic():
    alone = replace(
        GOOD,
        n_symbols=1,
        rank_ic_mean=math.nan,
        rank_ic_t=math.nan,
        time_series_rank_corr=-0.05,
        time_series_t=-5.0,
    )
    assert judge(alone, alone, alone, **FINE).grade is Grade.TRADABLE
    weak = replace(alone, time_series_t=-1.6)
    assert failed(judge(alone, weak, alone, **FINE)) == {"validation_t"}


# --- whole searches: what noise and a planted factor come out as


def search(seed, n_bars, planted_ic=0.0, n_trials=8, n_symbols=12, fee_bps=11.0):
    """Grades of a run over one market: worthless factors and, if asked, one with a known IC."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.01, (n_bars, n_symbols))
    close = 100 * np.exp(returns.cumsum(axis=0))
    open_ = np.vstack([np.full((1, n_symbols), 100.0), close[:-1]])
    panel = {"open": open_, "close": close}
    factors = rng.normal(size=(n_trials, n_bars, n_symbols))
    if planted_ic:
        factors[0, :-1] = (
            returns[1:] / 0.01 * planted_ic + math.sqrt(1 - planted_ic**2) * factors[0, :-1]
        )
    cut = split_bars(n_bars, 0.6, 0.2, embargo_bars=2)

    def measure(values, segment, direction=None):
        bars = cut[segment]
        return score(
            values[bars.rows],
            {name: field[bars.rows] for name, field in panel.items()},
            horizon_bars=1,
            entry_lag_bars=1,
            skip_bars=bars.skip_bars,
            fee_bps=fee_bps,
            bars_per_year=8760.0,
            direction=direction,
        )

    discovery = [measure(values, Segment.DISCOVERY) for values in factors]
    validation = [
        measure(values, Segment.VALIDATION, found.direction)
        for values, found in zip(factors, discovery, strict=True)
    ]
    adjusted = benjamini_hochberg([result.p_value for result in validation])
    variance = float(np.var([result.gross_sharpe_per_bar for result in validation], ddof=1))
    verdicts = []
    for index, values in enumerate(factors):
        finalist = validation[index].p_value < 0.2
        direction = discovery[index].direction
        holdout = measure(values, Segment.HOLDOUT, direction) if finalist else None
        trials = TrialFacts(n_trials, n_trials, variance, float(adjusted[index]))
        verdicts.append(
            judge(discovery[index], validation[index], holdout, **{**FINE, "trials": trials})
        )
    return verdicts, discovery


def test_on_noise_the_mill_finds_nothing():
    found = naive = 0
    for seed in range(60):
        verdicts, discovery = search(seed, 1500, n_trials=6)
        found += any(verdict.grade.admitted for verdict in verdicts)
        naive += any(result.p_value < 0.05 for result in discovery)
    assert found / 60 <= 0.05
    assert naive / 60 > 0.15  # what reporting the best discovery p would have claimed


def test_a_planted_factor_is_found_and_nothing_beside_it():
    for seed in range(3):
        verdicts, _ = search(seed, 8000, planted_ic=0.05)
        # 0.05 is far less than what 11 bps on every bar cost
        assert verdicts[0].grade is Grade.PREDICTIVE
        assert all(verdict.grade is Grade.REJECTED for verdict in verdicts[1:])
    free, _ = search(0, 8000, planted_ic=0.05, fee_bps=0.0)
    assert free[0].grade is Grade.TRADABLE


def test_trials_of_unequal_skill_do_not_raise_the_hurdle_of_luck():
    luck, skilled = (replace(TRIALS, sharpe_variance=v) for v in (1 / 2994, 50 / 2994))
    by_luck = judge(GOOD, GOOD, GOOD, **{**FINE, "trials": luck})
    with_skill = judge(GOOD, GOOD, GOOD, **{**FINE, "trials": skilled})
    assert with_skill.deflated_sharpe == by_luck.deflated_sharpe
    assert with_skill.deflated_sharpe_uncapped < by_luck.deflated_sharpe_uncapped


# --- the deflated Sharpe ratio of validation and holdout together


def test_luck_that_validation_and_holdout_could_both_have_had_rejects():
    weak = replace(GOOD, gross_sharpe_per_bar=0.05, net_sharpe_per_bar=0.04)
    assert failed(judge(GOOD, weak, weak, **FINE)) == {"deflated_sharpe", "net_deflated_sharpe"}
    few = {**FINE, "trials": replace(TRIALS, n_trials=5)}
    assert judge(GOOD, weak, weak, **few).grade is Grade.TRADABLE
    # What validation alone could owe to luck, a holdout that nobody had chosen on can confirm.
    assert judge(GOOD, weak, GOOD, **FINE).grade is Grade.TRADABLE


def test_segments_alike_are_judged_as_one_of_their_length():
    whole = deflated_sharpe_ratio(0.05, 1 / 5990, 200, 5990, 0.1, 5.0)
    half = replace(GOOD, gross_sharpe_per_bar=0.05)
    assert combined_deflated_sharpe([half, half], "gross", TRIALS) == pytest.approx(whole, abs=1e-3)
    assert combined_deflated_sharpe([half], "gross", TRIALS) < whole - 0.3
    # Unequal lengths weigh by their bars: a short good stretch does not outvote a long bad one.
    short, long = replace(half, n_obs=500), replace(half, gross_sharpe_per_bar=0.0, n_obs=5000)
    one = replace(TRIALS, n_trials=1)
    assert combined_deflated_sharpe([short, long], "gross", one) == pytest.approx(
        deflated_sharpe_ratio(0.05 * 500 / 5500, 0.0, 1, 5500, 0.1, 5.0), abs=1e-2
    )


def test_alone_on_validation_it_is_the_papers():
    alone = combined_deflated_sharpe([GOOD], "gross", TRIALS)
    assert alone == pytest.approx(deflated_sharpe_ratio(0.12, 1 / 3000, 200, 2995, 0.1, 5.0))
    assert literal_deflated_sharpe(GOOD, TRIALS) == pytest.approx(alone)


def test_net_returns_are_asked_against_the_same_hurdle():
    swapped = replace(GOOD, gross_sharpe_per_bar=GOOD.net_sharpe_per_bar)
    assert combined_deflated_sharpe([GOOD, GOOD], "net", TRIALS) == combined_deflated_sharpe(
        [swapped, swapped], "gross", TRIALS
    )


def test_the_luckiest_of_a_thousand_does_not_pass_on_a_fair_holdout():
    """Books of noise: the best on validation, and a holdout that is good at one in twenty."""
    rng = np.random.default_rng(3)
    best, n_obs = [], 2000
    trials = TrialFacts(1000, 1000.0, 1 / n_obs, 0.001)
    for _ in range(200):
        lucky = rng.normal(0, 1 / math.sqrt(n_obs), 1000).max()
        validation = replace(GOOD, direction=1, n_obs=n_obs, gross_sharpe_per_bar=lucky)
        fair = replace(validation, gross_sharpe_per_bar=1.645 / math.sqrt(n_obs))
        best.append(
            [
                combined_deflated_sharpe([validation, fair], "gross", replace(trials, n_trials=n))
                for n in (1, 1000)
            ]
        )
    alone, searched = np.array(best).T
    assert (alone >= 0.95).all()  # as one trial it would have passed
    assert (searched < 0.95).mean() > 0.99


def test_the_level_of_the_search_is_kept_and_falls_with_its_size():
    """Noise chosen among N on validation passes far less often than 5 %, its holdout unchosen."""
    rng = np.random.default_rng(4)
    n_obs, shares = 2000, []
    for n_trials in (1, 10, 100):
        trials = TrialFacts(n_trials, float(n_trials), 1 / n_obs, 0.01)
        passed = 0
        for _ in range(2000):
            lucky = rng.normal(size=n_trials).max() / math.sqrt(n_obs)
            validation = replace(
                GOOD, direction=1, n_obs=n_obs, gross_sharpe_per_bar=lucky, skew=0.0, kurtosis=3.0
            )
            holdout = replace(validation, gross_sharpe_per_bar=rng.normal() / math.sqrt(n_obs))
            passed += combined_deflated_sharpe([validation, holdout], "gross", trials) >= 0.95
        shares.append(passed / 2000)
    alone, ten, hundred = shares
    assert 0.03 < alone < 0.07
    assert ten < 0.015
    assert hundred < 0.005
