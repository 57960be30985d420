"""The verdict on a combined signal: its segments, its trials, and the gates of any factor."""

import math

import numpy as np
import pytest

from alphamill.combination import (
    ChargedTrial,
    Combiner,
    FactorRanks,
    combination_segments,
    judge_combination,
    refit_schedule,
    score_combination,
    walk_forward,
)
from alphamill.evaluation import GateThresholds, Grade, Segment, forward_returns, split_bars

HORIZON, LAG = 2, 1
N_BARS, N_SYMBOLS, N_FACTORS = 1600, 20, 6
SCHEDULE = refit_schedule(3_600_000 * np.arange(N_BARS), 7 * 86_400_000, 100, HORIZON + LAG)


def market(strength, seed=0):
    """A panel whose returns follow six factors a little, and the factors' values."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_FACTORS, N_BARS, N_SYMBOLS))
    for t in range(1, N_BARS):
        values[:, t] = 0.8 * values[:, t - 1] + 0.6 * values[:, t]
    # The open-to-open return that a signal of bar t earns first is that from t + 1 to t + 2.
    earned = rng.normal(0, 0.01, (N_BARS, N_SYMBOLS))
    earned[2:] += strength * 0.01 * values[:, :-2].sum(axis=0)
    opens = 100 * np.exp(earned.cumsum(axis=0))
    closes = np.vstack([opens[1:], opens[-1:]])
    return values, {"open": opens, "close": closes}


def scored(strength, seed=0, method="ic", direction=1):
    values, panel = market(strength, seed)
    ranks = FactorRanks.of(list(values), [direction] * N_FACTORS)
    labels = forward_returns(panel, HORIZON, LAG)
    walked = walk_forward(ranks, labels, Combiner(method), SCHEDULE, HORIZON)
    segments = combination_segments(SCHEDULE, 0.4, 0.3, HORIZON + LAG)
    return score_combination(
        walked.signal,
        panel,
        segments,
        horizon_bars=HORIZON,
        entry_lag_bars=LAG,
        fee_bps=1.0,
        bars_per_year=8760,
    )


@pytest.fixture(scope="module")
def strong():
    return scored(0.05)


def judged(scores, tried=None, **options):
    own = ChargedTrial.of(scores[Segment.VALIDATION])
    given = {"thresholds": GateThresholds(), "look_ahead_ok": True} | options
    return judge_combination(scores, [own] if tried is None else tried, **given)


def gate(verdict, name):
    return next(one for one in verdict.gates if one.name == name)


def test_validation_and_holdout_are_the_runs_and_discovery_begins_at_the_first_refit():
    segments = combination_segments(SCHEDULE, 0.4, 0.3, HORIZON + LAG)
    runs = split_bars(N_BARS, 0.4, 0.3, HORIZON + LAG)
    assert segments[Segment.VALIDATION] == runs[Segment.VALIDATION]
    assert segments[Segment.HOLDOUT] == runs[Segment.HOLDOUT]
    discovery = segments[Segment.DISCOVERY]
    assert discovery.start_bar + discovery.skip_bars == SCHEDULE.first_bar
    assert discovery.stop_bar == runs[Segment.DISCOVERY].stop_bar


def test_a_first_refit_after_discovery_says_what_to_do():
    late = refit_schedule(3_600_000 * np.arange(N_BARS), 7 * 86_400_000, 700, HORIZON + LAG)
    with pytest.raises(ValueError, match="comes after discovery, which ends at bar 640 of 1600"):
        combination_segments(late, 0.4, 0.3, HORIZON + LAG)


def test_what_is_planted_is_predictive_and_covered_from_the_first_refit(strong):
    verdict = judged(strong)
    assert verdict.grade.admitted
    assert gate(verdict, "coverage").value == 1.0
    assert [strong[one].direction for one in Segment if one in strong] == [1, 1, 1]


def test_noise_is_not_admitted():
    assert not judged(scored(0.0)).grade.admitted


def test_a_signal_that_must_be_turned_round_has_failed():
    assert judged(scored(0.05, method="equal")).grade.admitted
    turned = judged(scored(0.05, method="equal", direction=-1))
    assert turned.grade is Grade.REJECTED
    assert not gate(turned, "validation_sign").passed
    # Weights by RankIC turn it round by themselves.
    assert judged(scored(0.05, direction=-1)).grade.admitted


def test_every_combiner_tried_and_every_earlier_trial_is_charged():
    weak = scored(0.015)
    own = ChargedTrial.of(weak[Segment.VALIDATION])
    worthless = [ChargedTrial(0.5, 0.001), ChargedTrial(math.nan, math.nan)]
    alone = judged(weak)
    tried = judged(weak, [worthless[0], own, worthless[1]])
    searched = judged(weak, [own, *worthless], earlier=worthless * 50)
    assert [one.n_trials for one in (alone, tried, searched)] == [1, 3, 103]
    hurdles = [gate(one, "false_discovery").value for one in (alone, tried, searched)]
    assert hurdles == pytest.approx([own.p_value, 3 * own.p_value, 103 * own.p_value])
    deflated = [one.deflated_sharpe for one in (alone, tried, searched)]
    assert deflated == sorted(deflated, reverse=True)
    assert deflated[0] > deflated[-1]


def test_a_combiner_that_is_not_charged_is_not_judged(strong):
    with pytest.raises(ValueError, match="charge every combiner that was walked, this one too"):
        judged(strong, [ChargedTrial(0.5, 0.001)])


def test_looks_that_the_holdout_has_had_raise_its_hurdle(strong):
    hurdles = [gate(judged(strong, looks_before=n), "holdout_t").threshold for n in (0, 1, 20)]
    assert hurdles == sorted(hurdles)
    assert hurdles[0] < hurdles[1] < hurdles[2]


def test_a_factor_that_was_not_certified_fails_the_combination(strong):
    assert judged(strong, look_ahead_ok=None).grade is Grade.REJECTED
    assert judged(strong, library_correlation=0.9).grade is Grade.REJECTED


def test_without_a_holdout_there_is_no_grade(strong):
    shown = {name: one for name, one in strong.items() if name is not Segment.HOLDOUT}
    assert judged(shown).grade is Grade.REJECTED
