"""Days of trades made into bars: equal to the exchange's own, whole, once, and in the lake."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from alphamill.bars import BARS, FLOW, Layout, TradeSource, parse_rule, parse_trades
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market
from alphamill.jobs import BarsJob
from alphamill.lake import Lake
from alphamill.lake.days import DaySeries, day_facts, days_held, read_day
from alphamill.market import FakeExchange
from alphamill.market.archive_zip import only_csv
from alphamill.market.klines.parse import empty_klines
from alphamill.sim.market import ReplaySource
from alphamill.sim.market.bars import resample
from alphamill.stages.bars import BarsDeps, run
from alphamill.testing import klines_at
from tests.trade_sources import DAY, START, SimTrades, small_market

SOURCE = small_market()
SPOT, UM, CM = Market
NAMES = {SPOT: "TRXUSDT", UM: "TRXUSDT", CM: "TRXUSD_PERP"}
DEFAULT = {SPOT: "aggTrades", UM: "trades", CM: "trades"}
LATER = START + 60 * DAY
HOUR = 3_600_000
FIELDS = (
    *("open", "high", "low", "close", "volume", "quote_volume"),
    *("trades", "taker_buy_base", "taker_buy_quote"),
)


class Mill:
    """A lake, an exchange, and the stage between them."""

    def __init__(self, folder, market=SPOT, *faults, source=SOURCE, now_ms=LATER, **more):
        self.lake, self.market = Lake(str(folder)), market
        self.sim = SimTrades(source, market, now_ms, faults, **more)
        self.klines = FakeExchange(self.sim.clock)
        self.klines.add(NAMES[market], Interval.M1, empty_klines())
        self.deps = BarsDeps(self.sim, self.klines, self.lake, self.sim, self.sim.clock)

    def make(self, rule="1h", day=1, source=None, keep_trades=False, end_ms=None):
        start_ms = START + day * DAY
        job = BarsJob(
            *(self.market, NAMES[self.market], parse_rule(rule).text),
            *(source or DEFAULT[self.market], start_ms, end_ms or start_ms + DAY, keep_trades),
        )
        return run(job, self.deps)

    def held(self, rule="1h", day=1):
        series = DaySeries.bars(self.market, rule, NAMES[self.market])
        return read_day(self.lake, series, START + day * DAY)

    def files(self):
        return self.lake.list("")


@pytest.fixture
def mill(tmp_path):
    return lambda *args, **more: Mill(tmp_path / "lake", *args, **more)


def same_fields(table, bars):
    """Names of the fields in which the two differ in any bar."""
    assert (table["open_time"].cast("int64").to_numpy() // 1000 == bars.open_ms).all()
    return [
        name
        for name in FIELDS
        if not np.array_equal(table[name].to_numpy(), np.asarray(getattr(bars, name)))
    ]


@pytest.mark.parametrize(
    ("market", "source", "faults"),
    [
        (SPOT, "aggTrades", ()),
        (SPOT, "trades", ()),
        (SPOT, "aggTrades", ("missing",)),  # from the API
        (SPOT, "trades", ("missing",)),
        (SPOT, "aggTrades", ("lost_rows",)),  # some of them from the API
        (SPOT, "aggTrades", ("repeated", "no_header", "other_booleans")),
        (UM, "trades", ()),
        (UM, "trades", ("missing_checksum", "interleaved", "repeated")),
        (UM, "trades", ("missing:*-2023-01-26", "interleaved", "other_booleans")),  # of the month
        (CM, "trades", ("no_header",)),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_bars_equal_the_exchanges_klines_in_every_field(mill, market, source, faults):
    made = mill(market, *faults)
    facts = made.make("1h", source=source)
    table, held = made.held()
    hours = SOURCE.bars(market, NAMES[market], Interval.H1).rows(24, 48)
    assert same_fields(table, hours) == []
    assert table["complete"].to_pylist() == [True] * 24
    assert (facts.bars, facts.lacking, facts.note) == (24, 0, "")
    assert held.asked.length_ms == DAY
    made.make("4h", source=source)
    assert same_fields(made.held("4h")[0], resample(hours, Interval.H4)) == []


def test_aggregates_of_futures_are_equal_but_for_what_is_counted_by_their_ids(mill):
    made = mill(UM)
    made.make(source="aggTrades")
    hours = SOURCE.bars(UM, "TRXUSDT", Interval.H1).rows(24, 48)
    assert same_fields(made.held()[0], hours) == ["trades"]
    assert (made.held()[0]["trades"].to_numpy() >= hours.trades).all()


@pytest.mark.parametrize("stated", [None, 40])
def test_a_contract_is_worth_what_the_exchange_states_and_else_a_note_says_what_is_taken(
    mill, stated
):
    made = mill(CM)
    made.sim.contracts_usd = {} if stated is None else {NAMES[CM]: stated}
    facts = made.make(source="aggTrades")
    table = made.held()[0]
    hours = SOURCE.bars(CM, NAMES[CM], Interval.H1).rows(24, 48)
    bases = table["quote_volume"].to_numpy()  # of COIN-M in the coin: contracts, worth, price
    np.testing.assert_allclose(bases, (stated or 10) / 10 * hours.quote_volume, rtol=1e-6)
    assert ("is taken to be worth 10 USD" in facts.archive_note) == (stated is None)


def test_recorded_minutes_are_equal_through_archive_and_api(tmp_path, shared_data):
    recorded = pq.read_table(shared_data / "klines/spot/BTCUSDT-1m.parquet")
    times = recorded["open_time"].cast("int64").to_numpy()
    quiet = int(np.argmin(np.convolve(recorded["trades"].to_numpy(), np.ones(90), "valid")))
    first = min(quiet, len(times) - 91)
    pq.write_table(recorded.slice(first, 90), tmp_path / "BTCUSDT-1m.parquet")
    source = ReplaySource(tmp_path)
    bars = source.bars(SPOT, "BTCUSDT", Interval.M1)
    day_ms = int(bars.open_ms[0]) // DAY * DAY
    for faults in ((), ("missing",)):
        lake = Lake(str(tmp_path / f"lake{len(faults)}"))
        sim = SimTrades(source, SPOT, day_ms + 40 * DAY, faults)
        klines = FakeExchange(sim.clock, listed={"BTCUSDT": None})
        deps = BarsDeps(sim, klines, lake, sim, sim.clock)
        facts = run(BarsJob(SPOT, "BTCUSDT", "1m", "aggTrades", day_ms, day_ms + DAY), deps)
        table, _ = read_day(lake, DaySeries.bars(SPOT, "1m", "BTCUSDT"), day_ms)
        begun = np.searchsorted(
            table["open_time"].cast("int64").to_numpy() // 1000, bars.open_ms[0]
        )
        inside = int((bars.open_ms < day_ms + DAY).sum())
        assert same_fields(table.slice(begun, inside), bars.rows(0, inside)) == []
        assert facts.source == ("rest" if faults else "archive-daily")


def test_a_second_job_asks_nothing_and_reads_no_trade(mill):
    made = mill()
    first = made.make("50t")
    stems = len(made.sim.stems)
    again = made.make("50t")
    assert (again.skipped, again.bars, again.key) == (True, first.bars, first.key)
    assert (len(made.sim.stems), again.requests, again.files) == (stems, 0, 0)
    assert again.landed == {"made": 0, "requests": 0}
    assert first.landed == {"made": first.bars, "requests": 0}
    other = made.make("50t", source="trades")  # is another question
    assert not other.skipped


@pytest.mark.parametrize("rule", ["50t", "20000v", "1e3$", "10ti", "15s", "7m"])
def test_rules_of_every_kind_are_kept_under_a_name_that_is_a_plain_folder(mill, rule):
    made = mill()
    facts = made.make(rule)
    assert facts.bars > 0
    folder = parse_rule(rule).text.replace("$", "q")
    assert facts.key == f"bars/market=spot/rule={folder}/symbol=TRXUSDT/2023-01-26.parquet"
    assert made.lake.exists(facts.key)
    table, _ = made.held(parse_rule(rule).text)
    if rule == "50t":
        assert set(table["trades"].to_numpy()[:-1].tolist()) <= {50, 51}
    assert table["volume"].to_numpy().sum() == pytest.approx(
        SOURCE.bars(SPOT, "TRXUSDT", Interval.H1).volume[24:48].sum()
    )
    series = DaySeries.bars(SPOT, parse_rule(rule).text, "TRXUSDT")
    assert days_held(made.lake, series) == [START + DAY]


def test_a_rule_that_no_day_satisfies_is_said(mill):
    facts = mill().make("1e12v")
    assert facts.bars == 0
    assert facts.note.startswith("no bar of 1e12v closed: the day's ")


def test_a_day_without_trades_is_flat_where_the_exchange_knows_a_price(mill):
    made = mill()
    facts = made.make(day=-1)
    assert (facts.bars, facts.trades) == (0, 0)
    assert facts.note == "nothing was traded on that day, or the symbol was not listed"
    minute = klines_at([START - 2 * DAY - 60_000], Interval.M1, close=0.25)
    made.klines.add("TRXUSDT", Interval.M1, minute)
    facts = made.make(day=-2)
    assert facts.bars == 24
    table, _ = made.held(day=-2)
    assert set(table["close"].to_pylist()) == {0.25}
    assert set(table["volume"].to_pylist()) == {0.0}


def test_the_close_before_is_asked_for_only_where_the_first_bar_has_no_trade(mill):
    made = mill()
    made.make("1h")
    assert made.klines.asked == []
    made.make("15s")
    (asked,) = made.klines.asked
    assert (asked.start_ms, asked.end_ms) == (START + DAY - 60_000, START + DAY)


def test_a_day_that_nobody_has_leaves_nothing_but_its_damaged_files(mill):
    made = mill(UM, "corrupt_zip")
    with pytest.raises(GiveUp, match=r"TRXUSDT 2023-01-26: no trades to be had: quarantined "):
        made.make()
    folder = "quarantine_trades/market=um/source=trades/symbol=TRXUSDT/TRXUSDT-trades"
    assert made.files() == [
        f"{folder}-2023-01-26.json",
        f"{folder}-2023-01-26.zip",
        f"{folder}-2023-01.json",
        f"{folder}-2023-01.zip",
    ]


def test_a_file_that_breaks_off_in_the_middle_leaves_nothing_of_itself(mill, monkeypatch):
    made = mill(SPOT)
    real = made.sim.put_aside

    def broken(file):
        context = real(file)
        aside = context.__enter__()
        pieces = aside.pieces

        class Breaks:
            checked, stem, damaged = True, aside.stem, aside.damaged

            @staticmethod
            def pieces():
                text = b"".join(pieces())
                yield text[: len(text) // 2]
                raise aside.damaged("its CSV is not the one that was packed")

        context.gen.close()

        class Context:
            def __enter__(self):
                return Breaks

            def __exit__(self, *error):
                return None

        return Context()

    monkeypatch.setattr(made.sim, "put_aside", broken)
    facts = made.make(keep_trades=True)
    assert (facts.source, facts.bars, facts.lacking) == ("rest", 24, 0)
    assert same_fields(made.held()[0], SOURCE.bars(SPOT, "TRXUSDT", Interval.H1).rows(24, 48)) == []
    kept = made.lake.read(DaySeries.trades(SPOT, "aggTrades", "TRXUSDT").key(START + DAY))
    assert (np.diff(kept["id"].to_numpy()) == 1).all()


def test_trades_are_kept_beside_if_asked_for_and_each_once(mill):
    made = mill(SPOT, "repeated")
    made.make()
    key = "trades/market=spot/source=aggTrades/symbol=TRXUSDT/2023-01-26.parquet"
    assert not made.lake.exists(key)
    facts = made.make(keep_trades=True)
    assert not facts.skipped
    kept = made.lake.read(key)
    assert kept.column_names == [
        *("id", "time", "price", "quantity", "is_buyer_maker", "first_id", "last_id")
    ]
    ids = kept["id"].to_numpy()
    assert (np.diff(ids) == 1).all()
    assert ids.size == facts.trades
    hours = SOURCE.bars(SPOT, "TRXUSDT", Interval.H1).rows(24, 48)
    assert kept["quantity"].to_numpy().sum() == pytest.approx(hours.volume.sum(), rel=1e-12)
    assert kept["price"][0].as_py() == hours.open[0]
    assert made.make(keep_trades=True).skipped
    assert "rows stood there twice and count once" in facts.archive_note


def test_what_was_wrong_with_trades_is_said_and_what_needs_it_is_null(mill):
    made = mill(CM, "always_maker")
    facts = made.make()
    assert "is_buyer_maker is the same in all" in facts.archive_note
    assert facts.archive_note.endswith("--source aggTrades may have it right")
    table, held = made.held()
    assert table["taker_buy_base"].null_count == table.num_rows == 24
    assert table["volume"].null_count == 0
    assert held.details["quality"]["sold"] == facts.trades
    with pytest.raises(GiveUp, match="no 10ti bars can be made"):
        made.make("10ti")
    assert len(days_held(made.lake, DaySeries.bars(CM, "10ti", "TRXUSD_PERP"))) == 0
    empty = mill(UM, "zero_quantity").make(day=2)
    assert "rows have no quantity: the volumes of their bars are null" in empty.archive_note


def test_rows_that_nobody_has_are_counted_in_the_facts(mill):
    facts = mill(UM, "lost_rows").make(source="aggTrades")
    assert facts.lacking > 20
    assert f"lacks {facts.lacking:,} rows, by their ids" in facts.archive_note


def test_today_is_made_as_far_as_it_has_passed_and_anew_when_more_has(mill, tmp_path):
    now = START + DAY + 6 * HOUR
    made = mill(now_ms=now)
    facts = made.make(end_ms=now)
    table, held = made.held()
    assert held.asked.end_ms == now - 120_000
    assert facts.bars == 5
    assert table["complete"].to_pylist() == [True] * 5 + [False]
    assert not made.make(end_ms=now).skipped  # two minutes of it were not settled
    later = mill(now_ms=LATER)
    assert later.make().bars == 24
    assert later.make(end_ms=now).skipped


def test_an_archive_that_is_not_well_is_for_later(mill):
    made = mill(UM)

    class Unwell:
        def put_aside(self, file):
            raise RetryLater("the archive is not well")

    deps = BarsDeps(made.sim, made.klines, made.lake, Unwell(), made.sim.clock)
    job = BarsJob(UM, "TRXUSDT", "1h", "trades", START, START + DAY)
    with pytest.raises(RetryLater):
        run(job, deps)
    assert made.files() == []


def test_a_damaged_file_of_bars_is_made_anew(mill):
    made = mill()
    key = made.make().key
    made.lake.write_bytes(key, b"not parquet")
    assert day_facts(made.lake, DaySeries.bars(SPOT, "1h", "TRXUSDT"), START + DAY) is None
    assert not made.make().skipped
    assert made.held()[0].num_rows == 24


def test_the_kept_file_reads_back_as_the_rows_of_the_archive(mill):
    made = mill(UM)
    made.make(keep_trades=True)
    kept = made.lake.read(DaySeries.trades(UM, "trades", "TRXUSDT").key(START + DAY))
    body = made.sim.files.body(
        "/data/futures/um/daily/trades/TRXUSDT/TRXUSDT-trades-2023-01-26.zip"
    )

    text = only_csv(body, "TRXUSDT-trades-2023-01-26.csv")
    rows = parse_trades(text, Layout(UM, TradeSource.TRADES))
    assert kept["id"].to_pylist() == rows.id.tolist()
    assert kept["is_buyer_maker"].to_pylist() == rows.is_buyer_maker.tolist()
    assert np.rint(kept["price"].to_numpy() * 1e8).astype(int).tolist() == rows.price.tolist()


def test_flow_stands_beside_time_bars_of_klines_intervals_and_nowhere_else(mill):
    made = mill()
    made.make("15m")
    held, _ = made.held("15m")
    flow, facts = read_day(made.lake, DaySeries.flow(SPOT, Interval.M15, "TRXUSDT"), START + DAY)
    assert flow.column_names == ["open_time", *FLOW, "complete"]
    assert flow["open_time"].to_pylist() == held["open_time"].to_pylist()
    assert held.column_names == BARS.names
    bought, volume = (held[name].to_numpy() for name in ("taker_buy_base", "volume"))
    np.testing.assert_allclose(flow["signed_volume"].to_numpy(), 2 * bought - volume, atol=1e-9)
    assert facts.asked.length_ms == DAY
    assert made.make("15m").skipped
    made.lake.delete(DaySeries.flow(SPOT, Interval.M15, "TRXUSDT").key(START + DAY))
    assert not made.make("15m").skipped
    for rule in ("7m", "4h", "50t"):  # no klines, too long to keep their trades, of no time
        made.make(rule)
    assert {key.split("/")[2] for key in made.lake.list("flow")} == {"interval=15m"}
