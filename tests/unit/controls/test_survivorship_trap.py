"""A market that pays nothing: only who leaves its dead out believes otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from alphamill.controls.direct import judge_panel
from alphamill.controls.survivors import BUYS_THE_FALLEN, spring, trap_market
from alphamill.evaluation import Grade, backtest, forward_returns
from alphamill.settings import SegmentSettings

ONE_BAR = SegmentSettings(horizon_bars=1)


@pytest.mark.parametrize("seed", range(4))
def test_survivors_alone_show_a_factor_that_all_coins_do_not(seed):
    trap = spring(seed)
    assert trap.delisted >= 10
    assert trap.survivors.grade.admitted
    assert trap.whole.grade is Grade.REJECTED
    failed = {gate.name for gate in trap.whole.gates if not gate.passed}
    assert "deflated_sharpe" in failed  # ranks hardly see a rare collapse; the book does


def test_it_is_the_last_returns_of_the_dead_that_tell_the_truth():
    """Were a collapse dropped with its bar, all coins together would mislead as survivors do."""
    panel = trap_market(0, 50, 4000)
    blind = {name: values.copy() for name, values in panel.items()}
    for column in range(50):
        last = np.flatnonzero(np.isfinite(panel["close"][:, column]))[-1]
        if last < panel.n_bars - 1:
            for values in blind.values():
                values[last, column] = np.nan
    assert judge_panel(panel, BUYS_THE_FALLEN, ONE_BAR).grade is Grade.REJECTED
    spared = judge_panel(replace(panel, fields=blind), BUYS_THE_FALLEN, ONE_BAR)
    assert spared.grade.admitted


def test_a_collapse_reaches_the_label_and_the_book():
    """One coin of four falls by 90 % in its last bar; the other prices never move."""
    n_bars = 60
    close = np.full((n_bars, 4), 100.0)
    opens = close.copy()
    close[40, 0] = 10.0
    close[41:, 0] = opens[41:, 0] = np.nan
    panel = {"open": opens, "close": close, "volume": np.where(np.isnan(close), np.nan, 1.0)}
    labels = forward_returns(panel, 1, 1)
    assert labels[39, 0] == pytest.approx(-0.9)
    assert np.isnan(labels[40:, 0]).all()
    values = np.tile([4.0, 3.0, 2.0, 1.0], (n_bars, 1))
    book = backtest(
        values,
        panel,
        0.0,
        horizon_bars=1,
        entry_lag_bars=1,
        bars_per_year=8760,
        scheme="rank",
        direction=1,
    )
    # Ranks 4, 3, 2, 1 weigh 3/8, 1/8, -1/8, -3/8 of the book.
    assert np.nanmin(book.gross_returns) == pytest.approx(-0.9 * 3 / 8)
    assert np.count_nonzero(np.nan_to_num(book.gross_returns)) == 1


def test_the_market_pays_nothing_on_average():
    """Over many coins the mean return in danger is 0 with the collapses, above it without."""
    close = trap_market(3, 400, 3000)["close"]
    returns = close[1:] / close[:-1] - 1
    high = np.lib.stride_tricks.sliding_window_view(close, 168, axis=0).max(axis=-1)
    fallen = (close[167:-1] < 0.94 * high[:-1]) & np.isfinite(returns[167:])
    own = returns[167:][fallen]
    error = own.std() / np.sqrt(own.size)
    assert abs(own.mean()) < 3 * error
    spared = own[own > -0.5]
    assert spared.size < own.size
    assert spared.mean() > 5 * spared.std() / np.sqrt(spared.size)
