"""The funding stage, and what a panel and a book make of it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.evaluation import Segment, backtest
from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.jobs import FundingJob, PanelJob, RunKind, RunSpec, ScoreJob
from alphamill.market import Damaged, FakeFunding
from alphamill.market.funding.archive_file import FUNDING_FILE
from alphamill.market.funding.parse import funding_table
from alphamill.runs.panels import load_last_bars, load_panel, read_manifest
from alphamill.runs.schemas import RunDeps, read_trials
from alphamill.stages import funding, panel, score
from alphamill.stages.funding import FundingDeps, KnownFunding, read_funding
from alphamill.stages.panel import PanelDeps, funding_column
from alphamill.testing import put_klines, random_klines

HOUR = 3_600_000
JANUARY, FEBRUARY = Month(2023, 1), Month(2023, 2)
START = JANUARY.start_ms
LATER = Month(2024, 1).start_ms


def every(hours, start_ms=START, end_ms=FEBRUARY.end_ms, rate=0.0001):
    times = np.arange(start_ms, end_ms, hours * HOUR) + 7
    return funding_table(times, np.full(len(times), rate))


@pytest.fixture
def fake():
    return FakeFunding(
        ManualClock(LATER), {"BTCUSDT": every(8), "ETHUSDT": every(4), "LTCUSDT": every(8)}
    )


def fetch(lake, fake, start_ms=START, end_ms=FEBRUARY.end_ms, symbol="BTCUSDT", archive=False):
    deps = FundingDeps(fake, lake, fake if archive else None, fake.clock)
    return funding.run(FundingJob(Market.USD_M, symbol, start_ms, end_ms), deps)


def known(lake, start_ms=START, end_ms=FEBRUARY.end_ms, symbol="BTCUSDT"):
    return read_funding(lake, Market.USD_M, symbol, start_ms, end_ms)


def test_what_was_had_before_a_failure_is_not_asked_for_again(lake, fake):
    fake.tables["BTCUSDT"] = every(1)  # 1,416 settlements: two pages
    real, calls = fake.page, []

    def page(*where):
        calls.append(where)
        if len(calls) == 2:
            raise RetryLater("the connection was reset", 5.0)
        return real(*where)

    deps = FundingDeps(fake, lake, None, fake.clock)
    job = FundingJob(Market.USD_M, "BTCUSDT", START, FEBRUARY.end_ms)
    fake_page = replace_page(fake, page)
    with pytest.raises(RetryLater):
        funding.run(job, replace(deps, exchange=fake_page))
    assert known(lake).table.num_rows == 999  # the last instant of a full page is asked for anew
    facts = funding.run(job, deps)
    assert (facts.requests, facts.settlements) == (1, 1416)
    assert known(lake).table.equals(every(1))


def replace_page(fake, page):
    class Exchange:
        reached_ms = staticmethod(fake.reached_ms)

    Exchange.page = staticmethod(page)
    return Exchange()


def test_an_unknown_symbol_leaves_nothing_behind(lake, fake):
    with pytest.raises(GiveUp, match="no symbol 'XUSDT'"):
        fetch(lake, fake, symbol="XUSDT")
    with pytest.raises(GiveUp, match="cannot name a file"):
        fetch(lake, fake, symbol="../X")
    assert lake.list("") == []


def file_of(table):
    hours = pa.array([8] * table.num_rows, pa.int64())
    return table.append_column(FUNDING_FILE.field("interval_hours"), hours)


def test_a_doubt_is_asked_about_until_it_is_answered(lake, fake):
    lost = every(8).slice(0, 93).filter(pa.array([n != 50 for n in range(93)]))
    fake.files["BTCUSDT-fundingRate-2023-01"] = file_of(lost)
    fake.failures = [GiveUp("HTTP 451"), GiveUp("HTTP 451")]
    first = fetch(lake, fake, end_ms=FEBRUARY.start_ms, archive=True)
    assert (first.settlements, first.files) == (92, 1)
    assert "HTTP 451" in first.archive_note
    hole = (START + 49 * 8 * HOUR + 8, START + 51 * 8 * HOUR + 7)
    assert known(lake, end_ms=FEBRUARY.start_ms).known == (
        TimeRange(START, hole[0]),
        TimeRange(hole[1], FEBRUARY.start_ms),
    )
    again = fetch(lake, fake, end_ms=FEBRUARY.start_ms, archive=True)
    assert (again.settlements, again.skipped) == (92, False)
    assert "HTTP 451" in again.archive_note
    healed = fetch(lake, fake, end_ms=FEBRUARY.start_ms, archive=True)
    assert (healed.settlements, healed.archive_note) == (93, "")
    assert known(lake, end_ms=FEBRUARY.start_ms).known == (TimeRange(START, FEBRUARY.start_ms),)


def test_a_damaged_file_is_kept_aside(lake, fake):
    name = "BTCUSDT-fundingRate-2023-01"
    fake.files[name] = Damaged(name, "it does not have its CHECKSUM's sha256", b"bytes", "ab" * 32)
    facts = fetch(lake, fake, archive=True)
    assert (facts.settlements, facts.source) == (177, "rest")
    assert f"quarantined {name}" in facts.archive_note
    folder = "quarantine/market=um/symbol=BTCUSDT"
    assert lake.list("quarantine") == [f"{folder}/{name}.json", f"{folder}/{name}.zip"]


def hours_from(count, first=0):
    return START + HOUR * np.arange(first, first + count, dtype=np.int64)


def test_a_settlement_is_the_bar_that_ends_with_it_whatever_its_stamp():
    stamped = funding_table([START + 8 * HOUR + 13, START + 16 * HOUR - 2], [0.5, 0.25])
    span = (TimeRange(START, START + 24 * HOUR),)
    column = funding_column(KnownFunding(stamped, span, frozenset()), hours_from(20), HOUR)
    assert np.flatnonzero(column).tolist() == [7, 15]
    assert column[[7, 15]].tolist() == [0.5, 0.25]


def test_bars_whose_settlements_are_not_known_are_nan_and_no_zero():
    nothing = funding_table([], [])
    spans = (
        TimeRange(START, START + 3 * HOUR),
        TimeRange(START + 5 * HOUR, START + 8 * HOUR + 60_000),
    )
    column = funding_column(KnownFunding(nothing, spans, frozenset()), hours_from(10), HOUR)
    # Bar 2 ends where the first span does: its settlement would be stamped after it.
    assert np.isnan(column).tolist() == [False] * 2 + [True] * 3 + [False] * 3 + [True] * 2
    assert not column[~np.isnan(column)].any()


BARS = 1200
SYMBOLS = ("BTCUSDT", "ETHUSDT", "LTCUSDT")
H1 = PanelJob(Interval.H1)


def put_all(lake, market):
    for seed, symbol in enumerate(SYMBOLS):
        put_klines(lake, symbol, random_klines(BARS, START, seed=seed), market)


def spec_of(market, kind=RunKind.EVALUATE, **more):
    end_ms = START + BARS * HOUR
    return RunSpec(kind, "lake", market, SYMBOLS, (Interval.H1,), START, end_ms, **more)


def make_panel(lake, spec):
    panel.run(H1, PanelDeps(lake, spec, indicators=False))
    return read_manifest(lake, spec.run_id, Interval.H1)


def test_a_futures_panel_has_funding_and_its_hash_covers_it(lake, fake):
    put_all(lake, Market.USD_M)
    end_ms = START + BARS * HOUR + 60_000
    for symbol in SYMBOLS:
        fetch(lake, fake, end_ms=end_ms, symbol=symbol)
    first = make_panel(lake, spec_of(Market.USD_M))
    assert first.funding_unknown == {"BTCUSDT": 0, "ETHUSDT": 0, "LTCUSDT": 0}
    rates = load_panel(lake, spec_of(Market.USD_M).run_id, Interval.H1, Segment.WHOLE).panel[
        "funding_rate"
    ]
    assert np.flatnonzero(rates[:, 0]).tolist() == list(range(7, BARS, 8))
    assert np.flatnonzero(rates[:, 1]).tolist() == list(range(3, BARS, 4))
    assert make_panel(lake, spec_of(Market.USD_M, salt="again")).snapshot == first.snapshot

    fake.tables["ETHUSDT"] = every(4, rate=0.0002)
    for key in lake.list("funding/market=um/symbol=ETHUSDT"):
        lake.delete(key)
    fetch(lake, fake, end_ms=end_ms, symbol="ETHUSDT")
    assert make_panel(lake, spec_of(Market.USD_M, salt="other")).snapshot != first.snapshot


def test_a_panel_says_where_funding_is_not_known(lake, fake):
    put_all(lake, Market.USD_M)
    fetch(lake, fake, end_ms=START + 240 * HOUR + 60_000)
    made = make_panel(lake, spec_of(Market.USD_M))
    assert made.funding_unknown == {"BTCUSDT": BARS - 240, "ETHUSDT": BARS, "LTCUSDT": BARS}
    rates = load_panel(lake, spec_of(Market.USD_M).run_id, Interval.H1, Segment.WHOLE).panel[
        "funding_rate"
    ]
    assert np.isnan(rates).sum(axis=0).tolist() == [BARS - 240, BARS, BARS]
    assert json.loads(json.dumps(made.funding_unknown)) == made.funding_unknown


def test_a_spot_panel_has_none(lake):
    put_all(lake, Market.SPOT)
    made = make_panel(lake, spec_of(Market.SPOT))
    assert made.funding_unknown is None
    assert "funding_rate" not in made.segments[Segment.WHOLE].fields


def test_the_prompts_bars_do_not_show_it(lake, fake):
    put_all(lake, Market.USD_M)
    fetch(lake, fake)
    spec = spec_of(Market.USD_M, RunKind.MINE)
    make_panel(lake, spec)
    names = load_last_bars(lake, spec.run_id, Interval.H1, "BTCUSDT").column_names
    assert "close" in names
    assert "funding_rate" not in names


def test_a_book_pays_what_was_settled_while_it_held(lake, fake):
    """By hand: long the one that pays 1 basis point every 8 hours, short the one every 4 hours."""
    put_all(lake, Market.USD_M)
    for symbol in SYMBOLS:
        fetch(lake, fake, end_ms=START + BARS * HOUR + 60_000, symbol=symbol)
    spec = spec_of(Market.USD_M)
    make_panel(lake, spec)
    held = load_panel(lake, spec.run_id, Interval.H1, Segment.WHOLE).panel
    values = np.tile([2.0, 0.0, 1.0], (BARS, 1))
    book = backtest(values, held, 0.0)
    # Held from the open of bar 1 to that of the last: +0.5, -0.5 and nothing of the third.
    long_pays = 0.5 * 0.0001 * sum(bar % 8 == 7 for bar in range(1, BARS - 1))
    short_gets = 0.5 * 0.0001 * sum(bar % 4 == 3 for bar in range(1, BARS - 1))
    assert book.funding_per_bar * book.n_obs == pytest.approx(short_gets - long_pays, rel=1e-12)
    without = {name: held[name] for name in held if name != "funding_rate"}
    plain = backtest(values, without, 0.0, bars_per_year=8760)
    assert (book.net_returns - plain.net_returns).sum() == pytest.approx(short_gets - long_pays)


def test_scores_charge_it(lake, fake):
    put_all(lake, Market.USD_M)
    for symbol in SYMBOLS:
        fetch(lake, fake, end_ms=START + BARS * HOUR + 60_000, symbol=symbol)
    spec = spec_of(Market.USD_M, expressions=("-ts_std(returns, 24)",))
    make_panel(lake, spec)
    score.run(ScoreJob(Interval.H1), RunDeps(lake, spec.run_id, spec))
    (trial,) = read_trials(lake, spec.run_id, Interval.H1)
    assert trial.evaluated
    told = trial.score
    assert told.funding_per_bar != 0
    unfunded = spec_of(Market.USD_M, salt="x", expressions=spec.expressions)
    for key in lake.list("funding"):
        lake.delete(key)
    make_panel(lake, unfunded)
    score.run(ScoreJob(Interval.H1), RunDeps(lake, unfunded.run_id, unfunded))
    (other,) = read_trials(lake, unfunded.run_id, Interval.H1)
    assert other.score.funding_per_bar == 0
    assert other.discovery.net_sharpe != trial.discovery.net_sharpe
    assert other.discovery.gross_sharpe == trial.discovery.gross_sharpe
