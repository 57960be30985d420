"""fetch over a simulated exchange and a real Redis: universe, re-verification, progress."""

import json
from dataclasses import replace

import numpy as np
import pytest
import redis
import requests
from click.testing import CliRunner
from rich.console import Console

from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, Series, read_corrections, read_klines
from alphamill.ledger import RedisLedger
from alphamill.report.terminal.progress import bars_line
from alphamill.runs.fetch_rate import FetchRate
from alphamill.settings import load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.market import Bars, SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages.registry import STAGES
from producers.cli import main
from producers.submit.universe import Universe, chosen_symbols
from tests.deadlines import ANSWER_S
from workers import tasks
from workers.resources import Resources

JANUARY, FEBRUARY = Month(2023, 1), Month(2023, 2)
BTC = Series(Market.SPOT, "BTCUSDT", Interval.H1)


class Corrected:
    """A market whose past can be corrected."""

    def __init__(self):
        market = SyntheticMarket(
            coins=coins_named(["BTCUSDT", "ETHUSDT", "XRPUSDT"]),
            interval=Interval.H1,
            start_ms=JANUARY.start_ms,
            end_ms=FEBRUARY.end_ms,
            planted=(),
        )
        self._source, self._fixed = SyntheticSource(market), {}
        self.symbols, self.intervals = self._source.symbols, self._source.intervals
        self.describe = self._source.describe

    def bars(self, *where):
        return self._fixed.get(where) or self._source.bars(*where)

    def correct(self, at, close):
        where = (Market.SPOT, "BTCUSDT", Interval.H1)
        bars = self._source.bars(*where)
        values = {name: getattr(bars, name) for name in Bars.__dataclass_fields__}
        values["close"] = values["close"].copy()
        values["close"][at] = close
        self._fixed[where] = Bars(**values)


@pytest.fixture
def served():
    source = Corrected()
    with ExchangeServer(ExchangeConfig(), source) as server:
        yield source, server.url


@pytest.fixture
def settings(served, redis_url, tmp_path):
    return load_settings(
        {
            "ALPHAMILL_HOME": str(tmp_path),
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_BINANCE_URL": served[1],
            "ALPHAMILL_BINANCE_UM_URL": served[1],
            "ALPHAMILL_BINANCE_CM_URL": served[1],
            "ALPHAMILL_ARCHIVE_URL": "",
        }
    )


def weight(url):
    return requests.get(f"{url}/__sim__/stats", timeout=ANSWER_S).json()["totals"]["weight"]


@pytest.mark.parametrize(
    ("market", "quote", "cost"),
    [(Market.SPOT, "USDT", 100), (Market.USD_M, "USDT", 41), (Market.COIN_M, "USD", 41)],
)
def test_the_most_traded_cost_weight_once_an_hour(served, settings, market, quote, cost):
    url = served[1]
    before = weight(url)
    first = chosen_symbols(settings, market, Universe((), None, 2, quote)).symbols
    assert len(first) == 2
    assert weight(url) - before == cost
    named = Universe((("AAAUSDT",),), None, 2, quote)
    assert chosen_symbols(settings, market, named).symbols == ("AAAUSDT", *first)
    assert weight(url) - before == cost
    kept = redis.Redis.from_url(settings.redis_url).keys("alphamill:listing:*")
    assert len(kept) == 1


@pytest.fixture
def submit(settings):
    """`alphamill fetch ...` as typed, with these settings."""
    env = {
        "ALPHAMILL_HOME": str(settings.home),
        "ALPHAMILL_REDIS_URL": settings.redis_url,
        "ALPHAMILL_BINANCE_URL": settings.binance.spot_url,
        "ALPHAMILL_CONFIG": None,
    }
    span = ("--interval", "1h", "--start", "2024-01-01", "--end", "2024-02-01")

    def call(*words, **more):
        return CliRunner(env=env | more).invoke(main, ["fetch", *words, *span])

    return call


def test_a_symbol_that_the_exchange_does_not_list_is_refused_with_the_nearest(submit, settings):
    refused = submit("BTCUSDT", "ETHUSD", "NOTHINGLIKEIT")
    assert refused.exit_code == 2
    words = "does not list ETHUSD (did you mean ETHUSDT?), NOTHINGLIKEIT on spot"
    assert words in " ".join(refused.stderr.split())
    assert RedisLedger(redis.Redis.from_url(settings.redis_url), settings.ledger).runs() == []
    assert submit("BTCUSDT", "ETHUSD", "--unlisted").exit_code == 0
    assert submit("BTCUSDT", "ETHUSD").exit_code == 0, "what was taken before is joined"


def test_a_symbol_younger_than_the_kept_listing_is_taken(submit, settings):
    assert submit("BTCUSDT").exit_code == 0
    client = redis.Redis.from_url(settings.redis_url)
    (name,) = client.keys("alphamill:listing:*")
    client.set(name, client.get(name).replace(b"ETHUSDT", b"OLDUSDT"))
    assert submit("ETHUSDT").exit_code == 0


def test_an_exchange_that_cannot_be_asked_keeps_nobody_from_submitting(submit):
    told = submit("ETHUSD", ALPHAMILL_BINANCE_URL="http://127.0.0.1:9")
    assert told.exit_code == 0
    assert "not known whether the exchange has these symbols" in told.stderr


def run_all(spec, tools):
    """Every job of the run, as a worker does it."""
    ledger = tools.ledger
    run = ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), 0)
    ledger.add_jobs(run.id, plan(spec))
    ledger.seal(run.id)
    for job in plan(spec):
        tasks.attend(run.id, job.id, STAGES[job.stage])
    return ledger.run(run.id)


def line_of(rate, run):
    console = Console(width=80, record=True, file=None, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(bars_line(rate.progress(run)))
    return capture.get()


def test_fetch_then_verify_as_workers_do(served, settings, monkeypatch):
    source, url = served
    tools = Resources(settings)
    monkeypatch.setattr(tasks, "resources", lambda: tools)
    monkeypatch.setattr(tasks, "publish", lambda hints: 0)
    spec = RunSpec(
        RunKind.FETCH,
        settings.lake_uri,
        Market.SPOT,
        ("BTCUSDT", "ETHUSDT"),
        (Interval.H1,),
        JANUARY.start_ms,
        FEBRUARY.end_ms,
    )
    fetched = run_all(spec, tools)
    assert fetched.state == "done"
    bars = 2 * (31 + 28) * 24
    rate = FetchRate(tools.redis, settings)
    assert rate.progress(fetched).landed.bars == bars
    assert f"{bars:,} bars landed" in line_of(rate, fetched)

    source.correct(5, 4242.0)
    before = weight(url)
    # The simulator keeps rows it has sent: a new one has today's.
    with ExchangeServer(ExchangeConfig(), source) as today:
        binance = settings.binance.model_copy(update={"spot_url": today.url})
        tools = Resources(settings.model_copy(update={"binance": binance}))
        monkeypatch.setattr(tasks, "resources", lambda: tools)
        verified = run_all(replace(spec, verify_frac=1.0, salt="2023-12-01"), tools)
    assert verified.state == "done"
    assert weight(url) == before
    lake = Lake(settings.lake_uri)
    changes = read_corrections(lake, BTC).to_pylist()
    assert [(row["column"], row["new"]) for row in changes] == [("close", 4242.0)]
    stored = read_klines(
        lake, Market.SPOT, "BTCUSDT", Interval.H1, JANUARY.start_ms, JANUARY.end_ms
    )["close"].to_numpy()
    assert stored[5] == 4242.0
    assert np.isfinite(stored).all()
    landed = FetchRate(tools.redis, settings).progress(verified).landed
    assert (landed.compared, landed.corrected, landed.vanished) == (bars, 1, 0)
    line = line_of(FetchRate(tools.redis, settings), verified)
    assert f"compared {bars:,} bars: 1 corrected, 0 appeared, 0 vanished" in line
    assert max(map(len, line.splitlines())) <= 80
    results = [json.loads(json.dumps(dict(job.result))) for job in tools.ledger.jobs(verified.id)]
    assert sum(result["corrected"] for result in results) == 1


def test_a_running_run_shows_its_rate_the_limit_and_the_time_left(served, settings):
    tools = Resources(settings)
    now_s = [0.0]
    rate = FetchRate(tools.redis, settings, lambda: now_s[0])
    ledger = RedisLedger(tools.redis, settings.ledger)
    spec = RunSpec(
        RunKind.FETCH,
        settings.lake_uri,
        Market.SPOT,
        ("BTCUSDT",),
        (Interval.H1,),
        Month(2022, 3).start_ms,
        FEBRUARY.end_ms,
    )
    run = ledger.open_run(spec.run_id, "fetch", spec.to_message(), 0)
    ledger.add_jobs(run.id, plan(spec))
    run = ledger.seal(run.id)
    assert rate.progress(run) is None
    tools.exchange(Market.SPOT).weight_limit()  # 20 of this minute's weight
    tools.bars.add(run.id, {"bars": 700, "requests": 1}, 6000, run.created_ms + 1000)
    rate.progress(run)
    tools.bars.add(run.id, {"bars": 5000, "requests": 5}, 6000, run.created_ms + 11_000)
    now_s[0] = 10.0
    run = replace(run, counts={"fetch": {"done": 4, "running": 2, "queued": 6}})
    facts = rate.progress(run).to_dict()
    assert facts["bars_per_s"] == 500.0
    assert facts["weight_limit"] == 6000
    assert 20 <= facts["weight_used"] <= 40
    assert facts["left_s"] == 20.0  # 8 of 12 jobs at 0.4 a second
    line = line_of(rate, run)
    assert "5,700 bars landed; 500 a second" in line
    assert "of 6,000 this minute" in line
    assert "20 s left" in line or "0:20 left" in line
