"""The books of crypto-alpha-across-horizons: published counts, hands, and a plain loop."""

import math
from collections import deque

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from alphamill.frames import Month, TimeRange
from alphamill.reproduction import cohorts, failed_validation
from alphamill.reproduction.closes import HOUR_MS, Closes
from alphamill.reproduction.cohorts import FINALISTS, Design, book_of, entry_weights
from alphamill.reproduction.figures import figures
from alphamill.reproduction.horizons import _WINDOWS

NAN = math.nan


def walks(first, hours, symbols, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    values = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (hours, len(symbols))), axis=0))
    values[rng.random(values.shape) < missing] = NAN
    return Closes(first + HOUR_MS * np.arange(hours, dtype=np.int64), tuple(symbols), values)


@pytest.mark.parametrize("period", _WINDOWS)
@pytest.mark.parametrize("name", FINALISTS)
def test_decisions_are_as_many_as_were_published(name, period):
    design, printed = FINALISTS[name], figures("horizons")["finalists"][name][period]
    times = cohorts.decisions(design, _WINDOWS[period])
    assert len(times) == int(printed["decision_observations"])
    assert len(times) + design.cohorts == int(printed["effective_portfolio_refreshes"])
    assert design.cohorts == int(printed["max_active_cohorts"])
    if "ic_hac_lags" in printed:
        assert design.lags == int(printed["ic_hac_lags"])


@pytest.mark.parametrize(
    ("name", "period", "first", "last"),
    [
        ("BAL", "development", "2020-04-02", "2022-11-06"),
        ("BAL", "evaluation", "2023-01-01", "2024-11-05"),
        ("BAL", "holdout", "2025-01-02", "2026-06-06"),
        ("ECON", "holdout", "2025-01-01", "2026-06-20"),
        ("SHARP", "evaluation", "2023-01-01", "2024-11-06"),
    ],
)
def test_the_first_and_the_last_decision_are_the_published_days(name, period, first, last):
    times = cohorts.decisions(FINALISTS[name], _WINDOWS[period])[[0, -1]]
    days = pd.DatetimeIndex(times.astype("datetime64[ms]")).strftime("%Y-%m-%d %H:%M")
    assert list(days) == [f"{first} 00:00", f"{last} 00:00"]


def test_terciles_are_above_two_thirds_and_up_to_one_third_of_the_ranks():
    design = Design(1, 2, 1, terciles=True)
    twenty_five = entry_weights(np.arange(25.0)[None], design)[0]
    assert (twenty_five > 0).sum() == 9  # 17/25 is the first above two thirds
    assert (twenty_five < 0).sum() == 8
    assert twenty_five[twenty_five > 0] == pytest.approx(0.5 / 9)
    three = entry_weights(np.array([[3.0, 1.0, NAN, 2.0]]), design)[0]
    assert three.tolist() == [0.5, -0.5, 0.0, 0.0]
    ties = entry_weights(np.array([[1.0, 1.0, 1.0]]), design)[0]  # all at 2/3 of the ranks
    assert ties.tolist() == [0.0, 0.0, 0.0]
    assert not entry_weights(np.array([[1.0, 2.0, NAN]]), design).any()


def test_ranks_weigh_half_above_and_half_below():
    design = Design(1, 2, 1, terciles=False)
    assert entry_weights(np.array([[5.0, 1.0, 2.0]]), design)[0].tolist() == [0.5, -0.5, 0.0]


def test_a_book_of_two_cohorts_by_hand():
    entries = np.array([[0.5, -0.5, 0.0], [0.5, 0.0, -0.5]])
    returns = np.array([[0.02, 0.01, 9.0], [0.0, 0.04, 0.02], [0.01, NAN, 0.03], [NAN] * 3])
    book = book_of(entries, returns, cohorts=2)
    # refresh 1: (1, -0.5, -0.5) / 2; refresh 2: the second cohort alone; refresh 3: sold
    assert book.gross == pytest.approx([0.005, -0.25 * 0.04 - 0.25 * 0.02, -0.01, 0.0])
    assert book.traded == pytest.approx([1.0, 0.5, 0.5, 1.0])
    assert book.cohorts.tolist() == [1, 2, 1, 0]
    assert book.net(20) == pytest.approx(book.gross - 0.002 * book.traded)


def test_a_held_coin_without_a_return_makes_the_refresh_incomplete_and_another_does_not():
    entries = np.array([[0.5, -0.5, 0.0]])
    held = book_of(entries, np.array([[NAN, 0.0, 0.0], [0.0] * 3]), 1)
    other = book_of(entries, np.array([[0.0, 0.0, NAN], [0.0] * 3]), 1)
    assert np.isnan(held.gross).tolist() == [True, False]
    assert np.isfinite(other.gross).all()


def looped(design, closes, lists, window):
    """The study's rules once more, a decision at a time in pandas; nothing is shared with ours."""
    index = pd.DatetimeIndex(closes.times_ms.astype("datetime64[ms]"))
    close = pd.DataFrame(closes.values, index=index, columns=closes.symbols)
    hours = lambda n: pd.Timedelta(hours=n)  # noqa: E731
    step, hold = hours(design.cadence_h), hours(design.holding_h)
    t, end = pd.Timestamp(window.start_ms, unit="ms"), pd.Timestamp(window.end_ms, unit="ms")
    while t.value // 10**6 % (design.cadence_h * HOUR_MS):
        t += hours(1)
    first, ics, active, rows = t, [], deque(), []
    last = None
    before = pd.Series(0.0, index=close.columns)
    while last is None or t <= last + hold:
        while active and active[0][0] <= t:
            active.popleft()
        if t + hold <= end:
            last = t
            members = list(lists[Month(t.year, t.month)])
            past = close.loc[t, members] / close.loc[t - hours(design.formation_h), members] - 1
            ahead = close.loc[t + hold, members] / close.loc[t, members] - 1
            both = pd.concat([past, ahead], axis=1).dropna()
            ics.append(both[0].corr(both[1], method="spearman") if len(both) >= 3 else NAN)
            share = past.dropna().rank(pct=True)
            weights = pd.Series(0.0, index=close.columns)
            if len(share) >= 3:
                if design.terciles:
                    long, short = share.index[share > 2 / 3], share.index[share <= 1 / 3]
                    weights[long], weights[short] = 0.5 / len(long), -0.5 / len(short)
                else:
                    raw = share - share.mean()
                    weights[share.index] = raw / raw.abs().sum()
                active.append((t + hold, weights))
        held = sum((one for _, one in active), pd.Series(0.0, index=close.columns))
        held = held / held.abs().sum() if active else held * 0.0
        held[held.abs() < 1e-14] = 0.0
        ending = last + hold == t
        move = close.loc[t + step] / close.loc[t] - 1 if not ending else held * 0.0
        there = held != 0
        earned = NAN if move[there].isna().any() else float((held[there] * move[there]).sum())
        rows.append((earned, float((held - before).abs().sum())))
        before = held
        t += step
    frame = pd.DataFrame(rows, columns=["gross", "traded"])
    done = frame.dropna()
    ic = pd.Series(ics).dropna()
    fit = sm.OLS(ic.to_numpy(), np.ones(len(ic))).fit(
        cov_type="HAC", cov_kwds={"maxlags": design.lags}
    )
    year = 365.25 * 24 / design.cadence_h
    net = done.gross - 0.002 * done.traded
    wealth = (1 + done.gross).cumprod()
    return {
        "decision_observations": int((last - first) / step) + 1,
        "n_price_ic": len(ic),
        "mean_price_ic": ic.mean(),
        "median_price_ic": ic.median(),
        "price_ic_hac_t": fit.tvalues[0],
        "effective_portfolio_refreshes": len(frame),
        "complete_pnl_rows": len(done),
        "gross_sharpe_ann": done.gross.mean() / done.gross.std() * math.sqrt(year),
        "gross_ann_vol": done.gross.std() * math.sqrt(year),
        "total_turnover": done.traded.sum(),
        "break_even_cost_bps": 1e4 * done.gross.sum() / done.traded.sum(),
        "net20_sharpe_ann": net.mean() / net.std() * math.sqrt(year),
        "net20_cumulative_return": (1 + net).prod() - 1,
        "gross_cumulative_return": wealth.iloc[-1] - 1,
    }


@pytest.mark.parametrize(
    "design", [Design(24, 96, 8, terciles=True), Design(48, 72, 24, terciles=False)]
)
@pytest.mark.parametrize("missing", [0.0, 0.003])
def test_every_figure_is_that_of_a_plain_loop(design, missing):
    months = [Month(2023, 1), Month(2023, 2)]
    names = [f"C{number}" for number in range(9)]
    closes = walks(Month(2022, 12).start_ms, 24 * 92, names, missing=missing)
    lists = {months[0]: names[:7], months[1]: names[2:]}
    window = TimeRange(months[0].start_ms, months[1].end_ms)
    ours = cohorts.figures_of(design, closes, lists, window)
    theirs = looped(design, closes, lists, window)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-9)
    assert (ours["incomplete_pnl_rows"] > 0) is bool(missing)
    assert ours["max_active_cohorts"] == design.cohorts


def test_drawdowns_and_the_rest_belong_together():
    names = ["A", "B", "C", "D"]
    closes = walks(Month(2022, 12).start_ms, 24 * 70, names, seed=2)
    window = Month(2023, 1).range
    design = Design(24, 48, 24, terciles=False)
    found = cohorts.figures_of(design, closes, {Month(2023, 1): names}, window)
    assert found["annualized_turnover"] == pytest.approx(
        found["mean_turnover_per_decision"] * 365.25
    )
    lost = 0.002 * found["total_turnover"] * 365.25 / found["complete_pnl_rows"]
    assert found["net20_ann_return"] == pytest.approx(found["gross_ann_return"] - lost)
    assert -1 < found["net20_max_drawdown"] <= found["gross_max_drawdown"] <= 0


@pytest.fixture(scope="module")
def validation(shared_data):
    """Random walks of who belonged in the study, from before its validation to the end of it."""
    listed = pd.read_csv(shared_data / "horizons" / "monthly_universe.csv")
    months = listed.groupby(listed["effective_month"].str[:7])["symbol"].agg(tuple)
    lists = {Month.parse(name): names for name, names in months.items()}
    within = {m: names for m, names in lists.items() if Month(2022, 12) <= m <= Month(2024, 12)}
    names = sorted({name for names in within.values() for name in names})
    closes = walks(Month(2022, 12).start_ms, 24 * 770, names, seed=4)
    return closes, within


def test_both_books_have_the_published_decisions_and_refreshes(validation):
    found = failed_validation.figures_of(*validation, failed_validation.WINDOW)
    printed = figures("horizons")["validation"]
    assert {name: set(one) for name, one in found.items()} == {
        name: set(one) for name, one in printed.items()
    }
    # After a change of more than five members nobody has ranks of the day before: the counts hang
    # on the lists alone.
    for count in ("usable_decisions", "common_periods"):
        assert [one[count] for one in found.values()] == [
            int(printed[name][count]) for name in found
        ]
    assert found["momentum_delayed_1d"]["usable_decisions"] == 4302
    for one in found.values():
        lost = 0.002 * one["mean_turnover"]
        assert one["mean_net_return_20bps"] == pytest.approx(one["mean_gross_return"] - lost)
        assert one["net_sharpe_40bps"] < one["net_sharpe_20bps"] < one["net_sharpe_7bps"]
