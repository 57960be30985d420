"""Each fault that the simulated exchange can cause, through the real client and the fetch stage:
what lands in the lake is what lands without the fault, or the run says what is missing."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
import requests

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, Series, manifest, read_klines, read_partition
from alphamill.limits import ExchangeGate, MemoryLimiter, binance_pool
from alphamill.market import Archive, Binance
from alphamill.settings import BinanceSettings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Fault, FaultKind, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps
from tests.deadlines import ANSWER_S, slowness

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "binance_responses"
recorded_data = pytest.mark.skipif(not RECORDED.exists(), reason="recorded data is not here")
MINUTE, DAY = 60_000, 86_400_000
APRIL, MAY = Month(2023, 4), Month(2023, 5)
NOW = MAY.start_ms + 20 * DAY + 7 * MINUTE  # a bar runs
WHERE = (Market.SPOT, "BTCUSDT", Interval.M15)
JOB = FetchJob(*WHERE, APRIL.start_ms, MAY.end_ms)  # reaches beyond now
ATTEMPTS = 4  # that count, as the ledger has it


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(
        SyntheticMarket(
            coins=coins_named(["BTCUSDT"]),
            interval=Interval.M15,
            start_ms=APRIL.start_ms,
            end_ms=MAY.end_ms,
            planted=(),
        )
    )


class World:
    """One exchange with its faults, one lake, and a worker's way with errors; no time passes but
    by the clock, which sleeping moves."""

    def __init__(self, source, folder, *faults, archive=False, **config):
        self.clock = ManualClock(NOW)
        self.config = ExchangeConfig(faults=tuple(map(Fault.parse, faults)), **config)
        self.server = ExchangeServer(self.config, source, self.clock)
        self.lake, self.archive = Lake(str(folder)), archive

    def fetch(self):
        """The job's facts; raises what ends it."""
        counted = 0
        with self.server as server, closing(self._client(server.url)) as client:
            files = Archive(server.url, self.clock, ANSWER_S) if self.archive else None
            deps = FetchDeps(client, self.lake, files, self.clock)
            try:
                while True:
                    try:
                        return fetch.run(JOB, deps)
                    except RetryLater as error:
                        counted += error.counts
                        if counted == ATTEMPTS:
                            raise
                        self.clock.advance(error.after_s)
            finally:
                self.totals = server.stats()["totals"]
                if files:
                    files.close()

    def _client(self, url):
        pool = binance_pool(BinanceSettings(spot_url=url), Market.SPOT, 1200)
        gate = ExchangeGate(MemoryLimiter(self.clock), pool)
        silent = any(fault.kind == "timeout" for fault in self.config.faults)
        patience_s = 0.3 * slowness() if silent else ANSWER_S
        return Binance(Market.SPOT, url, gate, self.clock, patience_s)

    def stored(self):
        """Bars and what the files claim."""
        series = Series(*WHERE)
        facts = [read_partition(self.lake, series, month) for month in (APRIL, MAY)]
        asked = [f and (f.facts.asked, f.facts.gaps) for f in facts]
        bars = read_klines(self.lake, *WHERE, APRIL.start_ms, MAY.end_ms)
        return bars.num_rows, bars.to_pydict(), asked


@pytest.fixture(scope="module")
def clean(source, tmp_path_factory):
    """Facts and lake of a fetch without a fault."""
    world = World(source, tmp_path_factory.mktemp("clean"))
    facts = world.fetch()
    assert facts.rows == facts.expected == 50 * 96
    return facts, world.stored()


PASSING = [
    "http_500:/2",
    "html:/2",
    "html_200:/2",
    "truncate:/2",
    "cut_json:/2",
    "reset:/2",
    "timeout:@2-3",
    "waf:@4",
    "nulls:/2",
    "nulls:@2-3",
    "duplicates:/1",
    "unordered:/1",
    "extra_column:/1",
    "extra_column:/2",
    "clock:/2",
    "clock:@1-4",
    "http_429:@3",
    "http_418:@3",
]


@pytest.mark.parametrize("fault", PASSING)
def test_the_lake_is_as_without_the_fault(source, clean, tmp_path, fault):
    world = World(source, tmp_path, fault)
    facts = world.fetch()
    assert world.totals["faults"][fault.partition(":")[0]] >= 1
    assert world.stored() == clean[1]
    assert (facts.rows, facts.expected, facts.missing_bars) == (
        clean[0].rows,
        clean[0].expected,
        clean[0].missing_bars,
    )


def test_every_kind_of_fault_is_covered():
    ending = {"http_451"}
    of_funding = {"no_funding"}  # in test_funding_http.py
    passing = {fault.partition(":")[0] for fault in PASSING}
    assert passing | ending | of_funding == set(FaultKind)


@pytest.mark.parametrize("skew_s", [-20_000, -15, 15, 20_000])
@pytest.mark.parametrize("when", ["clock:/2", "clock:@1-2"])
def test_a_server_time_that_is_off_now_and_then(source, clean, tmp_path, skew_s, when):
    world = World(source, tmp_path, when, skew_ms=skew_s * 1000)
    world.fetch()
    assert world.totals["faults"]["clock"] >= 1
    assert world.stored() == clean[1]


@pytest.mark.parametrize("offset_ms", [-3 * DAY, 3 * DAY + 4 * MINUTE])
def test_an_exchange_whose_clock_is_another_than_ours(source, tmp_path, offset_ms):
    """Only bars that are over by the exchange's clock are stored, and only to there is asked."""
    world = World(source, tmp_path, clock_offset_ms=offset_ms)
    facts = world.fetch()
    closed = (NOW + offset_ms - APRIL.start_ms) // (15 * MINUTE)
    rows, bars, asked = world.stored()
    assert facts.rows == facts.expected == rows == closed
    assert bars["close"] == source.bars(*WHERE).close[:closed].tolist()
    assert asked[1][0].end_ms == APRIL.start_ms + closed * 15 * MINUTE


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("http_451", GiveUp, "does not serve this location"),
        ("waf", RetryLater, "firewall"),
        ("html_200", RetryLater, "did not answer with JSON"),
        ("nulls", RetryLater, "BTCUSDT 15m: malformed klines"),
        ("http_500", RetryLater, "not well"),
        ("clock", RetryLater, "a clock that is off"),
    ],
)
def test_a_fault_that_stays_ends_the_job_with_its_reason(
    source, clean, tmp_path, fault, error, words
):
    first = 1 if fault in ("nulls", "clock") else 3  # after exchangeInfo and time
    world = World(source, tmp_path, f"{fault}:@{first}-")
    with pytest.raises(error, match=words):
        world.fetch()
    assert world.stored()[2] == [None, None]  # nothing is claimed
    healed = World(source, tmp_path)
    healed.fetch()
    assert healed.stored() == clean[1]


def test_what_the_archive_gave_stays_and_the_rest_is_not_claimed(source, clean, tmp_path):
    world = World(source, tmp_path, "http_451:@3-", archive=True)
    with pytest.raises(GiveUp, match="does not serve this location"):
        world.fetch()
    rows, _, asked = world.stored()
    assert (rows, asked) == (30 * 96, [(APRIL.range, ()), None])
    held = manifest(world.lake, *WHERE)
    assert [str(entry.month) for entry in held.entries] == ["2023-04"]
    healed = World(source, tmp_path, "http_500:/2")
    healed.fetch()
    assert healed.stored() == clean[1]


@pytest.mark.parametrize("fault", ["http_429:@3", "http_418:@3"])
def test_nobody_sends_until_the_refusal_ends(source, tmp_path, fault):
    """One request more into the refused minute would be a ban."""
    world = World(source, tmp_path, fault, spot_limits=Limits(tolerated=1))
    world.fetch()
    assert world.totals["refused"] == 1
    assert world.totals["into_bans"] == 0
    assert world.totals["bans"] == ("418" in fault)
    waited_s = (world.clock.now_ms() - NOW) / 1000
    assert waited_s >= (120 if "418" in fault else 60 - (NOW % MINUTE) / 1000)


NUMBER = re.compile(r"\d+")
ADVICE = re.compile(r" Please use .*")  # its wording has changed since the recordings


def said(body):
    return {**body, "msg": ADVICE.sub("", NUMBER.sub("N", body["msg"]))}


@recorded_data
@pytest.mark.parametrize(
    ("fault", "name", "words"),
    [
        ("http_429", "error_429_weight_2022", "to avoid polling the API."),
        ("http_418", "error_418_ip_banned_2022", "to avoid bans."),
        ("http_451", "error_451_restricted_2022", ""),
    ],
)
def test_refusals_look_like_the_recordings(source, fault, name, words):
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    kept = json.loads((RECORDED / "klines_200_2022-01-11.json").read_text())["headers"]
    config = ExchangeConfig(faults=(Fault.parse(f"{fault}:/1"),))
    with ExchangeServer(config, source, ManualClock(NOW)) as server:
        reply = requests.get(f"{server.url}/api/v3/exchangeInfo", timeout=ANSWER_S)
    assert reply.status_code == recorded["status"]
    assert said(reply.json()) == said(recorded["body"])
    assert reply.json()["msg"].endswith(words)
    assert recorded["body"]["msg"].endswith(words)
    assert reply.headers["Content-Type"] == kept["Content-Type"]
    if fault != "http_451":
        assert reply.headers["Retry-After"].isdigit()
        for header in ("x-mbx-used-weight", "x-mbx-used-weight-1m", "x-mbx-uuid", "Date"):
            assert header in reply.headers
        for header in ("Cache-Control", "Pragma", "Expires", "Server", "X-Frame-Options"):
            assert reply.headers[header] == kept[header]
