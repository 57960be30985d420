"""crypto-alpha-across-horizons: its yearly IC from recordings, and what a lake lacks for it."""

import shlex
import shutil
from datetime import date

import click
import numpy as np
import pandas as pd
import pytest

from alphamill.errors import GiveUp
from alphamill.evaluation.by_group import bar_groups, by_group
from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.lake import Lake, MonthFacts, write_klines
from alphamill.market.exchange import SymbolInfo
from alphamill.market.kinds import Kind, kinds_of
from alphamill.reproduction import State, horizons, with_the_dead, yearly_ic
from alphamill.reproduction.closes import HOUR_MS, Closes, lacking, needed, read_closes
from alphamill.reproduction.figures import figures
from alphamill.testing import klines_at, put_klines
from alphamill.universe.master_list import Listed
from alphamill.universe.membership import Daily, members_by_month
from alphamill.universe.rule import parse_rule
from alphamill.universe.snapshots import MasterList, read_master_list, write_master_list
from producers.cli import main

HOURS = [1, 2, 4, 8, 12, 24]


@pytest.fixture(scope="module")
def recorded(shared_data):
    """A frame of hourly closes by opening time, on a full grid."""
    closes = pd.read_parquet(shared_data / "horizons" / "closes_1h.parquet")
    return closes.reindex(pd.date_range(closes.index[0], closes.index[-1], freq="h"))


@pytest.fixture(scope="module")
def clone(shared_data, tmp_path_factory):
    """As `git clone` leaves the one file that is read."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "data" / "universe").mkdir(parents=True)
    name = "monthly_universe.csv"
    (folder / "data" / "universe" / name).write_bytes(
        (shared_data / "horizons" / name).read_bytes()
    )
    return str(folder)


@pytest.fixture(scope="module")
def closes(recorded):
    times = recorded.index.as_unit("ms").asi8 + HOUR_MS
    return Closes(times, tuple(recorded.columns), recorded.to_numpy())


def lists_of(clone, first, last):
    lists = horizons.published_lists(clone)
    return {month: names for month, names in lists.items() if first <= month <= last}


def printed(signal, hours, year):
    mean, median, n = figures("horizons")["ic"][signal][f"{hours}h"][str(year)]
    return float(mean), float(median), int(n)


@pytest.mark.parametrize(
    ("signal", "year"), [("reversal", 2022), ("momentum", 2022), ("reversal", 2023)]
)
def test_eighteen_rows_of_the_yearly_ic_come_out_to_six_decimals(closes, clone, signal, year):
    lists = lists_of(clone, Month(2021, 12), Month(2023, 12))
    found = yearly_ic.yearly_ic(closes, lists, signal, year, HOURS)
    ours = {
        hours: (round(one.mean, 6), round(one.median, 6), one.n) for hours, one in found.items()
    }
    assert ours == {hours: printed(signal, hours, year) for hours in HOURS}


def test_bars_labelled_by_their_opening_time_give_other_figures(closes, clone):
    lists = lists_of(clone, Month(2021, 12), Month(2022, 12))
    opened = Closes(closes.times_ms - HOUR_MS, closes.symbols, closes.values)
    found = yearly_ic.yearly_ic(opened, lists, "reversal", 2022, [24])
    assert found[24].mean == pytest.approx(-0.144, abs=5e-4)
    assert printed("reversal", 24, 2022)[0] == -0.123416


@pytest.fixture(scope="module")
def lake(recorded, clone, tmp_path_factory):
    """2023 of the study's members, asked for up to where the recordings end; and that alone."""
    made = Lake(str(tmp_path_factory.mktemp("lake")))
    lists = lists_of(clone, Month(2023, 1), Month(2023, 12))
    end_ms = recorded.index[-1].value // 10**6 + HOUR_MS
    wanted = needed(lists, yearly_ic.decided(2023), 4, 4)
    for symbol, parts in wanted.items():
        column = recorded[symbol].dropna()
        opens = column.index.as_unit("ms").asi8
        for part in parts:
            for month, _ in TimeRange(part.start_ms - HOUR_MS, part.end_ms).by_month():
                inside = (opens >= month.start_ms) & (opens < month.end_ms)
                table = klines_at(opens[inside], close=column.to_numpy()[inside])
                asked = TimeRange(month.start_ms, min(month.end_ms, end_ms))
                facts = MonthFacts("rest", asked)
                write_klines(made, Market.SPOT, symbol, Interval.H1, month, table, facts)
    return made


@pytest.fixture(scope="module")
def found(lake, clone):
    return horizons.reproduce(lake, clone)


def test_from_a_lake_that_has_a_year_its_rows_are_checked_and_the_others_say_why_not(found):
    checked = [row for row in found.rows if row.state is not State.UNCHECKED]
    assert {row.state for row in checked} == {State.AGREES}
    assert [row.what for row in checked] == [
        f"reversal {hours}h 2023, {of}"
        for hours in HOURS
        for of in ("mean IC", "median IC", "decisions")
    ]
    notes = {row.what: row.note for row in found.rows}
    assert notes["momentum 1h 2023, mean IC"].startswith("the lake lacks 1h bars of ")
    assert "2023-12 (" in notes["momentum 1h 2023, mean IC"]
    assert "2020-03 to 2020-12 (ADAUSDT" in notes["reversal 1h 2020, mean IC"]
    assert "2024-12 to 2026-07" in notes["SHARP, holdout, mean_price_ic"]
    assert "no list of all symbols" in notes["momentum 24h 2023, mean IC, with the dead"]
    assert len(found.rows) == 180 + 24 + 6 * 21 + 3 * 26 + 10
    assert not found.failed


def test_the_cures_are_commands_that_parse(found, clone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "symbols.txt").write_text("BTCUSDT\n")
    study, dead = found.cures
    first, _, then = study.partition(" > symbols.txt && ")
    for line in (first, then, dead):
        _, name, *words = shlex.split(line)
        with click.Context(main) as context:
            main.get_command(context, name).make_context(name, words)
    assert first.endswith(f"--source {clone} --symbols")
    assert "--start 2020-03-01 --end 2026-08-01" in then
    assert parse_rule(with_the_dead.RULE).without == ("UST",)


def test_a_wrong_price_is_seen(clone, closes):
    values = closes.values.copy()
    values[:, closes.symbols.index("BTCUSDT")] **= 3
    lists = lists_of(clone, Month(2023, 1), Month(2023, 12))
    whole = TimeRange(0, 2**62)
    known = {name: [whole] for name in closes.symbols}
    wrong = Closes(closes.times_ms, closes.symbols, values, known)
    rows = [row for row in horizons.Study(lists, wrong).ic_rows() if "reversal 1h 2023" in row.what]
    assert [row.state for row in rows] == [State.DIFFERS, State.DIFFERS, State.AGREES]


@pytest.fixture(scope="module")
def with_dead(shared_data):
    """Who belongs by the rule over all that traded, the dead too."""
    volumes = pd.read_parquet(shared_data / "horizons" / "daily_quote_volume.parquet")
    infos = {name: SymbolInfo(name, "", name.removesuffix("USDT"), "USDT") for name in volumes}
    kinds = kinds_of(infos)
    rule = parse_rule(with_the_dead.RULE)
    coins = [
        name for name in volumes if not kinds[name] - {Kind.DATED} and name[:-4] not in rule.without
    ]
    start_ms = int(volumes.index[0].timestamp() * 1000)
    daily = Daily(start_ms, tuple(coins), volumes[coins].to_numpy(dtype=float))
    months = [Month(year, month) for year in (2022, 2023) for month in range(1, 13)]
    return {one.month: one.members for one in members_by_month(rule, daily, months)}


def test_with_its_dead_the_momentum_of_2023_has_the_other_sign(closes, with_dead):
    means = {
        year: yearly_ic.yearly_ic(closes, with_dead, "momentum", year, [24])[24].mean
        for year in (2022, 2023)
    }
    assert means[2023] == pytest.approx(0.0060, abs=5e-5)
    assert printed("momentum", 24, 2023)[0] == -0.005720
    assert with_the_dead.beside("-0.005720", means[2023]).endswith("the sign is another")
    assert means[2022] > printed("momentum", 24, 2022)[0] > 0


@pytest.mark.parametrize(
    ("dead", "year", "mean"),
    [(False, 2022, 0.0165), (True, 2022, 0.0249), (False, 2023, -0.0059), (True, 2023, 0.0060)],
)
def test_what_the_recordings_say_of_whole_years_with_the_dead_and_without(
    closes, clone, with_dead, dead, year, mean
):
    """The figures of the recordings' own README, whose years are whole."""
    lists = with_dead if dead else lists_of(clone, Month(2022, 1), Month(2023, 12))
    first, last = closes.row(Month(year, 1).start_ms), closes.row(Month(year + 1, 1).start_ms)
    rows = np.arange(first, min(last, len(closes.values)), 24)
    found = np.nanmean(yearly_ic.ic_by_decision(closes, lists, rows, 72, 168))
    assert found == pytest.approx(mean, abs=5e-5)


NAMES = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")
DIED = Month(2023, 6)  # D's last


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Four coins with their daily and hourly bars, one of which dies in June 2023."""
    made = Lake(str(tmp_path_factory.mktemp("small")))
    rng = np.random.default_rng(8)
    first, last = Month(2022, 9), Month(2024, 1)
    for symbol in NAMES:
        end = DIED.end_ms - 40 * HOUR_MS if symbol == "DUSDT" else last.start_ms
        days = np.arange(first.start_ms, end, 24 * HOUR_MS)
        put_klines(made, symbol, klines_at(days, Interval.D1), interval=Interval.D1)
        opens = np.arange(Month(2022, 12).start_ms, end, HOUR_MS)
        walk = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, len(opens))))
        put_klines(made, symbol, klines_at(opens, close=walk))
    listed = [Listed(name, name[0], "USDT", "TRADING", first=first) for name in NAMES[:3]]
    listed.append(Listed("DUSDT", "D", "USDT", "", first=first, last=DIED))
    write_master_list(made, MasterList(Market.SPOT, date(2024, 1, 1), tuple(listed)))
    return made


def test_a_universe_with_its_dead_is_made_from_the_lake(small):
    ends_ms = {"DUSDT": DIED.end_ms}
    rows = {
        row.what: row
        for row in with_the_dead.rows_of(small, read_master_list(small, Market.SPOT), ends_ms)
    }
    assert len(rows) == 10
    alive = {Month(2023, month): NAMES[: 4 if month <= 6 else 3] for month in range(1, 13)}
    closes = read_closes(small, alive, 72, 168)
    ours = yearly_ic.yearly_ic(closes, alive, "momentum", 2023, [24])[24]
    row = rows["momentum 24h 2023, mean IC, with the dead"]
    assert row.ours == ours.mean
    assert row.note.startswith("published over lists without the dead: -0.005720")
    assert "the lake lacks" in rows["reversal 24h 2024, mean IC, with the dead"].note
    assert rows["reversal 24h 2020, mean IC, with the dead"].state is State.UNCHECKED


def test_what_the_lake_was_never_told_of_is_lacking_and_what_nobody_has_is_not(small):
    lists = {Month(2023, month): NAMES for month in (6, 7)}
    wanted = needed(lists, TimeRange(Month(2023, 6).start_ms, Month(2023, 8).start_ms), 24, 24)
    lacked = lacking(read_closes(small, lists, 24, 24), wanted)
    assert set(lacked) == {"DUSDT"}
    assert lacked["DUSDT"].end_ms == Month(2023, 8).start_ms + 24 * HOUR_MS
    assert not lacking(read_closes(small, lists, 24, 24, {"DUSDT": DIED.end_ms}), wanted)


def test_what_a_damaged_file_held_is_lacking(small, tmp_path):
    copied = tmp_path / "lake"
    shutil.copytree(small.uri, copied)
    (damaged,) = copied.glob("klines/**/interval=1h/symbol=AUSDT/*2023-07*")
    damaged.write_bytes(damaged.read_bytes()[:100])
    lists = {Month(2023, month): NAMES[:3] for month in (6, 7)}
    wanted = needed(lists, TimeRange(Month(2023, 6).start_ms, Month(2023, 8).start_ms), 24, 24)
    assert lacking(read_closes(small, lists, 24, 24), wanted) == {}
    lacked = lacking(read_closes(Lake(str(copied)), lists, 24, 24), wanted)
    assert set(lacked) == {"AUSDT"}
    assert Month.of_ms(lacked["AUSDT"].start_ms) == Month(2023, 7)


def test_a_return_needs_both_ends_and_nothing_is_filled():
    values = np.array([[1.0], [2.0], [np.nan], [3.0]])
    closes = Closes(HOUR_MS * np.arange(4, dtype=np.int64), ("A",), values)
    rows = np.arange(4)
    assert closes.change(rows, 1)[:, 0].tolist() == pytest.approx([1.0] + [np.nan] * 3, nan_ok=True)
    assert closes.change(rows, -2)[:, 0].tolist() == pytest.approx(
        [np.nan, np.nan, np.nan, 0.5], nan_ok=True
    )


def test_symbols_are_those_of_all_months(clone):
    names = horizons.symbols_of(clone)
    assert len(names) == 151
    assert names == sorted(names)


def test_another_list_than_the_studys_is_refused(tmp_path):
    (tmp_path / "data" / "universe").mkdir(parents=True)
    (tmp_path / "data" / "universe" / "monthly_universe.csv").write_text("effective_month,symbol\n")
    with pytest.raises(GiveUp, match="not the file of commit 4efb5a2"):
        horizons.symbols_of(str(tmp_path))


@pytest.mark.parametrize(
    ("year", "published"),
    [
        (2022, {"01:00": -0.144, "00:00": -0.121, "04:00": -0.103, "08:00": -0.067}),
        (2022, {"12:00": -0.036, "15:00": 0.006, "20:00": -0.110}),
        (2023, {"01:00": -0.106, "15:00": 0.014}),
    ],
)
def test_the_hour_of_the_decision_is_a_hidden_parameter(closes, clone, year, published):
    """Of the 4h reversal; read once from the same recording by other means."""
    first, end = Month(year, 1).start_ms, Month(year, 12).end_ms
    rows = np.arange(closes.row(first), min(closes.row(end), len(closes.values)))
    lists = lists_of(clone, Month(year, 1), Month(year, 12))
    ic = yearly_ic.ic_by_decision(closes, lists, rows, 4, 4)
    groups = bar_groups("hour", closes.times_ms[rows], HOUR_MS, 4, ())
    found = {one.group: one for one in by_group(ic, groups, 4)}
    assert {hour: round(found[hour].mean, 3) for hour in published} == published
    assert found["01:00"].p_adjusted < 1e-6
