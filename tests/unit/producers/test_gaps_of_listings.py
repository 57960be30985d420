"""`alphamill gaps` says where a name was given to another coin, and since when none trades."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.frames import BarSpan, Interval, Market, Month, TimeRange
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, MonthFacts, write_klines
from alphamill.market import FakeExchange
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps
from alphamill.testing import klines_at
from producers.cli import main

HOUR_MS = 3_600_000
START_MS, END_MS = Month(2022, 5).start_ms, Month(2022, 6).end_ms
ENDED_MS, RELISTED_MS = START_MS + 289 * HOUR_MS, START_MS + 726 * HOUR_MS
ALL = range((END_MS - START_MS) // HOUR_MS)


def hours(numbers, close: float, volume: float = 3.0) -> pa.Table:  # type: ignore[no-untyped-def]
    opens_ms = START_MS + HOUR_MS * np.array(numbers)
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return klines_at(opens_ms, **prices, volume=volume, trades=int(volume))


def told(lake: Lake, bars: pa.Table, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `gaps` prints of LUNAUSDT once its bars were fetched from an exchange that has these."""
    exchange = FakeExchange(ManualClock(END_MS + 86_400_000))
    exchange.add("LUNAUSDT", Interval.H1, bars)
    job = FetchJob(Market.SPOT, "LUNAUSDT", Interval.H1, START_MS, END_MS)
    fetch.run(job, FetchDeps(exchange, lake))
    return gaps(lake, *arguments, monkeypatch=monkeypatch)


def gaps(lake: Lake, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ALPHAMILL_LAKE", lake.uri)
    result = CliRunner().invoke(main, ["gaps", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def series(text: str) -> dict:  # type: ignore[type-arg]
    (only,) = json.loads(text)["series"]
    return only


def test_a_name_given_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = pa.concat_tables([hours(range(289), 0.00005), hours(ALL[726:], 9.0)])
    text = told(lake, bars, monkeypatch=monkeypatch)
    line = "LUNAUSDT (spot 1h): new listing since 2022-05-31 06:00 (price x 180,000)"
    assert line in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "ended" not in text
    found = series(gaps(lake, "--json", monkeypatch=monkeypatch))
    assert found["new_listings"] == [{"start_ms": RELISTED_MS, "price_ratio": 9.0 / 0.00005}]
    assert found["no_trade_since_ms"] is None


def test_the_same_coin_again_is_no_new_listing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = pa.concat_tables([hours(range(289), 5.0), hours(ALL[726:], 9.0)])
    text = told(lake, bars, monkeypatch=monkeypatch)
    assert "absent at the exchange" in text
    assert "listing" not in text


@pytest.mark.parametrize("how", ["flat bars", "no bars"])
def test_a_symbol_that_trades_no_more(
    lake: Lake, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = [hours(ALL[289:], 5.0, volume=0)] if how == "flat bars" else []
    bars = pa.concat_tables([hours(range(289), 5.0), *flat])
    text = told(lake, bars, monkeypatch=monkeypatch)
    assert "LUNAUSDT (spot 1h): no trade since 2022-05-13 01:00: ended" in text
    found = series(gaps(lake, "--json", monkeypatch=monkeypatch))
    assert (found["no_trade_since_ms"], found["new_listings"]) == (ENDED_MS, [])


@pytest.mark.parametrize("n_flat", [3, 48])
def test_a_range_that_is_quiet_at_its_end_has_not_ended(
    lake: Lake, n_flat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = pa.concat_tables([hours(ALL[:-n_flat], 5.0), hours(ALL[-n_flat:], 5.0, volume=0)])
    text = told(lake, bars, monkeypatch=monkeypatch)
    assert "flat bars, no trade" in text
    assert "ended" not in text


def test_a_hole_that_nobody_fetched_says_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coin may be worth six times as much a month later."""
    april, june = Month(2022, 4), Month(2022, 6)
    where = lake, Market.SPOT, "LUNAUSDT", Interval.H1
    early = klines_at(april.start_ms + HOUR_MS * np.arange(600), close=5.0, open=5.0)
    halt = BarSpan(april.start_ms, april.start_ms + 72 * HOUR_MS, 72)  # so that bars are read
    write_klines(*where, april, early, MonthFacts("rest", april.range, halts=(halt,)))
    late = klines_at(june.start_ms + HOUR_MS * np.arange(600), close=30.0, open=30.0)
    write_klines(*where, june, late, MonthFacts("rest", june.range))
    text = gaps(lake, monkeypatch=monkeypatch)
    assert "not fetched" in text
    assert "listing" not in text


@pytest.mark.parametrize(("unverified", "ended"), [(True, False), (False, True)])
def test_an_end_that_only_the_archive_was_asked_for_is_none(
    lake: Lake, unverified: bool, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    april = Month(2022, 4)
    halt = BarSpan(april.start_ms, april.start_ms + 72 * HOUR_MS, 72)  # so that bars are read
    rest = BarSpan(april.start_ms + 600 * HOUR_MS, april.end_ms, 120)
    doubts = (rest,) if unverified else ()
    facts = MonthFacts("archive-monthly", april.range, (rest,), (halt,), doubts)
    bars = klines_at(april.start_ms + HOUR_MS * np.arange(600), close=5.0, open=5.0)
    write_klines(lake, Market.SPOT, "LUNAUSDT", Interval.H1, april, bars, facts)
    assert ("ended" in gaps(lake, monkeypatch=monkeypatch)) is ended


def test_the_real_luna(lake: Lake, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    from alphamill.frames import rows_within, times_ms

    table = rows_within(
        pq.read_table(shared_data / "klines/spot/LUNAUSDT-1h.parquet"), TimeRange(START_MS, END_MS)
    )
    prices = {name: table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    bars = klines_at(times_ms(table), **prices, trades=1)
    text = told(lake, bars, monkeypatch=monkeypatch)
    assert "new listing since 2022-05-31 06:00 (price x 20,000)" in text


def test_bars_are_read_only_where_two_days_are_silent(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alphamill.lake import holdings

    told(lake, hours([*ALL[:300], *ALL[346:]], 5.0), monkeypatch=monkeypatch)
    monkeypatch.setattr(holdings, "read_klines", None)
    assert series(gaps(lake, "--json", monkeypatch=monkeypatch))["new_listings"] == []
