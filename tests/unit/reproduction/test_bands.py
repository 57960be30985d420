"""Libraries of factors out of sample, and where their bars come from."""

from datetime import date

import numpy as np
import pytest

from alphamill.errors import GiveUp
from alphamill.evaluation import information_coefficient
from alphamill.factors import compute
from alphamill.frames import KLINE_FIELDS, Interval, Market, Month, TimeRange
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.reproduction import Row, State, bands
from alphamill.reproduction.figures import figures
from alphamill.reproduction.libraries import library_figures, next_bar_return
from alphamill.testing import klines_at, put_klines
from alphamill.universe.master_list import Listed
from alphamill.universe.snapshots import MasterList, write_master_list

NAMES = ("AUSDT", "BUSDT", "CUSDT")
FORMULAS = ("volume", "-volume", "close / open", "ts_mean(volume, 3)", "high - low", "trades")


def market(n_bars=600, n_symbols=8, seed=1):
    """Fields in which volume says how the next bar will go."""
    rng = np.random.default_rng(seed)
    volume = rng.uniform(1, 2, (n_bars, n_symbols))
    moves = 0.001 * rng.normal(size=(n_bars, n_symbols))
    moves[1:] += 0.0006 * (volume[:-1] - volume[:-1].mean())
    opens = 100 + rng.normal(size=(n_bars, n_symbols))
    close = opens * (1 + moves)
    return {
        "open": opens,
        "close": close,
        "high": np.maximum(opens, close) * 1.001,
        "low": np.minimum(opens, close) * 0.999,
        "volume": volume,
        "trades": rng.uniform(1, 2, (n_bars, n_symbols)),
    }


def test_a_library_is_chosen_in_the_first_half_and_measured_in_the_second():
    fields, n_train = market(), 300
    factors = [read_given(text) for text in FORMULAS]
    found = library_figures(factors, fields, n_train, size=3)
    ahead = next_bar_return(fields)
    values = {text: compute(read_given(text), fields) for text in FORMULAS}
    train = {
        text: np.nanmean(information_coefficient(one[: n_train - 1], ahead[: n_train - 1]))
        for text, one in values.items()
    }
    chosen = sorted(FORMULAS, key=lambda text: -abs(train[text]))[:3]
    assert set(chosen) == {"volume", "-volume", "ts_mean(volume, 3)"}
    tested = [information_coefficient(values[text][n_train:], ahead[n_train:]) for text in chosen]
    means = [abs(np.nanmean(one)) for one in tested]
    assert found["ic_percent"] == pytest.approx(100 * np.mean(means))
    assert found["icir"] == pytest.approx(
        np.mean([mean / np.nanstd(one, ddof=1) for mean, one in zip(means, tested, strict=True)])
    )
    middle = (fields["open"].shape[1] + 1) / 2
    ranks = {text: values[text][n_train:].argsort(axis=1).argsort(axis=1) + 1 for text in chosen}
    for name, weigh in (("equal", np.sign), ("ic_weighted", float)):
        signal = sum(weigh(train[text]) * (ranks[text] - middle) for text in chosen)
        ic = information_coefficient(signal, ahead[n_train:])
        assert found[f"{name}_ic_percent"] == pytest.approx(100 * abs(np.nanmean(ic)))
        assert found[f"{name}_icir"] == pytest.approx(abs(np.nanmean(ic)) / np.nanstd(ic, ddof=1))
    assert found["ic_weighted_ic_percent"] > 100 * abs(np.nanmean(tested[-1]))
    assert 0.3 < found["mean_abs_correlation"] <= 1  # a factor and its opposite are one


def test_where_nothing_predicts_no_library_does():
    fields = market(seed=3)
    fields["volume"] = np.random.default_rng(9).uniform(1, 2, fields["volume"].shape)
    found = library_figures([read_given(text) for text in FORMULAS], fields, 300, size=3)
    assert found["ic_weighted_ic_percent"] < 8  # two standard errors of 300 bars of eight coins
    with pytest.raises(ValueError, match="6 factors have an IC; a library takes 40"):
        library_figures([read_given(text) for text in FORMULAS], fields, 300)


def test_the_next_bars_return_is_from_its_open_to_its_close():
    fields = {"open": np.array([[1.0], [2.0]]), "close": np.array([[5.0], [3.0]])}
    assert next_bar_return(fields)[:, 0].tolist() == pytest.approx([0.5, np.nan], nan_ok=True)


def test_what_the_formulas_name_klines_have():
    """`columns`: what a panel must hold, vwap and averages of volume being made of it."""
    for name, least in (("alpha101", 80), ("factorminer-random", 100)):
        factors = bands.factors_of(name)
        assert len({factor.hash for factor in factors}) >= least
        assert {column for factor in factors for column in factor.columns} <= {*KLINE_FIELDS}
        assert not any("group_" in factor.text for factor in factors)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Daily bars of three coins up to 2024, which the rule asks for; 5m bars of two days."""
    made = Lake(str(tmp_path_factory.mktemp("lake")))
    first = Month(2022, 11)
    for symbol in NAMES:
        days = np.arange(first.start_ms, Month(2024, 1).start_ms, 86_400_000)
        put_klines(made, symbol, klines_at(days, Interval.D1), interval=Interval.D1)
        opens = np.arange(Month(2024, 1).start_ms, Month(2024, 1).start_ms + 172_800_000, 300_000)
        opens = np.delete(opens, [5]) if symbol == "BUSDT" else opens
        put_klines(made, symbol, klines_at(opens, Interval.M5), interval=Interval.M5)
    listed = [Listed(name, name[0], "USDT", "TRADING", first=first) for name in NAMES]
    write_master_list(made, MasterList(Market.SPOT, date(2024, 1, 2), tuple(listed)))
    return made


def test_bars_of_ten_minutes_are_made_of_the_lakes_fives(lake):
    whole = TimeRange(Month(2024, 1).start_ms, Month(2024, 1).start_ms + 172_800_000)
    found = bands.read_bars(lake, NAMES, whole)
    assert found.why == ""
    assert found.fields["close"].shape == (288, 3)
    assert np.isnan(found.fields["close"]).nonzero()[0].tolist() == [2]
    fives = klines_at([whole.start_ms, whole.start_ms + 300_000], Interval.M5).to_pydict()
    assert found.fields["volume"][0, 0] == pytest.approx(sum(fives["volume"]))
    assert found.fields["close"][0, 0] == fives["close"][1]


def test_a_lake_without_the_bars_says_which_and_how_to_bring_them(lake):
    assert bands.symbols_of(lake) == sorted(NAMES)
    found = bands.reproduce(lake, "alpha101")
    assert {row.state for row in found.rows} == {State.UNCHECKED}
    notes = {row.what: row.note for row in found.rows}
    assert (
        "lacks 5m bars of 3 of 3 symbols, 2024-01 to 2025-12 (AUSDT"
        in notes["|IC| % of one factor"]
    )
    assert "neither its penalty" in notes["Lasso, ICIR"]
    (cure,) = found.cures
    assert "--symbols-file symbols.txt --unlisted --interval 5m --start 2024-01-01" in cure


def test_without_daily_bars_two_commands_bring_them(tmp_path):
    empty = Lake(str(tmp_path))
    found = bands.reproduce(empty, "factorminer-random")
    assert len(found.cures) == 2
    assert f'--universe "{bands.RULE}" --interval 1d' in found.cures[0]
    with pytest.raises(GiveUp, match=r"no list of all symbols.*--interval 1d"):
        bands.symbols_of(empty)


@pytest.mark.parametrize(
    ("ours", "state"),
    [(0.725, State.AGREES), (2.9, State.AGREES), (0.7, State.DIFFERS), (3.0, State.DIFFERS)],
)
def test_a_band_is_from_half_to_twice(ours, state):
    text = figures("factorminer")["published"]["factorminer-random"]["ic_percent"]
    row = Row("|IC|", text, ours, band=(float(text) / bands.BAND, float(text) * bands.BAND))
    assert row.state is state
    assert row.to_dict()["band"] == (0.725, 2.9)
    assert row.to_dict()["tolerance"] is None
