"""A correlation taken apart by the time of its bars, by the market's regime, by coin."""

import numpy as np
import pytest

from alphamill.evaluation import information_coefficient
from alphamill.evaluation.by_group import (
    REGIME_BARS,
    bar_groups,
    by_group,
    coin_parts,
    market_regimes,
)
from alphamill.evaluation.correlation import mean_ic
from alphamill.evaluation.ranks import rank_rows
from alphamill.evaluation.significance import newey_west_t, two_sided_p

HOUR, DAY = 3_600_000, 86_400_000
MONDAY = 19_723 * DAY  # 2024-01-01


def ends(n, interval=HOUR, first=MONDAY):
    return first + interval * np.arange(1, n + 1, dtype=np.int64)


def test_the_hour_is_that_of_the_close():
    assert bar_groups("hour", ends(3), HOUR, 1, ()) == ["01:00", "02:00", "03:00"]
    assert bar_groups("hour", ends(5, HOUR // 4), HOUR // 4, 1, ()) == ["00:00"] * 3 + ["01:00"] * 2


def test_the_weekday_is_that_of_the_bar_which_has_closed():
    assert bar_groups("weekday", ends(2, DAY), DAY, 1, ()) == ["Mon", "Tue"]
    assert bar_groups("weekday", ends(25), HOUR, 1, ())[23:] == ["Mon", "Tue"]


def test_phases_and_years():
    assert bar_groups("phase", ends(4), HOUR, 3, ()) == bar_groups("phase", ends(4), HOUR, 3, ())
    assert len(set(bar_groups("phase", ends(12), HOUR, 4, ()))) == 4
    assert bar_groups("year", ends(1, first=MONDAY - HOUR), HOUR, 1, ()) == ["2024"]
    assert bar_groups("year", ends(1, first=MONDAY - 2 * HOUR), HOUR, 1, ()) == ["2023"]


@pytest.mark.parametrize(
    ("by", "interval", "horizon", "why"),
    [
        ("hour", DAY, 1, "take weekday"),
        ("phase", HOUR, 1, "one phase"),
        ("weekday", 7 * DAY, 1, "take year"),
        ("coin", HOUR, 1, "one of hour"),
    ],
)
def test_what_cannot_be_grouped_says_what_can(by, interval, horizon, why):
    with pytest.raises(ValueError, match=why):
        bar_groups(by, ends(3, interval), interval, horizon, ())


def test_a_group_has_its_own_mean_t_and_a_p_for_all_of_them():
    rng = np.random.default_rng(2)
    ic = rng.normal(0.02, 0.2, 2400)
    ic[5::24] += 0.1
    ic[7] = np.nan
    groups = bar_groups("hour", ends(2400), HOUR, 4, ())
    found = by_group(ic, groups, 4)
    assert [one.group for one in found] == sorted(set(groups))
    assert sum(one.bars for one in found) == 2399
    best = max(found, key=lambda one: one.mean)
    assert best.group == "06:00"
    own = ic[5::24]
    assert best.mean == pytest.approx(own.mean())
    assert best.t == pytest.approx(newey_west_t(own, 4))  # labels of 4 hours do not meet
    assert best.p_adjusted == pytest.approx(24 * two_sided_p(best.t))


def test_overlapping_labels_are_counted_as_far_as_they_reach():
    ic = np.random.default_rng(3).normal(size=500)
    [year] = by_group(ic, ["2024"] * 500, 20)
    assert year.t == pytest.approx(newey_west_t(ic, 59))


def test_coins_parts_add_up_to_the_rank_ic():
    rng = np.random.default_rng(4)
    values, forward = rng.normal(size=(2, 300, 6))
    values[rng.random(values.shape) < 0.2] = np.nan
    forward[rng.random(values.shape) < 0.1] = np.nan
    values[10], forward[11] = 1.0, 2.0  # constant: no correlation
    names = list("ABCDEF")
    parts = coin_parts(rank_rows(values), rank_rows(forward), names, 1)
    whole = mean_ic(information_coefficient(values, forward))
    assert sum(one.mean for one in parts) == pytest.approx(whole, abs=1e-12)
    assert sorted(one.group for one in parts) == names
    assert [abs(one.mean) for one in parts] == sorted(
        (abs(one.mean) for one in parts), reverse=True
    )


def test_the_coin_that_predicts_has_the_part():
    rng = np.random.default_rng(5)
    values, forward = rng.normal(size=(2, 500, 8))
    forward[:, 3] = 3 * values[:, 3]
    [best, *rest] = coin_parts(rank_rows(values), rank_rows(forward), list("ABCDEFGH"), 1)
    assert best.group == "D"
    assert best.mean > 5 * max(abs(one.mean) for one in rest)


def test_a_regime_is_known_at_its_close():
    rng = np.random.default_rng(6)
    close = np.exp(rng.normal(0, 0.01, (800, 5)).cumsum(axis=0))
    close[:300, 2] = np.nan
    whole = market_regimes(close)
    disturbed = close.copy()
    disturbed[500:] *= 1 + rng.normal(0, 0.5, (300, 1)) ** 2
    assert market_regimes(disturbed)[:500] == whole[:500]
    assert market_regimes(close[:500]) == whole[:500]
    assert whole[:REGIME_BARS] == [""] * REGIME_BARS
    assert set(whole[REGIME_BARS:]) <= {"up, calm", "up, wild", "down, calm", "down, wild"}


def test_regimes_are_what_they_are_called():
    quiet, loud = 0.001, 0.05
    moves = np.concatenate([np.full(400, quiet), np.tile([loud, -loud], 200), np.full(400, -quiet)])
    regimes = market_regimes(np.exp(np.cumsum(moves))[:, None] * np.ones(3))
    assert {one[:2] for one in regimes[300:400]} == {"up"}
    assert {one[-4:] for one in regimes[570:800]} == {"wild"}
    assert set(regimes[-100:]) <= {"down, calm", "down, wild"}
    assert regimes[-1] == "down, calm"
