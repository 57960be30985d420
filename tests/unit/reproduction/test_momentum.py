"""crypto-momentum-backtest from its own prices, and what its clip does."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from alphamill.factors import compute
from alphamill.language import read_given
from alphamill.reproduction import State, momentum

KEPT = Path(__file__).resolve().parents[2] / "data" / "crypto-momentum-backtest"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """As `git clone` leaves the two files that are read."""
    folder = tmp_path_factory.mktemp("clone")
    for packed in KEPT.glob("*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return str(folder)


@pytest.fixture(scope="module")
def found(clone):
    return {row.what: row for row in momentum.reproduce(clone).rows}


def test_the_tables_come_out_to_the_last_printed_digit_in_all_three_periods(found):
    published = [row for row in found.values() if row.published]
    assert len(published) == 21
    assert [row for row in published if row.state is not State.AGREES] == []


def test_without_the_clip_that_the_table_does_not_state_t_is_another(found):
    plain = found["reversal 2025-26, t of alpha, nothing clipped"]
    assert plain.state is State.SHOWN
    assert plain.ours == pytest.approx(3.740, abs=5e-4)
    assert found["reversal 2025-26, t of alpha"].ours - plain.ours == pytest.approx(0.896, abs=1e-3)
    assert "moves t by 0.90" in plain.note


def test_with_the_last_days_of_2022_and_2024_ten_of_the_figures_are_others(clone, monkeypatch):
    """Days are stamped 16:00: a period that ends at 00:00 of the day it names has not that day."""
    whole = {
        name: (first, last if last.startswith("2026") else f"{last}T23:59")
        for name, (first, last) in momentum._PERIODS.items()
    }
    monkeypatch.setattr(momentum, "_PERIODS", whole)
    rows = {row.what: row for row in momentum.reproduce(clone).rows}
    assert sum(row.state is State.DIFFERS for row in rows.values()) == 10
    assert rows["reversal 2023-24, t of alpha"].ours == pytest.approx(1.35, abs=5e-3)


def test_a_clip_that_nothing_reaches_changes_nothing_and_a_narrower_one_does(clone):
    daily = momentum.Daily.read(clone)
    values = compute(read_given("-returns"), daily.panel)
    largest = float(np.nanmax(np.abs(compute(read_given("returns"), daily.panel))))
    assert momentum.measured(daily, values, largest) == momentum.measured(daily, values, math.inf)
    assert momentum.measured(daily, values, 0.1) != momentum.measured(daily, values, 0.3)


def test_alpha_and_its_t_are_those_of_statsmodels():
    rng = np.random.default_rng(5)
    market = rng.normal(0, 0.03, 400)
    earned = 0.001 + 0.2 * market + rng.normal(0, 0.01, 400)
    fit = sm.OLS(earned, sm.add_constant(market)).fit()
    alpha, t = momentum._alpha(earned, market)
    assert alpha == pytest.approx(fit.params[0], rel=1e-10)
    assert t == pytest.approx(fit.tvalues[0], rel=1e-10)


def test_a_clone_with_windows_ends_of_lines_is_the_same(clone, tmp_path):
    for name in ("data_px.csv", "data_elig.csv"):
        text = (Path(clone) / name).read_bytes()
        (tmp_path / name).write_bytes(text.replace(b"\n", b"\r\n"))
    assert momentum.Daily.read(str(tmp_path)).panel.n_bars == 2229
