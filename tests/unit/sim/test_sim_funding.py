"""The simulated exchange's funding: fundingRate as the exchange answers it, and its files."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from alphamill.frames import Interval, Market, Month, times_ms
from alphamill.market.funding.archive_file import FundingFile, holes
from alphamill.market.funding.parse import parse_funding
from alphamill.sim.exchange import Fault, FaultKind, Limits
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.exchange.fault_replies import faulty_reply
from alphamill.sim.exchange.faults import FaultPlan
from alphamill.sim.market import ReplaySource, SyntheticMarket, SyntheticSource, coins_named
from producers.run.sim import sim

HOUR = 3_600_000
JANUARY, MARCH = Month(2023, 1), Month(2023, 3)
NAMES = ["BTCUSDT", "ETHUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "SOLUSDT"]
SOURCE = SyntheticSource(
    SyntheticMarket(
        coins=coins_named(NAMES),
        interval=Interval.H1,
        planted=(),
        start_ms=JANUARY.start_ms,
        end_ms=MARCH.end_ms,
    )
)
LATER = Month(2024, 1).start_ms


def api(now_ms=LATER, **limits):
    return ExchangeApi(SOURCE, dict.fromkeys(Market, Limits(**limits)), lambda: now_ms)


def ask(symbol="BTCUSDT", path="/fapi/v1/fundingRate", to=None, **query):
    pairs = [("symbol", symbol), *((name, str(value)) for name, value in query.items())]
    return (to or api()).reply(path, pairs, "1.2.3.4")


def times_of(answer):
    assert answer.status == 200
    return [row["fundingTime"] for row in json.loads(answer.body)]


def test_rows_look_like_the_exchanges():
    row = json.loads(ask(limit=1).body)[0]
    assert list(row) == ["symbol", "fundingTime", "fundingRate", "markPrice", "rateType"]
    assert isinstance(row["fundingTime"], int)
    assert abs(float(row["fundingRate"])) <= 0.02
    assert (row["markPrice"], row["rateType"]) == ("", "Regular")
    assert "X-MBX-USED-WEIGHT-1M" not in ask().headers
    assert "X-MBX-USED-WEIGHT-1M" in ask(path="/fapi/v1/klines", interval="1h").headers


def test_mark_prices_begin_on_2023_10_31():
    first_ms = 1_698_739_200_000  # 08:00
    source = source_of(start_ms=first_ms - 48 * HOUR, end_ms=first_ms + 48 * HOUR)
    rows = rows_of(source)
    marked = [row["fundingTime"] for row in rows if row["markPrice"]]
    assert marked == [row["fundingTime"] for row in rows if row["fundingTime"] >= first_ms]
    assert 0 < len(marked) < len(rows)
    assert all(float(row["markPrice"]) > 0 for row in rows[-len(marked) :])


def source_of(**market):
    return SyntheticSource(
        SyntheticMarket(coins=coins_named(NAMES), interval=Interval.H1, planted=(), **market)
    )


def rows_of(source, **query):
    exchange = ExchangeApi(source, dict.fromkeys(Market, Limits()), lambda: LATER)
    return json.loads(ask(to=exchange, startTime=0, limit=1000, **query).body)


def test_dividends_stand_beside_the_regular_rates():
    span = {"start_ms": JANUARY.start_ms, "end_ms": MARCH.end_ms}
    without, rows = rows_of(source_of(**span)), rows_of(source_of(**span, special_funding=5))
    special = [row for row in rows if row["rateType"] == "Special"]
    regular = [row for row in rows if row["rateType"] == "Regular"]
    assert regular == without
    assert [row["fundingTime"] for row in special] == [row["fundingTime"] for row in without[4::5]]
    assert all(float(row["fundingRate"]) < 0 for row in special)
    times = [row["fundingTime"] for row in rows]
    assert times == sorted(times)


def test_the_archive_states_no_kinds():
    source = source_of(start_ms=JANUARY.start_ms, end_ms=MARCH.end_ms, special_funding=5)
    file = FundingFile(Market.USD_M, "BTCUSDT", Month(2023, 2))
    body = SimulatedArchive(source, lambda: LATER).body(f"/{file.path}")
    table, known = file.parse(body), source.funding(Market.USD_M, "BTCUSDT")
    here = (known.stamp_ms >= file.month.start_ms) & (known.stamp_ms < file.month.end_ms)
    np.testing.assert_array_equal(times_ms(table), known.stamp_ms[here])
    assert table["rate_type"].null_count == table.num_rows
    doubted = holes(table, file.month.range)
    assert len(doubted) == known.special[here].sum() > 10


def test_an_empty_answer_is_of_funding_alone():
    answer = faulty_reply(FaultKind.NO_FUNDING, ask(limit=50), 0)
    assert (answer.status, answer.body) == (200, b"[]")
    plan = FaultPlan([Fault.parse("no_funding:1")])
    assert plan.next("/fapi/v1/klines") is None
    assert plan.next("/fapi/v1/fundingRate") is FaultKind.NO_FUNDING


def test_intervals_differ_change_and_are_stamped_late():
    kinds = set()
    for symbol in NAMES:
        known = SOURCE.funding(Market.USD_M, symbol)
        late_ms = known.stamp_ms % HOUR
        assert 0 < late_ms.max() < 30
        gaps = np.diff(known.stamp_ms // HOUR)
        assert set(gaps) <= {8, 4, 1}
        np.testing.assert_array_equal(known.hours[1:], gaps)
        kinds.add(tuple(sorted(set(gaps.tolist()))))
    assert len(kinds) > 1
    assert any(len(kind) > 1 for kind in kinds)
    assert SOURCE.funding(Market.SPOT, "BTCUSDT") is None


def test_the_same_seed_settles_the_same():
    again = SyntheticSource(SOURCE.market).funding(Market.USD_M, "ETHUSDT")
    np.testing.assert_array_equal(again.rate, SOURCE.funding(Market.USD_M, "ETHUSDT").rate)


def test_windows_are_as_documented():
    known = SOURCE.funding(Market.USD_M, "BTCUSDT").stamp_ms.tolist()
    assert times_of(ask()) == known[-100:]
    assert times_of(ask(limit=3)) == known[-3:]
    assert times_of(ask(startTime=known[5], limit=3)) == known[5:8]
    assert times_of(ask(endTime=known[5], limit=3)) == known[3:6]
    assert times_of(ask(startTime=known[5], endTime=known[6])) == known[5:7]
    assert times_of(ask(startTime=known[5] + 1, endTime=known[6] - 1)) == []
    assert times_of(ask(startTime=0, limit=5000)) == known[:1000]
    assert times_of(ask(to=api(known[4]), startTime=0)) == known[:5]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "NOUSDT"}, -1121),
        ({"symbol": "btc usdt"}, -1100),
        ({"limit": 0}, -1130),
        ({"startTime": "soon"}, -1100),
        ({"startTime": 5, "endTime": 4}, -1023),
        ({"interval": "8h"}, -1104),
    ],
)
def test_refusals(query, code):
    answer = ask(**query)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


def test_spot_has_no_such_endpoint():
    assert ask(path="/api/v3/fundingRate").status == 404
    assert ask("BTCUSD_PERP", "/dapi/v1/fundingRate").status == 200


def test_its_limit_is_its_own():
    exchange = api(LATER + 100_000, funding=2)
    assert [ask(to=exchange).status for _ in range(3)] == [200, 200, 429]
    refused = ask(to=exchange)
    assert int(refused.headers["Retry-After"]) == 200
    assert b"2 requests per 5 minutes" in refused.body
    assert exchange.reply("/fapi/v1/time", [], "1.2.3.4").status == 200
    assert ask(to=exchange).status == 429
    totals = exchange.stats()["totals"]
    assert (totals["funding_requests"], totals["refused"]) == (2, 3)


@pytest.mark.parametrize(
    "kind", [FaultKind.DUPLICATES, FaultKind.UNORDERED, FaultKind.EXTRA_COLUMN]
)
def test_faulty_rows_that_can_be_read(kind):
    answer = ask(limit=50)
    assert faulty_reply(kind, answer, 0).body != answer.body
    assert parse_funding(faulty_reply(kind, answer, 0).body, "BTCUSDT").equals(
        parse_funding(answer.body, "BTCUSDT")
    )


def test_files_hold_the_month_and_lack_nothing():
    archive = SimulatedArchive(SOURCE, lambda: LATER)
    for market, symbol in [(Market.USD_M, name) for name in NAMES] + [
        (Market.COIN_M, "BTCUSD_PERP")
    ]:
        file = FundingFile(market, symbol, Month(2023, 2))
        table = file.parse(archive.body(f"/{file.path}"))
        known = SOURCE.funding(market, symbol)
        here = (known.stamp_ms >= file.month.start_ms) & (known.stamp_ms < file.month.end_ms)
        np.testing.assert_array_equal(times_ms(table), known.stamp_ms[here])
        np.testing.assert_array_equal(table["funding_rate"].to_numpy(), known.rate[here])
        assert holes(table, file.month.range) == []
    assert archive.body(f"/{FundingFile(Market.USD_M, 'BTCUSDT', Month(2023, 7)).path}") is None
    early = SimulatedArchive(SOURCE, lambda: Month(2023, 3).start_ms)
    assert early.body(f"/{FundingFile(Market.USD_M, 'BTCUSDT', Month(2023, 2)).path}") is None


def test_recordings_are_served_as_recorded(tmp_path):
    folder = tmp_path / "um"
    folder.mkdir()
    bars = SOURCE.bars(Market.USD_M, "BTCUSDT", Interval.H1)
    columns = {"open_time": bars.open_ms} | {
        name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")
    }
    pq.write_table(pa.table(columns), folder / "BTCUSDT-1h.parquet")
    stamps = [JANUARY.start_ms + 5, JANUARY.start_ms + 8 * HOUR]
    rates = pa.table(
        {
            "funding_time": stamps[::-1],
            "funding_rate": [0.2, 0.1],
            "rate_type": ["Special", "Regular"],
        }
    )
    pq.write_table(rates, folder / "BTCUSDT-fundingRate.parquet")
    source = ReplaySource(tmp_path)
    assert source.symbols(Market.USD_M) == ["BTCUSDT"]
    known = source.funding(Market.USD_M, "BTCUSDT")
    assert (known.stamp_ms.tolist(), known.rate.tolist()) == (stamps, [0.1, 0.2])
    assert known.hours.tolist() == [8, 8]
    assert known.special.tolist() == [False, True]
    assert source.funding(Market.USD_M, "ETHUSDT") is None


def test_dividends_are_not_laid_over_recordings(tmp_path):
    arguments = ["exchange", "--replay", str(tmp_path), "--special-funding", "3"]
    told = CliRunner().invoke(sim, arguments)
    assert told.exit_code == 2
    assert "recordings state theirs" in told.output
