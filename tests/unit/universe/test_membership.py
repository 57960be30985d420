"""Membership: by closed days alone, and as a published study of universes states it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import Month
from alphamill.market.exchange import SymbolInfo
from alphamill.market.kinds import Kind, kinds_of
from alphamill.universe.membership import Daily, members_by_month
from alphamill.universe.rule import parse_rule

DAY = 86_400_000
MAY = Month(2023, 5)


def daily_of(days, before=MAY, **coins):
    """The last `days` days before a month: a value a coin, or one a day."""
    columns = [np.broadcast_to(np.asarray(one, dtype=float), days) for one in coins.values()]
    return Daily(before.start_ms - days * DAY, tuple(coins), np.stack(columns, axis=1).copy())


def of(rule, daily, month=MAY):
    return members_by_month(parse_rule(rule), daily, [month])[0]


def test_the_largest_belong_the_first_first_and_ties_go_by_name():
    found = of("top:3 by mean_2d(volume)", daily_of(40, D=1, C=2, B=2, A=3, E=0.5))
    assert found.members == ("A", "B", "C")
    assert found.measures == (3, 2, 2)
    assert (found.candidates, found.passed) == (5, {"others had more": 2})


@pytest.mark.parametrize(
    ("statistic", "most"), [("median", "B"), ("mean", "A"), ("min", "B"), ("max", "A")]
)
def test_each_statistic(statistic, most):
    bars = daily_of(3, A=[0.1, 0.5, 9], B=[1, 1, 1])
    assert of(f"top:1 by {statistic}_3d(volume), listed:0d", bars).members == (most,)


def test_the_month_itself_is_not_looked_at():
    rule = "top:1 by mean_2d(volume), listed:3d"
    bars = daily_of(40, A=1, B=2)
    later = Daily(bars.start_ms, bars.names, np.vstack([bars.values, [[100, 0.0]] * 31]))
    assert of(rule, later).members == of(rule, bars).members == ("B",)
    last = bars.values.copy()
    last[-1, 0] = 100  # the day before, which has closed
    assert of(rule, Daily(bars.start_ms, bars.names, last)).members == ("A",)


@given(st.integers(0, 60), st.floats(0.1, 100), st.sampled_from(["mean_5d", "max_30d"]))
def test_cutting_off_the_future_changes_no_earlier_month(rows, value, measure):
    rng = np.random.default_rng(rows)
    values = rng.random((130, 6))
    values[rng.random(values.shape) < 0.02] = np.nan
    daily = Daily(Month(2023, 1).start_ms, tuple("ABCDEF"), values)
    rule = parse_rule(f"top:2 by {measure}(volume), listed:20d")
    months = [Month(2023, 2), Month(2023, 3), MAY]
    disturbed = values.copy()
    disturbed[120 + min(rows, 9) :] = value  # 120 is the first of May
    whole = members_by_month(rule, daily, months)
    assert members_by_month(rule, Daily(daily.start_ms, daily.names, disturbed), months) == whole
    assert members_by_month(rule, Daily(daily.start_ms, daily.names, values[:120]), months) == whole


def test_a_day_without_a_bar_in_the_window_keeps_a_coin_out():
    hole = [1.0] * 40
    hole[-3] = np.nan
    found = of("top:9 by mean_5d(volume), listed:9d", daily_of(40, A=hole, B=1))
    assert found.members == ("B",)
    assert found.passed == {"a day of the window without a bar": 1}
    assert of("top:9 by mean_2d(volume), listed:9d", daily_of(40, A=hole, B=1)).members == (
        "A",
        "B",
    )


def test_a_coin_that_has_ended_and_one_that_stands_still_are_out():
    dead = [1.0] * 39 + [np.nan]
    found = of("top:9 by mean_5d(volume), listed:9d", daily_of(40, A=dead, B=0, C=1))
    assert found.members == ("C",)
    assert found.passed == {"a day of the window without a bar": 1, "nothing traded": 1}


@pytest.mark.parametrize(("age", "listed"), [(9, False), (10, True), (11, True)])
def test_listed_counts_from_the_first_bar(age, listed):
    young = [np.nan] * (40 - age) + [1.0] * age
    found = of("top:9 by mean_5d(volume), listed:10d", daily_of(40, A=young, B=1))
    assert (found.members == ("A", "B")) is listed


def test_what_lies_further_back_than_the_rule_looks_changes_nothing():
    """So that a lake with more history gives the same members."""
    rule = parse_rule("top:9 by mean_5d(volume), listed:10d")
    halted = np.full(500, np.nan)
    halted[:100], halted[-6:] = 1, 1  # back for six days, after more than a year
    bars = daily_of(500, A=halted, B=1)
    cut = Daily(bars.start_ms + 110 * DAY, bars.names, bars.values[110:])
    assert rule.history_days == 375
    for daily in (bars, cut):
        assert members_by_month(rule, daily, [MAY])[0].members == ("B",)


def test_before_the_first_bar_there_is_nobody():
    found = of("top:9 by mean_5d(volume), listed:10d", daily_of(4, A=1, B=1))
    assert found.members == ()
    assert found.passed == {"not listed so long ago": 2}
    early = of("top:9 by mean_5d(volume), listed:10d", daily_of(40, A=1), Month(2020, 1))
    assert early.members == ()


# What the published lists of a study lack: coins that were delisted or renamed after them.
LOST = set(
    "AGIX AKRO ANC BLZ BOND BURGER EOS FLM FRONT FTM HIFI HIGH HOOK LINA LOOM LRC MATIC MKR MULTI "  # noqa: SIM905
    "OMG PERP RNDR SRM TRU UNFI WAVES XMR".split()
)


@pytest.fixture(scope="module")
def study(shared_data):
    """Daily volumes of 411 symbols, and the published members by month with their liquidity."""
    folder = shared_data / "horizons"
    volumes = pd.read_parquet(folder / "daily_quote_volume.parquet")
    infos = {name: SymbolInfo(name, "", name.removesuffix("USDT"), "USDT") for name in volumes}
    kinds = kinds_of(infos)
    coins = [name for name in volumes if not kinds[name] - {Kind.DATED}]
    start_ms = int(volumes.index[0].timestamp() * 1000)
    values = volumes[coins].to_numpy(dtype=float)
    published = pd.read_csv(folder / "monthly_universe.csv")
    published["month"] = published["effective_month"].str[:7]
    return Daily(start_ms, tuple(coins), values), published


def belonging(daily, without):
    """The study's rule over the coins that are not named, by month."""
    rule = parse_rule(
        f"top:25 by median_30d(quote_volume), listed:90d, without:{'+'.join(without)}, monthly"
    )
    kept = [at for at, name in enumerate(daily.names) if name[:-4] not in rule.without]
    names = tuple(daily.names[at] for at in kept)
    months = [Month(2021, month) for month in range(8, 13)]
    months += [Month(year, month) for year in (2022, 2023) for month in range(1, 13)]
    return members_by_month(rule, Daily(daily.start_ms, names, daily.values[:, kept]), months)


def test_a_published_universe_lacks_its_dead_in_every_month(study):
    daily, published = study
    lists = published.groupby("month")["symbol"].agg(set)
    whole = belonging(daily, ["UST"])
    differing = [len({*one.members} - lists[str(one.month)]) for one in whole]
    assert len(differing) == 29
    assert (min(differing), max(differing)) == (1, 7)
    lost = {name for one in whole for name in {*one.members} - lists[str(one.month)]}
    assert {f"{name}USDT" for name in ("MATIC", "FTM", "EOS")} <= lost


def test_without_the_coins_that_it_lost_the_published_universe_comes_out(study):
    daily, published = study
    lists = published.groupby("month")["symbol"].agg(set)
    found = belonging(daily, ["UST", *LOST])
    assert sum({*one.members} == lists[str(one.month)] for one in found) == 27
    stated = published.set_index(["month", "symbol"])["liquidity_30d_median"]
    ratios = [
        measure / stated[str(one.month), name]
        for one in found
        for name, measure in zip(one.members, one.measures, strict=True)
        if (str(one.month), name) in stated.index
    ]
    assert len(ratios) > 29 * 24
    assert round(float(np.median(ratios)), 3) == 1.0
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.002) > 0.98
