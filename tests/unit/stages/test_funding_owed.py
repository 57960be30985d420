"""What a book owes: every payment of an instant, and nothing where nobody can say what was paid."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.evaluation import Segment, backtest
from alphamill.frames import KLINES, Interval, Market, Month, TimeRange, times_ms
from alphamill.jobs import FundingJob, PanelJob, RunKind, RunSpec
from alphamill.lake import FundingSeries
from alphamill.market import FakeFunding
from alphamill.market.funding.archive_file import FUNDING_FILE
from alphamill.market.funding.parse import funding_rows, funding_table
from alphamill.runs.panels import load_panel, read_manifest
from alphamill.stages import funding, panel
from alphamill.stages.funding import FundingDeps, read_funding, read_owed
from alphamill.stages.panel import PanelDeps
from alphamill.testing import put_klines, random_klines
from producers.fetch import fetch as fetch_command
from producers.read.gaps import gaps

HOUR, MINUTE = 3_600_000, 60_000
AUGUST = Month(2026, 8)
START = AUGUST.start_ms
BARS = 240
END = START + BARS * HOUR
REGULAR, SPECIAL = "Regular", "Special"
SYMBOL = "KOUSDT"
SERIES = FundingSeries(Market.USD_M, SYMBOL)
RANGE = TimeRange(START, END + MINUTE)
REGULAR_ROWS = [(START + hour * HOUR + 3, 0.0001, REGULAR) for hour in range(0, BARS + 1, 8)]
DIVIDEND = (START + 80 * HOUR + 3, -0.0065, SPECIAL)
BOTH = funding_table(*zip(*sorted([*REGULAR_ROWS, DIVIDEND]), strict=True))


@pytest.fixture
def fake():
    return FakeFunding(ManualClock(Month(2026, 11).start_ms), {SYMBOL: BOTH})


def fetch(lake, fake, asked=RANGE, symbol=SYMBOL, market=Market.USD_M, archive=False):
    deps = FundingDeps(fake, lake, fake if archive else None, fake.clock)
    return funding.run(FundingJob(market, symbol, asked.start_ms, asked.end_ms), deps)


def known(lake, asked=RANGE):
    return read_funding(lake, Market.USD_M, SYMBOL, asked.start_ms, asked.end_ms)


def owed(lake, symbol=SYMBOL, market=Market.USD_M):
    return read_owed(lake, market, symbol, Interval.H1, START, END + MINUTE)


def made_panel(lake, symbols, market=Market.USD_M):
    spec = RunSpec(RunKind.EVALUATE, "lake", market, symbols, (Interval.H1,), START, END)
    panel.run(PanelJob(Interval.H1), PanelDeps(lake, spec, indicators=False))
    manifest = read_manifest(lake, spec.run_id, Interval.H1)
    return load_panel(lake, spec.run_id, Interval.H1, Segment.WHOLE).panel, manifest


def column(lake, symbol=SYMBOL, market=Market.USD_M):
    """The panel's funding of one symbol, and how many bars its manifest calls unknown."""
    held, manifest = made_panel(lake, (symbol,), market)
    return held["funding_rate"][:, 0], manifest.funding_unknown[symbol]


def put_bars(lake, symbol=SYMBOL, market=Market.USD_M, bars=BARS, start_ms=START):
    put_klines(lake, symbol, random_klines(bars, start_ms), market)


def as_an_older_version_wrote(lake, table):
    """A month's file of before kinds of rates were kept."""
    key = SERIES.key("funding", AUGUST)
    fake = FakeFunding(ManualClock(Month(2026, 11).start_ms), {SYMBOL: table})
    fetch(lake, fake)
    told = {name: text for name, text in lake.metadata(key).items() if name != "rate_types"}
    lake.write(key, table.drop_columns("rate_type"), told)


def test_both_payments_of_an_instant_are_in_the_lake_and_charged(lake, fake):
    """By hand: long the share that pays a dividend, short one that settles at a rate of 0."""
    nothing = funding_table(
        *zip(*[(time, 0.0, kind) for time, _, kind in REGULAR_ROWS], strict=True)
    )
    fake.tables |= {"AUSDT": nothing, "BUSDT": nothing}
    for symbol in fake.tables:
        put_bars(lake, symbol)
        fetch(lake, fake, symbol=symbol)
    assert known(lake).table.equals(BOTH)
    held, manifest = made_panel(lake, tuple(sorted(fake.tables)))
    assert set(manifest.funding_unknown.values()) == {0}
    rates = held["funding_rate"][:, manifest.symbols.index(SYMBOL)]
    assert rates[79] == pytest.approx(0.0001 - 0.0065, rel=1e-12)
    assert rates.sum() == pytest.approx(30 * 0.0001 - 0.0065, rel=1e-12)
    book = backtest(np.tile([0.0, 1.0, 2.0], (BARS, 1)), held, 0.0)
    # Held from the open of bar 1 to that of the last: 29 Regular payments and the Special one.
    owed = 0.5 * (29 * 0.0001 - 0.0065)
    assert book.funding_per_bar * book.n_obs == pytest.approx(-owed, rel=1e-9)


def test_the_dividend_is_in_the_file_beside_the_regular_rate(lake, fake):
    fetch(lake, fake)
    table = lake.read(SERIES.key("funding", AUGUST))
    at = np.flatnonzero(times_ms(table) == DIVIDEND[0])
    assert table.take(at)["rate_type"].to_pylist() == [REGULAR, SPECIAL]
    assert table.take(at)["funding_rate"].to_pylist() == [0.0001, -0.0065]


def test_months_that_may_have_dividends_do_not_come_from_files(lake, fake):
    asked = TimeRange(Month(2026, 6).start_ms, AUGUST.end_ms)
    regular = [(START + hour * HOUR, 0.0001, REGULAR) for hour in range(-61 * 24, 31 * 24, 8)]
    fake.tables[SYMBOL] = funding_table(*zip(*sorted([*regular, DIVIDEND]), strict=True))
    fetch(lake, fake, asked, archive=True)
    assert fake.stems == [f"{SYMBOL}-fundingRate-2026-06"]
    assert SPECIAL in known(lake, asked).table["rate_type"].to_pylist()


def test_where_only_files_answer_their_rows_are_kept_and_not_believed(lake, fake):
    months = [Month(2026, 6), Month(2026, 7), AUGUST]
    asked = TimeRange(months[0].start_ms, AUGUST.end_ms)
    for month in months:
        times = range(month.start_ms, month.end_ms, 8 * HOUR)
        rows = [(time, 0.0001, None) for time in times]
        fake.files[f"{SYMBOL}-fundingRate-{month}"] = archived(*rows)
    whole, fake.tables = fake.tables, {}
    facts = fetch(lake, fake, asked, archive=True)
    assert (facts.settlements, facts.files) == ((30 + 31 + 31) * 3, 3)
    assert "no symbol 'KOUSDT'" in facts.archive_note
    assert known(lake, asked).known == (months[0].range,)
    fake.tables = whole  # and as soon as the API answers, its word counts
    fetch(lake, fake, asked, archive=True)
    assert SPECIAL in known(lake, asked).table["rate_type"].to_pylist()
    assert known(lake, asked).known == (asked,)


def test_a_month_without_a_file_and_without_an_answer_gives_up(lake, fake):
    asked = TimeRange(Month(2026, 7).start_ms, AUGUST.end_ms)
    times = range(asked.start_ms, AUGUST.start_ms, 8 * HOUR)
    july = archived(*[(time, 0.0001, None) for time in times])
    fake.files[f"{SYMBOL}-fundingRate-2026-07"] = july
    fake.tables = {}
    with pytest.raises(GiveUp, match="no symbol 'KOUSDT'"):
        fetch(lake, fake, asked, archive=True)
    assert known(lake, asked).table.num_rows == july.num_rows
    assert known(lake, asked).known == ()


def test_a_month_of_before_is_asked_for_again(lake, fake):
    """The older version kept the later of two rows."""
    lost = [
        row for row in sorted([*REGULAR_ROWS, DIVIDEND]) if row != (DIVIDEND[0], 0.0001, REGULAR)
    ]
    as_an_older_version_wrote(lake, funding_table(*zip(*lost, strict=True)))
    assert known(lake).table.num_rows == BOTH.num_rows - 1  # it can be read
    assert known(lake).known == ()  # and is not believed
    facts = fetch(lake, fake)
    assert (facts.skipped, facts.requests) == (False, 1)
    assert known(lake).table.equals(BOTH)
    assert known(lake).known == (RANGE,)
    assert fetch(lake, fake).skipped


def test_a_month_of_before_stays_where_the_exchange_refuses(lake, fake):
    as_an_older_version_wrote(
        lake, BOTH.filter([kind == REGULAR for kind in BOTH["rate_type"].to_pylist()])
    )
    fake.failures = [GiveUp("HTTP 451")]
    facts = fetch(lake, fake)
    assert "HTTP 451" in facts.archive_note
    assert known(lake).table.num_rows == len(REGULAR_ROWS)
    assert known(lake).known == ()
    assert not fetch(lake, fake).skipped


def archived(*rows):
    table = funding_rows(*zip(*rows, strict=True))
    hours = np.full(len(rows), 8)
    return table.append_column(FUNDING_FILE.field("interval_hours"), [hours])


def test_a_month_that_was_quarantined_for_two_rows_at_an_instant_is_read_again(lake):
    month = Month(2023, 1)
    name = f"{SYMBOL}-fundingRate-{month}"
    times = [month.start_ms + hour * HOUR for hour in range(0, 744, 8)]
    told = funding_table(times, [0.0001] * len(times), [REGULAR] * len(times))
    old = FakeFunding(ManualClock(Month(2024, 1).start_ms), {SYMBOL: told})
    fetch(lake, old, month.range)
    key = SERIES.key("funding", month)
    metadata = {k: v for k, v in lake.metadata(key).items() if k != "rate_types"}
    lake.write(key, told.drop_columns("rate_type"), metadata)
    reason = {"reason": "its CSV has settlements twice, or less than no hours apart"}
    kept_aside = f"{SERIES.folder('quarantine')}/{name}"
    lake.write_bytes(f"{kept_aside}.json", json.dumps(reason).encode())
    lake.write_bytes(f"{kept_aside}.zip", b"PK")

    new = FakeFunding(old.clock, {SYMBOL: told})
    rows = [(time, 0.0001, None) for time in times]
    new.files[name] = archived(*sorted([*rows, rows[7]]))
    facts = fetch(lake, new, month.range, archive=True)
    assert (new.stems, facts.files, facts.skipped) == ([name], 1, False)
    assert new.pages == [(SYMBOL, times[7] - 30_000, times[7] + 30_000)]
    assert known(lake, month.range).table["funding_rate"].to_pylist() == [0.0001] * len(times)
    assert fetch(lake, new, month.range, archive=True).skipped


def test_two_rows_of_a_file_that_the_exchange_does_not_explain_are_not_known(lake):
    month = Month(2023, 1)
    times = [month.start_ms + hour * HOUR for hour in range(0, 744, 8)]
    rows = [(time, 0.0001, None) for time in times]
    fake = FakeFunding(ManualClock(Month(2024, 1).start_ms), failures=[GiveUp("HTTP 451")])
    fake.files[f"{SYMBOL}-fundingRate-{month}"] = archived(
        *sorted([*rows, (times[7], -0.0065, None)])
    )
    fetch(lake, fake, month.range, archive=True)
    assert known(lake, month.range).known == (
        TimeRange(month.start_ms, times[7] - 30_000),
        TimeRange(times[7] + 30_000, month.end_ms),
    )


def test_no_answer_about_a_perpetual_that_traded_is_no_zero(lake, fake):
    put_bars(lake)
    fake.tables[SYMBOL] = BOTH.slice(0, 0)
    facts = fetch(lake, fake)
    assert (facts.settlements, facts.requests) == (0, 2)
    rates, unknown = column(lake)
    assert unknown == BARS
    assert np.isnan(rates).all()
    assert owed(lake).silent


def test_a_hole_in_the_middle_of_a_page_is_asked_for_again_and_not_charged_as_0(lake, fake):
    put_bars(lake)
    lost = funding_table(*zip(*[row for row in REGULAR_ROWS if row[0] != DIVIDEND[0]], strict=True))
    fake.tables[SYMBOL] = lost
    facts = fetch(lake, fake)
    assert fake.pages[1:] == [(SYMBOL, DIVIDEND[0] - 8 * HOUR, DIVIDEND[0] + 8 * HOUR)]
    assert facts.requests == 2
    rates, unknown = column(lake)
    assert np.flatnonzero(np.isnan(rates)).tolist() == list(range(72, 87))
    assert unknown == 15
    assert rates[71] == rates[87] == 0.0001


def test_an_exchange_that_loses_the_middle_of_a_page_once_costs_nothing(lake, fake):
    class Loaded(FakeFunding):
        def page(self, *where):
            found = super().page(*where)
            times = times_ms(found)
            inside = abs(times - DIVIDEND[0]) < 20 * HOUR
            return found.filter(~inside) if len(self.pages) == 1 else found

    loaded = Loaded(fake.clock, fake.tables)
    fetch(lake, loaded)
    assert known(lake).table.equals(BOTH)


def test_what_is_silent_is_asked_for_by_every_later_fetch(lake, fake):
    put_bars(lake)
    whole = fake.tables[SYMBOL]
    fake.tables[SYMBOL] = whole.slice(0, 0)
    fetch(lake, fake)
    fake.pages.clear()
    again = fetch(lake, fake)
    assert (again.skipped, again.requests) == (False, 2)
    fake.tables[SYMBOL] = whole
    assert fetch(lake, fake).settlements == whole.num_rows
    assert owed(lake).known == (RANGE,)
    assert fetch(lake, fake).skipped


def test_before_a_listing_and_after_a_delisting_nothing_is_owed(lake, fake):
    put_bars(lake, bars=96, start_ms=START + 99 * HOUR)
    lives = [row for row in REGULAR_ROWS if 99 < (row[0] - START) // HOUR <= 195]
    fake.tables[SYMBOL] = funding_table(*zip(*lives, strict=True))
    fetch(lake, fake)
    rates, unknown = column(lake)
    assert unknown == 0
    assert np.flatnonzero(rates).tolist() == list(range(4, 96, 8))
    assert fetch(lake, fake).skipped


def test_bars_without_a_trade_owe_nothing(lake, fake):
    flat = random_klines(BARS, START)
    volume = np.where(np.arange(BARS) < 96, flat["volume"].to_numpy(), 0.0)
    flat = flat.set_column(KLINES.names.index("volume"), KLINES.field("volume"), [volume])
    put_klines(lake, SYMBOL, flat, Market.USD_M)
    lives = [row for row in REGULAR_ROWS if row[0] < START + 96 * HOUR]
    fake.tables[SYMBOL] = funding_table(*zip(*lives, strict=True))
    fetch(lake, fake)
    assert owed(lake).silent == ()


@pytest.mark.parametrize(
    ("market", "symbol"), [(Market.USD_M, "BTCUSDT_261225"), (Market.COIN_M, "BTCUSD_231229")]
)
def test_a_dated_contract_pays_none_and_is_not_asked_about(lake, fake, market, symbol):
    put_bars(lake, symbol, market)
    facts = fetch(lake, fake, symbol=symbol, market=market)
    assert (facts.skipped, facts.requests, fake.pages) == (True, 0, [])
    rates, unknown = column(lake, symbol, market)
    assert unknown == 0
    assert not rates.any()
    assert not np.isnan(rates).any()


def test_gaps_name_what_is_silent_and_what_asks_again(lake, fake, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", lake.uri)
    monkeypatch.delenv("ALPHAMILL_CONFIG", raising=False)
    put_bars(lake)
    fake.tables[SYMBOL] = BOTH.filter(np.abs(times_ms(BOTH) - DIVIDEND[0]) > 4 * HOUR)
    fetch(lake, fake)
    shown = CliRunner().invoke(gaps, []).output
    assert "funding of KOUSDT (um) not known: 2026-08-04 00:01 to 2026-08-04 15:00" in shown
    assert (
        "ask again: alphamill fetch KOUSDT --market um --interval 1h "
        "--start 2026-08-04 --end 2026-09-01 --again --wait\n"
    ) in shown
    (command,) = [line for line in shown.splitlines() if line.startswith("ask again: ")]
    asked = fetch_command.make_context("fetch", command.split()[4:]).params  # as it stands there
    assert (asked["market"], asked["start_ms"]) == (Market.USD_M, START + 72 * HOUR)
    assert asked["again"]
    assert "it is not 0" in " ".join(shown.split())
    (told,) = json.loads(CliRunner().invoke(gaps, ["--json"]).output)["series"]
    stretch = {"start_ms": START + 72 * HOUR + MINUTE, "end_ms": START + 87 * HOUR}
    assert told["funding_silent"] == [stretch]
    assert stretch in told["funding_unknown"]
