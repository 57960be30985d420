"""A symbol that is not ASCII goes the way of every other: listing, archive, REST, lake, streams."""

import json
import unicodedata
from urllib.parse import quote, unquote

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest
import requests
from click.testing import CliRunner
from websockets.sync.client import connect

from alphamill.clock import SystemClock
from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, Series, partitions, read_klines
from alphamill.ledger import RedisLedger
from alphamill.redis_address import open_client
from alphamill.settings import Settings, load_settings
from alphamill.sim.exchange import ArchiveFault, ExchangeConfig, ExchangeServer
from alphamill.sim.market import ReplaySource, SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages.funding import read_funding
from alphamill.stages.registry import STAGES
from producers.cli import main
from tests.deadlines import ANSWER_S
from workers import tasks
from workers.resources import Resources

UM = Market.USD_M
NAME = "币安人生USDT"
ENCODED = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"
FOLDER = f"market=um/interval=1h/symbol={NAME}"
JANUARY, MARCH = Month(2023, 1), Month(2023, 3)
FEBRUARY_MS = JANUARY.end_ms


@pytest.fixture(scope="module")
def source():
    market = SyntheticMarket(
        coins=coins_named(["BTCUSDT"]),
        start_ms=JANUARY.start_ms,
        end_ms=MARCH.end_ms,
        planted=(),
        wide=True,
    )
    return SyntheticSource(market)


@pytest.fixture(params=["folder", "s3"])
def lake_uri(request, tmp_path):
    return (
        str(tmp_path / "lake") if request.param == "folder" else request.getfixturevalue("s3_uri")
    )


def settings_of(url, redis_url, home, lake_uri, archive=""):
    return load_settings(
        {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_LAKE": lake_uri,
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_BINANCE_URL": url,
            "ALPHAMILL_BINANCE_UM_URL": url,
            "ALPHAMILL_ARCHIVE_URL": archive,
        }
    )


def work(spec, settings, monkeypatch):
    """Every job of the run, as a worker does it."""
    tools = Resources(settings)
    monkeypatch.setattr(tasks, "resources", lambda: tools)
    monkeypatch.setattr(tasks, "publish", lambda hints: 0)
    run = tools.ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), 0)
    tools.ledger.add_jobs(run.id, plan(spec))
    tools.ledger.seal(run.id)
    for job in plan(spec):
        tasks.attend(run.id, job.id, STAGES[job.stage])
    ended = tools.ledger.run(run.id)
    assert ended.state == "done", tools.ledger.dead(run.id)


def spec_of(settings, kind=RunKind.FETCH):
    span = (JANUARY.start_ms, MARCH.end_ms)
    return RunSpec(kind, settings.lake_uri, UM, (NAME,), (Interval.H1,), *span)


def test_fetched_and_computed_over_archive_and_rest_into_any_lake(
    source, redis_url, tmp_path, lake_uri, monkeypatch
):
    faults = (f"missing:{NAME}-1h-2023-02*", f"bad_checksum:{NAME}-1h-2023-03*")
    broken = tuple(map(ArchiveFault.parse, faults))
    with ExchangeServer(ExchangeConfig(archive_faults=broken), source) as exchange:
        settings = settings_of(exchange.url, redis_url, tmp_path, lake_uri, exchange.url)
        work(spec_of(settings), settings, monkeypatch)
        work(spec_of(settings, RunKind.FEATURES), settings, monkeypatch)
        totals = exchange.stats()["totals"]
    assert totals["bad_requests"] == 0
    assert totals["archive_files"] >= 4  # January and March: a checksum and a zip, at no weight
    assert totals["kline_rows"] >= 59 * 24  # February, which the archive lacks, and March
    lake, span = Lake(lake_uri), (JANUARY.start_ms, MARCH.end_ms)
    table = read_klines(lake, UM, NAME, Interval.H1, *span)
    assert table["close"].to_pylist() == source.bars(UM, NAME, Interval.H1).close.tolist()
    paid = read_funding(lake, UM, NAME, *span)
    assert paid.known == (TimeRange(*span),)
    rates = source.funding(UM, NAME).rate
    assert paid.table["funding_rate"].to_pylist() == rates[: paid.table.num_rows].tolist()
    assert partitions(lake) == [Series(UM, NAME, Interval.H1)]
    assert f"features/{FOLDER}/2023-02.parquet" in lake.list("features")
    assert f"quarantine/{FOLDER}/{NAME}-1h-2023-03.zip" in lake.list("quarantine")


def test_readers_of_the_table_see_the_symbol(source, redis_url, tmp_path, monkeypatch):
    with ExchangeServer(ExchangeConfig(), source) as exchange:
        settings = settings_of(exchange.url, redis_url, tmp_path, str(tmp_path / "lake"))
        work(spec_of(settings), settings, monkeypatch)
    klines, bars = tmp_path / "lake" / "klines", source.bars(UM, NAME, Interval.H1)
    assert (klines.parent / "klines" / FOLDER / "2023-01.parquet").is_file()
    files = [str(path) for path in klines.rglob("*.parquet")]
    table = ds.dataset(files, partitioning="hive", partition_base_dir=str(klines)).to_table()
    assert set(table["symbol"].to_pylist()) == {NAME}
    assert table.num_rows == len(bars)
    frame = pd.read_parquet(klines / FOLDER / "2023-01.parquet")
    assert frame["close"].tolist() == bars.close[: len(frame)].tolist()
    query = "select symbol, count(*) from read_parquet(?, hive_partitioning = true) group by symbol"
    assert duckdb.execute(query, [f"{klines}/**/*.parquet"]).fetchall() == [(NAME, len(bars))]
    shown = CliRunner().invoke(
        main, ["gaps", NAME], env={"ALPHAMILL_HOME": str(tmp_path), "ALPHAMILL_LAKE": ""}
    )
    assert shown.exit_code == 0, shown.output
    assert NAME in shown.output


def asked(arguments, url, redis_url, home):
    env = {
        "ALPHAMILL_HOME": str(home),
        "ALPHAMILL_REDIS_URL": redis_url,
        "ALPHAMILL_BINANCE_URL": url,
        "ALPHAMILL_BINANCE_UM_URL": url,
    }
    span = ["--interval", "1h", "--start", "2023-01-01", "--end", "2023-02-01"]
    return CliRunner().invoke(main, ["fetch", *arguments, *span], env=env)


def test_the_most_traded_take_it_and_say_what_they_pass_over(source, redis_url, tmp_path):
    with ExchangeServer(ExchangeConfig(), source) as exchange:

        def top(*arguments):
            done = asked(["--top", "9", *arguments, "--json"], exchange.url, redis_url, tmp_path)
            assert done.exit_code == 0, done.output
            return json.loads(done.stdout)["top"], done.stderr

        spot, _ = top()
        assert spot == {"quote": "USDT", "symbols": ["BTCUSDT", NAME], "left_out": {}}
        futures, said = top("--market", "um")
        assert futures["symbols"] == ["BTCUSDT", NAME]
        assert futures["left_out"] == {"tradfi": ["XAUUSDT"], "dated": ["BTCUSDT_230630"]}
        assert "left out, 1 tradfi: XAUUSDT; --include tradfi takes them\n" in said
        assert "left out, 1 dated: BTCUSDT_230630; --include dated takes them\n" in said
        both, _ = top("--market", "um", "--include", "tradfi,dated")
        assert set(both["symbols"]) == {"BTCUSDT", NAME, "XAUUSDT", "BTCUSDT_230630"}
        assert both["left_out"] == {}
        assert top("--market", "um", "--include", "tradfi", "--include", "dated")[0] == both


def test_what_is_named_is_taken_as_it_is(source, redis_url, tmp_path):
    named = tmp_path / "universe.txt"
    named.write_text(f"# tokens\n{NAME}  # 币安人生\nXAUUSDT\n", encoding="utf-8")
    with ExchangeServer(ExchangeConfig(), source) as exchange:
        done = asked(
            [
                "BTCUSDT_230630,BTCUPUSDT",
                "USDCUSDT",
                "--symbols-file",
                str(named),
                "--market",
                "um",
                "--unlisted",
            ],
            exchange.url,
            redis_url,
            tmp_path,
        )
        assert exchange.stats()["totals"]["requests"] == 0
    assert done.exit_code == 0, done.output
    ledger = RedisLedger(open_client(redis_url), Settings().ledger)
    spec = RunSpec.from_message(ledger.run(done.stdout.strip()).spec)
    assert spec.symbols == ("BTCUSDT_230630", "BTCUPUSDT", "USDCUSDT", NAME, "XAUUSDT")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["BTCUSDT", "--include", "dated"], "--include goes with --top"),
        (["--top", "5", "--include", "stocks"], "'stocks' is not one of tradfi dated"),
        (["币安人生usdt"], f"did you mean {NAME}?"),
        (["币安/人生"], "did you mean 币安人生?"),
        (["..\u2215x"], "2 to 30 upper-case letters and numbers of any script, and _"),
    ],
)
def test_wrong_use_is_told_with_its_cure(redis_url, tmp_path, arguments, says):
    done = asked(arguments, "http://127.0.0.1:9", redis_url, tmp_path)
    assert done.exit_code == 2
    assert says in done.output


@pytest.mark.parametrize("stream", [f"{NAME.lower()}@kline_1h", f"{ENCODED.lower()}@kline_1h"])
def test_streams_by_name_in_utf8_and_percent_encoded(source, stream):
    config = ExchangeConfig(clock_offset_ms=FEBRUARY_MS - SystemClock().now_ms())
    with ExchangeServer(config, source) as exchange:
        base = exchange.url.replace("http", "ws")
        path = "/".join(quote(part, safe="@%") for part in ("um", "market", "ws", stream))
        with connect(f"{base}/{path}", proxy=None) as socket:
            text = socket.recv(timeout=ANSWER_S)
        with connect(f"{base}/um/market/ws", proxy=None) as socket:
            socket.send(json.dumps({"method": "SUBSCRIBE", "params": [unquote(stream)], "id": 1}))
            replies = [json.loads(socket.recv(timeout=ANSWER_S)) for _ in range(2)]
    assert NAME in text  # in UTF-8, not as JSON's escapes
    assert json.loads(text)["k"]["s"] == NAME
    assert replies[0] == {"result": None, "id": 1}
    assert replies[1]["s"] == NAME


def test_a_recording_of_such_a_name_is_replayed(source, tmp_path, caplog):
    bars = source.bars(UM, NAME, Interval.H1)
    columns = {field: getattr(bars, field) for field in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame({"open_time": bars.open_ms, **columns})
    decomposed = unicodedata.normalize("NFD", "비트USDT")
    assert decomposed != "비트USDT"
    for name in (f"{NAME}-1h", f"{decomposed}-1h", "not one-1h", "btc-1h"):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    replay = ReplaySource(tmp_path, UM)
    assert replay.symbols(UM) == ["币安人生USDT", "비트USDT"]
    assert "2 files are not named SYMBOL-INTERVAL.parquet and not served" in caplog.text
    assert "'btc-1h.parquet', 'not one-1h.parquet'" in caplog.text
    with ExchangeServer(ExchangeConfig(), replay) as exchange:
        url = f"{exchange.url}/fapi/v1/klines?symbol={ENCODED}&interval=1h&startTime=0&limit=5"
        rows = requests.get(url, timeout=ANSWER_S).json()
        path = f"data/futures/um/monthly/klines/{ENCODED}/1h/{ENCODED}-1h-2023-01.zip"
        assert requests.get(f"{exchange.url}/{path}", timeout=ANSWER_S).status_code == 200
    assert [row[0] for row in rows] == bars.open_ms[:5].tolist()
