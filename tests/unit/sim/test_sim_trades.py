"""The simulated exchange's trades: pages as the exchange answers them, and the archive's files."""

import io
import json
import zipfile

import numpy as np
import pytest

from alphamill.bars import Layout, TradeSource, parse_trades
from alphamill.frames import Interval, Market, Month
from alphamill.market.trades.archive_file import TradeFile
from alphamill.sim.exchange import ArchiveFault, Limits
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.exchange.tape import Tape
from alphamill.sim.exchange.trade_files import RowFault
from alphamill.sim.exchange.trade_ids import trade_ids
from tests.trade_sources import BURNED, DAY, PREFIXES, START, small_market

HOUR = 3_600_000
SOURCE = small_market()
LATER = START + 50 * DAY
SPOT, UM, CM = Market
NAMES = {SPOT: "TRXUSDT", UM: "TRXUSDT", CM: "TRXUSD_PERP"}
AGGREGATES = TradeSource.AGG_TRADES


def api(now_ms=LATER):
    limits = dict.fromkeys(Market, Limits(weight=10**9, requests=None))
    return ExchangeApi(SOURCE, limits, lambda: now_ms, burned_fracs=BURNED)


def ask(market=SPOT, endpoint="aggTrades", now_ms=LATER, to=None, **query):
    pairs = [("symbol", NAMES[market]), *((name, str(value)) for name, value in query.items())]
    return (to or api(now_ms)).reply(f"{PREFIXES[market]}/{endpoint}", pairs, "1.2.3.4")


def rows_of(answer):
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def refusal(answer):
    return answer.status, json.loads(answer.body)["code"]


def all_pages(market, endpoint, now_ms=LATER, first=0, key="a", most=10**9):
    server, found = api(now_ms), []
    while len(found) < most:
        page = rows_of(ask(market, endpoint, to=server, fromId=first, limit=1000))
        if not page:
            return found
        found += page
        first = page[-1][key] + 1
    return found


def test_rows_look_like_the_recorded_ones(shared_data):
    recorded = json.loads(
        (shared_data / "exchange_2026/um_aggTrades_BTCUSDT_limit3.json").read_text()
    )
    rows = rows_of(ask(UM, now_ms=START + DAY, limit=3))
    assert [list(row) for row in rows] == [list(row) for row in recorded]
    assert [[type(v) for v in row.values()] for row in rows] == [
        [type(v) for v in row.values()] for row in recorded
    ]
    assert list(rows_of(ask(limit=1))[0]) == ["a", "p", "q", "f", "l", "T", "m", "M"]
    assert list(rows_of(ask(endpoint="trades", limit=1))[0]) == [
        *("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
    ]
    assert "baseQty" in rows_of(ask(CM, "trades", limit=1))[0]


@pytest.mark.parametrize(("endpoint", "key"), [("aggTrades", "a"), ("historicalTrades", "id")])
def test_pages_by_id_give_every_trade_once_and_sum_to_the_bars(endpoint, key):
    hours = 48
    rows = all_pages(SPOT, endpoint, START + hours * HOUR, key=key)
    ids = [row[key] for row in rows]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    times = np.array([row.get("T", row.get("time")) for row in rows])
    assert (np.diff(times) >= 0).all()
    bars = SOURCE.bars(SPOT, "TRXUSDT", Interval.H1)
    counts = [row["l"] - row["f"] + 1 if key == "a" else 1 for row in rows]
    summed = np.bincount((times - START) // HOUR, weights=counts)
    assert summed.tolist() == bars.trades[:hours].tolist()
    assert len(rows) < sum(counts) or key == "id"  # some aggregates are of several trades


def test_pages_by_time_begin_where_they_are_asked_to_and_end_likewise():
    start, end = START + 5 * HOUR + 1234, START + 6 * HOUR
    found = rows_of(ask(startTime=start, endTime=end, limit=1000))
    everything = all_pages(SPOT, "aggTrades", START + 8 * HOUR)
    assert found == [row for row in everything if start <= row["T"] <= end]
    assert rows_of(ask(endTime=end, limit=7)) == [r for r in everything if r["T"] <= end][-7:]
    assert rows_of(ask(now_ms=end, limit=7)) == [r for r in everything if r["T"] <= end][-7:]
    assert len(rows_of(ask(startTime=start))) == 500
    assert rows_of(ask(startTime=LATER)) == []


def test_ids_are_those_that_the_streams_tell():
    tape = Tape.of(SOURCE, UM, "TRXUSDT", BURNED[UM])
    bars = SOURCE.bars(UM, "TRXUSDT", Interval.H1)
    told = trade_ids("um/TRXUSDT", bars, bars, BURNED[UM])
    for at in (0, 7, 100):
        traded = tape.trades(at)
        ends = int(traded.id[0]), int(traded.id[-1])
        assert ends == told.within(at, int(bars.trades[at]))
    assert [tape.bar_of_trade(told.within(at, 1)[0]) for at in range(30)] == [*range(30)]


def test_futures_reach_48_hours_back_and_say_so():
    now = START + 6 * DAY
    recent = rows_of(ask(UM, now_ms=now, startTime=now - 48 * HOUR, limit=1))
    assert recent[0]["T"] >= now - 48 * HOUR
    said = ask(UM, now_ms=now, startTime=now - 48 * HOUR - 1)
    assert json.loads(said.body) == {
        "code": -4166,
        "msg": "Search window is restricted to recent 2 days only.",
    }
    assert refusal(ask(CM, now_ms=now, fromId=0)) == (400, -4166)
    assert rows_of(ask(UM, now_ms=now, fromId=recent[0]["a"], limit=1)) == recent
    assert rows_of(ask(SPOT, now_ms=now, fromId=0, limit=1))


def test_individual_trades_of_futures_are_for_who_has_a_key():
    assert refusal(ask(UM, "historicalTrades", fromId=1)) == (401, -2014)
    assert len(rows_of(ask(UM, "trades", limit=5))) == 5
    assert len(rows_of(ask(SPOT, "historicalTrades", limit=5))) == 5


def test_what_the_exchange_refuses():
    assert refusal(ask(fromId=1, startTime=START)) == (400, -1128)
    assert refusal(ask(startTime=2, endTime=1)) == (400, -1023)
    assert refusal(ask(UM, limit=1001)) == (400, -1130)
    assert refusal(ask(endpoint="trades", fromId=1)) == (400, -1104)
    nobody = api().reply("/api/v3/aggTrades", [("symbol", "NOUSDT")], "1.2.3.4")
    assert refusal(nobody) == (400, -1121)


@pytest.mark.parametrize(
    ("market", "endpoint", "weight"),
    [
        (SPOT, "aggTrades", 4),
        (SPOT, "trades", 25),
        (SPOT, "historicalTrades", 25),
        (UM, "aggTrades", 20),
        (UM, "trades", 5),
        (UM, "historicalTrades", 200),
        (CM, "aggTrades", 20),
    ],
)
def test_weights(market, endpoint, weight):
    assert ask(market, endpoint, limit=1).headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def archive(*faults, source=SOURCE):
    return SimulatedArchive(source, lambda: LATER, tuple(map(ArchiveFault.parse, faults)), BURNED)


def text_of(file, *faults, source=SOURCE):
    body = archive(*faults, source=source).body(f"/{file.path}")
    with zipfile.ZipFile(io.BytesIO(body)) as found:
        assert found.namelist() == [f"{file.stem}.csv"]
        return found.read(found.namelist()[0])


def day_of(market, kind, day=2):
    return TradeFile.of_day(market, NAMES[market], kind, START + day * DAY)


@pytest.mark.parametrize("kind", list(TradeSource))
@pytest.mark.parametrize("market", list(Market))
def test_a_days_file_has_what_the_pages_have(market, kind):
    file = day_of(market, kind)
    found = parse_trades(text_of(file), Layout(market, kind))
    assert (found.time_us // 1000 // DAY == file.range.start_ms // DAY).all()
    tape = Tape.of(SOURCE, market, NAMES[market], BURNED.get(market, 0.0))
    bars = range(48, 72)
    if kind is TradeSource.TRADES:
        assert found.id.tolist() == np.concatenate([tape.trades(at).id for at in bars]).tolist()
    else:
        ids = np.unique(np.concatenate([tape.trades(at).aggregate for at in bars]))
        assert found.id.tolist() == ids.tolist()
        assert (np.diff(found.id) == 1).all()
    if market is SPOT and kind is AGGREGATES:
        page = rows_of(ask(startTime=file.range.start_ms, limit=1000))
        assert [row["a"] for row in page] == found.id[:1000].tolist()
        assert [round(float(row["p"]) * 1e8) for row in page] == found.price[:1000].tolist()


def test_headers_booleans_and_times_are_those_of_market_and_date():
    assert text_of(day_of(SPOT, AGGREGATES)).endswith(b",True\n")
    assert text_of(day_of(UM, AGGREGATES)).startswith(b"agg_trade_id,price,")
    assert text_of(day_of(CM, TradeSource.TRADES)).startswith(b"id,price,qty,base_qty,")
    assert b",false\n" in text_of(day_of(UM, AGGREGATES))
    early = small_market(days=3, start_ms=Month(2021, 6).start_ms)
    file = TradeFile.of_day(UM, "TRXUSDT", AGGREGATES, Month(2021, 6).start_ms)
    assert text_of(file, source=early)[:1].isdigit()
    late = small_market(days=3, start_ms=Month(2025, 1).start_ms)
    file = TradeFile.of_day(SPOT, "TRXUSDT", AGGREGATES, Month(2025, 1).start_ms)
    body = SimulatedArchive(late, lambda: Month(2025, 2).start_ms).body(f"/{file.path}")
    with zipfile.ZipFile(io.BytesIO(body)) as found:
        assert len(found.read(found.namelist()[0]).split(b",")[5]) == 16


def lines(file, *faults):
    return text_of(file, *faults).decode().splitlines()


def test_the_archives_defects_can_be_switched_on():
    file = day_of(UM, AGGREGATES)
    header, *sound = lines(file)
    half = -(-len(sound) // 2)
    _, *mixed = lines(file, "interleaved")
    assert mixed[:4] == [sound[0], sound[half], sound[1], sound[half + 1]]
    assert sorted(mixed) == sorted(sound)
    assert lines(file, "repeated")[1:5] == [sound[0], sound[0], sound[1], sound[1]]
    assert lines(file, "zero_quantity")[1].split(",")[2] == "0.0"
    assert {row.split(",")[6] for row in lines(file, "always_maker")[1:]} == {"true"}
    assert lines(file, "cut_rows")[1:] == sound[: len(sound) // 12]
    assert len(lines(file, "lost_rows")) - 1 == len(sound) - len(sound) // 10
    assert lines(file, "no_header") == sound
    assert lines(file, "other_booleans")[1].split(",")[6] in ("True", "False")
    assert header in lines(file, "always_maker:BTCUSDT-*")
    assert lines(file, "always_maker:BTCUSDT-*")[1:] == sound


@pytest.mark.parametrize("fault", list(RowFault))
def test_a_file_with_wrong_rows_has_a_checksum_that_fits(fault):
    file, server = day_of(UM, AGGREGATES), archive(fault)
    assert ArchiveFault.parse(f"{fault}:X-*") == ArchiveFault(fault, "X-*")
    body, said = (server.body(f"/{file.path}{end}") for end in ("", ".CHECKSUM"))
    assert len(body) > 100
    assert said.endswith(f"  {file.stem}.zip\n".encode())


def test_no_file_of_a_day_without_trades_or_of_a_name_that_is_no_date():
    file = TradeFile.of_day(SPOT, "TRXUSDT", AGGREGATES, START - DAY)
    assert archive().body(f"/{file.path}") is None
    assert archive().body(f"/{day_of(SPOT, AGGREGATES).path.replace('TRX', 'NO')}") is None
    wrong = day_of(SPOT, AGGREGATES).path.replace("-aggTrades-", "-trades-")
    assert archive().body(f"/{wrong}") is None
