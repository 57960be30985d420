"""Runs of bars over a simulated exchange's archive and API, as workers do them, and the command."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.bars import TradeSource
from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.lake.days import DaySeries, read_day
from alphamill.market import Archive, Damaged
from alphamill.market.trades.archive_file import TradeFile
from alphamill.runs.fetch_rate import FetchRate
from alphamill.settings import load_settings
from alphamill.sim.exchange import ArchiveFault, ExchangeConfig, ExchangeServer, Limits
from alphamill.stages.registry import STAGES
from producers.cli import main
from producers.submit.bars_made import bars_lines
from tests.trade_sources import DAY, START, small_market
from workers import tasks
from workers.resources import Resources

SOURCE = small_market(days=4)
MISSING = (ArchiveFault.parse("missing:*-2023-01-26"), ArchiveFault.parse("missing:*-2023-01"))
FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_quote")


@pytest.fixture(scope="module")
def exchange():
    generous = Limits(weight=60_000, requests=None)
    config = ExchangeConfig(archive_faults=MISSING, spot_limits=generous)
    with ExchangeServer(config, SOURCE) as server:
        yield server


@pytest.fixture
def settings(exchange, redis_url, tmp_path):
    urls = dict.fromkeys(
        (
            "ALPHAMILL_BINANCE_URL",
            "ALPHAMILL_BINANCE_UM_URL",
            "ALPHAMILL_BINANCE_CM_URL",
            "ALPHAMILL_ARCHIVE_URL",
        ),
        exchange.url,
    )
    return load_settings(
        {
            "ALPHAMILL_HOME": str(tmp_path),
            "ALPHAMILL_LAKE": str(tmp_path / "lake"),
            "ALPHAMILL_REDIS_URL": redis_url,
            **urls,
        }
    )


def work(run, spec, tools, monkeypatch):
    """Every job of the run, as a worker does it."""
    monkeypatch.setattr(tasks, "resources", lambda: tools)
    monkeypatch.setattr(tasks, "publish", lambda hints: 0)
    for job in plan(spec):
        tasks.attend(run.id, job.id, STAGES[job.stage])
    return tools.ledger.run(run.id)


def opened(spec, tools):
    run = tools.ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), 0)
    tools.ledger.add_jobs(run.id, plan(spec))
    tools.ledger.seal(run.id)
    return run


def spec_of(settings, market, trades, salt=""):
    span = START, START + 3 * DAY
    return RunSpec(
        *(RunKind.BARS, settings.lake_uri, market, ("TRXUSDT",), (), *span),
        rule="1h",
        trades=trades,
        salt=salt,
    )


def test_days_land_equal_to_the_klines_over_archive_and_api(exchange, settings, monkeypatch):
    tools = Resources(settings)
    spec = spec_of(settings, Market.SPOT, "aggTrades")
    run = work(opened(spec, tools), spec, tools, monkeypatch)
    assert run.state == "done", tools.ledger.dead(run.id)
    lake, series = Lake(settings.lake_uri), DaySeries.bars(Market.SPOT, "1h", "TRXUSDT")
    bars = SOURCE.bars(Market.SPOT, "TRXUSDT", Interval.H1)
    sources = []
    for day in range(3):
        table, facts = read_day(lake, series, START + day * DAY)
        sources.append(facts.source)
        hours = bars.rows(24 * day, 24 * day + 24)
        for name in FIELDS:
            np.testing.assert_array_equal(table[name].to_numpy(), getattr(hours, name), name)
    assert sources == ["archive-daily", "rest", "archive-daily"]
    landed = FetchRate(tools.redis, settings).progress(run).landed
    assert (landed.made, landed.bars, landed.requests > 1) == (72, 0, True)
    lines = bars_lines(run, tools.ledger)
    assert lines[0].startswith("3 days: 72 bars of ")
    key = "bars/market=spot/rule=1h/symbol=TRXUSDT/2023-01-25.parquet"
    facts = {"bars": 0, "trades": 0, "key": key, "note": "too few", "archive_note": ""}
    told = bars_lines(run, SimpleNamespace(result=lambda _run, _job: facts))
    assert told[1:] == ["TRXUSDT 2023-01-25 and 2 more: too few"]

    before = exchange.stats()["totals"]
    again = spec_of(settings, Market.SPOT, "aggTrades", salt="again")
    assert work(opened(again, tools), again, tools, monkeypatch).state == "done"
    after = exchange.stats()["totals"]
    assert [after[name] for name in ("requests", "archive_files", "archive_missing")] == [
        before[name] for name in ("requests", "archive_files", "archive_missing")
    ]


def test_a_day_of_futures_that_nobody_has_costs_that_day_alone(settings, monkeypatch):
    tools = Resources(settings)
    spec = spec_of(settings, Market.USD_M, "trades")
    run = work(opened(spec, tools), spec, tools, monkeypatch)
    assert not run.whole
    (dead,) = tools.ledger.dead(run.id)
    assert dead.error == (
        "TRXUSDT 2023-01-26: no trades to be had: the archive has no "
        "TRXUSDT-trades-2023-01-26.zip; the archive has no TRXUSDT-trades-2023-01.zip; the API "
        "gives individual trades of futures only to who has a key"
    )
    folder = DaySeries.bars(Market.USD_M, "1h", "TRXUSDT").folder("bars")
    assert Lake(settings.lake_uri).list("bars") == [
        f"{folder}/2023-01-25.parquet",
        f"{folder}/2023-01-27.parquet",
    ]


def invoke(monkeypatch, settings, *args):
    monkeypatch.setattr("producers.options.load_settings", lambda: settings)
    return CliRunner().invoke(main, ["bars", *args])


SPAN = ("--start", "2023-01-25", "--end", "2023-01-27")


def test_the_command_submits_a_job_a_day_and_joins_an_equal_run(settings, monkeypatch):
    told = invoke(monkeypatch, settings, "TRXUSDT", "--rule", "60s", *SPAN)
    assert told.exit_code == 0, told.output
    run_id = told.stdout.strip()
    tools = Resources(settings)
    spec = RunSpec.from_message(tools.ledger.run(run_id).spec)
    assert (spec.rule, spec.trades, spec.keep_trades) == ("1m", "aggTrades", False)
    assert [job.message["start_ms"] for job in plan(spec)] == [START, START + DAY]
    joined = invoke(monkeypatch, settings, "TRXUSDT", "--rule", "1m", *SPAN)
    assert joined.stdout.strip() == run_id
    assert "the same was asked for before" in joined.stderr
    futures = invoke(
        *(monkeypatch, settings, "TRXUSDT", "--rule", "1e3$", "--market", "um", *SPAN),
        "--keep-trades",
    )
    spec = RunSpec.from_message(tools.ledger.run(futures.stdout.strip()).spec)
    assert (spec.rule, spec.trades, spec.keep_trades) == ("1000$", "trades", True)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--rule", "5 minutes", *SPAN), "did you mean 5m?"),
        (("--rule", "100x", *SPAN), "'x' is no unit"),
        (("--rule", "1m", "--start", "2023-01-27", "--end", "2023-01-25"), "--end must come after"),
        (("--rule", "1m", *SPAN, "--source", "quotes"), "'quotes' is not one of"),
        (("--rule", "1m", "--start", "2999-01-01"), "no day has ended since --start"),
        (SPAN, "Missing option '--rule'"),
    ],
)
def test_what_the_command_refuses_is_one_line(settings, monkeypatch, args, says):
    told = invoke(monkeypatch, settings, "TRXUSDT", *args)
    assert told.exit_code == 2
    assert says in told.stderr


def test_an_unlisted_symbol_is_refused_before_anything_is_asked(settings, monkeypatch):
    told = invoke(monkeypatch, settings, "TRXUSD", "--rule", "1m", *SPAN)
    assert told.exit_code == 2
    assert "did you mean TRXUSDT?" in told.stderr


def aside_of(day, *faults):
    """What `put_aside` gives of a file, over HTTP; its text is read within the context."""
    names = tuple(ArchiveFault.parse(fault) for fault in faults)
    file = TradeFile.of_day(Market.SPOT, "TRXUSDT", TradeSource.AGG_TRADES, START + day * DAY)
    with ExchangeServer(ExchangeConfig(archive_faults=names), SOURCE) as server:
        archive = Archive(server.url, SystemClock())
        try:
            with archive.put_aside(file) as aside:
                return aside and (aside.checked, b"".join(aside.pieces()))
        finally:
            archive.close()


def test_files_are_put_aside_as_their_checksums_say():
    checked, text = aside_of(0)
    assert checked
    assert text.count(b"\n") > 500
    assert aside_of(0, "missing_checksum") == (False, text)
    assert aside_of(0, "missing") is None
    assert aside_of(-1) is None
    with pytest.raises(Damaged, match="it does not have its CHECKSUM's sha256") as damaged:
        aside_of(0, "bad_checksum")
    assert damaged.value.content[:2] == b"PK"
    with pytest.raises(Damaged, match="it is not a zip"):
        aside_of(0, "corrupt_zip")


def test_a_disk_without_room_is_said_with_its_setting(monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("alphamill.market.archive.tempfile.TemporaryFile", full)
    with pytest.raises(Misconfigured, match=r"TMPDIR: TRXUSDT-aggTrades-2023-01-25\.zip cannot be"):
        aside_of(0)
