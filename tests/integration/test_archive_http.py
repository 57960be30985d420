"""The archive's client against the simulated exchange's archive, and against broken servers."""

import hashlib
import io
import re
import zipfile
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import requests

from alphamill.clock import ManualClock, SystemClock
from alphamill.errors import Misconfigured, RetryLater
from alphamill.frames import Interval, Market, Month, rows_within
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, Series, read_partition
from alphamill.limits import OpenGate
from alphamill.market import Archive, Binance, Damaged, KlineFile, parse_klines
from alphamill.sim.exchange import ArchiveFault, ExchangeConfig, ExchangeServer, Fault
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.exchange.print_rows import print_rows
from alphamill.sim.market import Bars, SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps
from tests.deadlines import ANSWER_S
from tests.loopback import Handler, serving

DECEMBER, JANUARY = Month(2024, 12), Month(2025, 1)
SPOT = (Market.SPOT, "BTCUSDT", Interval.M15)
UM = (Market.USD_M, "BTCUSDT", Interval.M15)
CM = (Market.COIN_M, "BTCUSD_PERP", Interval.M15)
HOLE = slice(1000, 1010)  # bars of December that the exchange does not have


class Holed:
    """The synthetic market with an outage."""

    def __init__(self, source):
        self._source = source
        self._bars = {}
        self.symbols, self.intervals = source.symbols, source.intervals
        self.describe = source.describe

    def bars(self, *where):
        if where not in self._bars:
            bars = self._source.bars(*where)
            if bars is not None:
                kept = np.delete(np.arange(len(bars)), HOLE)
                names = Bars.__dataclass_fields__
                bars = Bars(*(getattr(bars, name)[kept] for name in names))
            self._bars[where] = bars
        return self._bars[where]


class Odd(Holed):
    """The synthetic market with a bar that opens seven minutes late."""

    AT_MS = DECEMBER.start_ms + 4 * 86_400_000 + 4 * 3_600_000 + 7 * 60_000

    def bars(self, *where):
        bars = self._source.bars(*where)
        if bars is None or where[2] is not Interval.M15:
            return bars
        times = bars.open_ms.copy()
        times[bars.stop_at(self.AT_MS) - 1] = self.AT_MS
        return replace(bars, open_ms=times)


@pytest.fixture(scope="module")
def source():
    market = SyntheticMarket(
        coins=coins_named(["BTCUSDT"]),
        interval=Interval.M15,
        start_ms=DECEMBER.start_ms,
        end_ms=JANUARY.end_ms,
        planted=(),
    )
    return Holed(SyntheticSource(market))


@pytest.fixture
def serve(source):
    servers = []

    def start(*archive_faults, **settings):
        faults = tuple(ArchiveFault.parse(text) for text in archive_faults)
        server = ExchangeServer(ExchangeConfig(archive_faults=faults, **settings), source)
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def served(source, file):
    """The file's bars as the simulator's own rows say them."""
    bars = source.bars(file.market, file.symbol, file.interval)
    bars = bars.rows(bars.start_at(file.range.start_ms), len(bars))
    rows = print_rows(bars, file.interval)
    table = parse_klines(f"[{','.join(rows)}]".encode(), file.symbol, file.interval)
    return rows_within(table, file.range)


def archive_at(url, clock=None):
    return closing(Archive(url, clock or SystemClock(), timeout_s=ANSWER_S))


@pytest.mark.parametrize("where", [SPOT, UM, CM], ids=["spot", "um", "cm"])
def test_months_and_days_of_every_market(serve, source, where):
    server = serve()
    with archive_at(server.url) as archive:
        for month in (DECEMBER, JANUARY):
            for day in (None, 31):
                file = KlineFile(*where, month, day)
                table = archive.read(file)
                assert table.num_rows >= 96
                assert table.equals(served(source, file))
        assert archive.read(KlineFile(*where, Month(2024, 11))) is None
        assert archive.read(KlineFile(where[0], "NOUSDT", Interval.M15, DECEMBER)) is None
    assert server.stats()["totals"]["weight"] == 0


def test_files_look_like_the_real_ones(serve):
    url = f"{serve().url}/data"

    def text(path):
        content = requests.get(f"{url}/{path}.zip", timeout=ANSWER_S).content
        said = requests.get(f"{url}/{path}.zip.CHECKSUM", timeout=ANSWER_S).text
        name = path.rsplit("/", 1)[1]
        assert said == f"{hashlib.sha256(content).hexdigest()}  {name}.zip\n"
        return content

    first = text("spot/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12")
    assert first == text("spot/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12")

    def lines(path):
        with zipfile.ZipFile(io.BytesIO(text(path))) as archive:
            return archive.read(f"{path.rsplit('/', 1)[1]}.csv").decode().splitlines()

    old = lines("spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12-31")
    new = lines("spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2025-01-01")
    assert old[0].startswith("1735603200000,")
    assert new[0].startswith("1735689600000000,")
    assert re.search(r",1735690499999999,", new[0])
    futures = lines("futures/um/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2025-01-01")
    assert futures[0].startswith("open_time,open,high,low,close,volume,close_time,quote_volume,")
    assert futures[1].startswith("1735689600000,")
    assert len(old) == len(new) == len(futures) - 1 == 96


@pytest.mark.parametrize(
    "path",
    [
        "spot/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-13.zip",
        "spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12-32.zip",
        "spot/daily/klines/BTCUSDT/15m/BTCUSDT-15m-2024-12.zip",
        "spot/monthly/klines/BTCUSDT/15m/ETHUSDT-15m-2024-12.zip",
        "spot/monthly/klines/BTCUSDT/7m/BTCUSDT-7m-2024-12.zip",
        "spot/monthly/klines/BTCUSDT/15m/../../../../etc/passwd",
    ],
)
def test_other_keys_are_not_there(serve, path):
    got = requests.get(f"{serve().url}/data/{path}", timeout=ANSWER_S)
    assert got.status_code == 404
    assert "<Code>NoSuchKey</Code>" in got.text


def test_a_day_is_published_on_the_next_morning_and_a_month_a_week_later(source):
    clock, hour_s = ManualClock(JANUARY.end_ms), 3600
    month, last_day = KlineFile(*SPOT, JANUARY), KlineFile(*SPOT, JANUARY, 31)
    with (
        ExchangeServer(ExchangeConfig(), source, clock) as server,
        archive_at(server.url) as archive,
    ):
        clock.advance(2 * hour_s - 1)
        assert archive.read(last_day) is None
        clock.advance(7 * hour_s + 1)
        assert archive.read(last_day).num_rows == 96
        clock.advance((7 * 24 - 7) * hour_s - 1)
        assert archive.read(month) is None
        clock.advance(7 * hour_s + 1)
        assert archive.read(month).num_rows == 31 * 96


def test_files_are_published_at_times_of_their_own(source):
    """Between two and nine hours after the day, and not all of them in one minute."""
    noon = DECEMBER.start_ms + 12 * 3_600_000
    clock = ManualClock(noon)
    api = SimulatedArchive(source, clock.now_ms)
    hours = []
    for day in range(1, 21):
        file = KlineFile(*SPOT, DECEMBER, day)
        clock.advance((file.range.end_ms - clock.now_ms()) / 1000)
        while api.body(f"/{file.path}") is None:
            clock.advance(600)
        hours.append((clock.now_ms() - file.range.end_ms) / 3_600_000)
    api.close()
    assert 2 <= min(hours) < 3.5
    assert 7.5 < max(hours) <= 9 + 1 / 6


def test_an_odd_row_of_both_sources_is_left_out_and_the_month_is_whole(tmp_path):
    """As beside the outages of 2018: a part of a bar, under a time of its own."""
    market = SyntheticMarket(
        coins=coins_named(["BTCUSDT"]),
        interval=Interval.M15,
        start_ms=DECEMBER.start_ms,
        end_ms=DECEMBER.end_ms,
        planted=(),
    )
    source = Odd(SyntheticSource(market))
    with ExchangeServer(ExchangeConfig(), source) as server:
        plain, from_api, _ = run(tmp_path / "rest", server, "", SPOT)
        filed, from_file, _ = run(tmp_path / "archive", server, server.url, SPOT)
    assert (plain.source, filed.source) == ("rest", "archive-monthly")
    note = "left out 1 bar, at 2024-12-05 04:07 UTC, off the grid of 15m"
    assert plain.archive_note == filed.archive_note == note
    for partition in (from_api, from_file):
        assert (partition.rows, partition.complete) == (31 * 96 - 1, True)
        assert [gap.bars for gap in partition.facts.gaps] == [1]
        assert partition.facts.off_grid == (Odd.AT_MS,)
    assert from_api.content_hash == from_file.content_hash


@pytest.mark.parametrize(
    ("fault", "reason"), [("bad_checksum", "sha256"), ("corrupt_zip", "not a zip")]
)
def test_a_file_that_cannot_be_trusted(serve, fault, reason):
    file = KlineFile(*SPOT, DECEMBER)
    server = serve(f"{fault}:{file.stem}")
    with archive_at(server.url) as archive:
        with pytest.raises(Damaged, match=reason) as caught:
            archive.read(file)
        assert caught.value.content
        assert archive.read(KlineFile(*SPOT, JANUARY)).num_rows == 31 * 96


def test_a_missing_file_is_not_there(serve):
    with archive_at(serve("missing:*-2024-12").url) as archive:
        assert archive.read(KlineFile(*SPOT, DECEMBER)) is None
        assert archive.read(KlineFile(*SPOT, DECEMBER, 5)).num_rows == 96


def test_a_file_without_its_checksum_cannot_be_trusted(serve):
    with archive_at(serve("missing_checksum:*-2024-12").url) as archive:
        with pytest.raises(Damaged, match="it has no CHECKSUM") as caught:
            archive.read(KlineFile(*SPOT, DECEMBER))
        assert caught.value.content.startswith(b"PK")


@pytest.mark.parametrize("fault", ["truncate:/2", "reset:/2", "http_500:/2", "waf:/2"])
def test_one_broken_reply_is_asked_for_again(serve, fault):
    server = serve(faults=(Fault.parse(fault),))
    with archive_at(server.url) as archive:
        assert archive.read(KlineFile(*SPOT, JANUARY)).num_rows == 31 * 96
    assert sum(server.stats()["totals"]["faults"].values()) >= 1


@pytest.mark.parametrize("fault", ["truncate", "reset", "http_500", "waf"])
def test_an_archive_that_only_fails_is_left_alone_for_a_minute(serve, fault):
    server, clock = serve(faults=(Fault.parse(f"{fault}:1"),)), ManualClock()
    with archive_at(server.url, clock) as archive:
        for _ in range(5):
            with pytest.raises(RetryLater):
                archive.read(KlineFile(*SPOT, JANUARY))
        assert server.stats()["totals"]["faults"] == {fault: 2}
        clock.advance(61)
        with pytest.raises(RetryLater):
            archive.read(KlineFile(*SPOT, JANUARY))
        assert server.stats()["totals"]["faults"] == {fault: 4}


def test_nobody_listens_and_no_url():
    file = KlineFile(*SPOT, JANUARY)
    with archive_at("http://127.0.0.1:9") as archive, pytest.raises(RetryLater, match="no answer"):
        archive.read(file)
    with archive_at("nowhere") as archive, pytest.raises(Misconfigured, match="ARCHIVE_URL"):
        archive.read(file)


def run(folder, server, archive_url, where, month=DECEMBER):
    """The fetch stage over the simulated exchange; its facts and the month's partition."""
    lake, clock = Lake(str(folder)), SystemClock()
    with closing(Binance(where[0], server.url, OpenGate(), clock)) as exchange:
        archive = Archive(archive_url, clock, ANSWER_S) if archive_url else None
        facts = fetch.run(
            FetchJob(*where, month.start_ms, month.end_ms),
            FetchDeps(exchange, lake, archive, clock),
        )
        if archive:
            archive.close()
    return facts, read_partition(lake, Series(*where), month), lake


@pytest.mark.parametrize(
    ("where", "faults", "source_named", "said"),
    [
        (SPOT, [], "archive-monthly", ""),
        (SPOT, ["missing:*-2024-12"], "archive-daily", "the archive has no {stem}.zip"),
        (
            SPOT,
            ["missing:*-2024-12", "missing:*-2024-12-07"],
            "archive-daily+rest",
            "the archive has no {stem}.zip and 1 more",
        ),
        (SPOT, ["missing_checksum"], "rest", "quarantined {stem}: it has no CHECKSUM"),
        (SPOT, ["bad_checksum"], "rest", "quarantined {stem}: it does not have its CHECKSUM's"),
        (SPOT, ["corrupt_zip"], "rest", "quarantined {stem}: it is not a zip"),
        (UM, [], "archive-monthly", ""),
        (UM, ["corrupt_zip:*-2024-12"], "rest", "quarantined {stem}: it is not a zip"),
        (CM, [], "archive-monthly", ""),
        (CM, ["missing:*-2024-12"], "archive-daily", "the archive has no {stem}.zip"),
    ],
)
def test_every_road_ends_at_equal_bars(serve, tmp_path, where, faults, source_named, said):
    server = serve(*faults)
    plain, wanted, _ = run(tmp_path / "rest", server, "", where)
    facts, partition, lake = run(tmp_path / "archive", server, server.url, where)
    assert (plain.source, facts.source) == ("rest", source_named)
    assert partition.content_hash == wanted.content_hash
    assert partition.rows == 31 * 96 - 10
    assert partition.facts.gaps == wanted.facts.gaps
    assert [gap.bars for gap in partition.facts.gaps] == [10]
    said = said.format(stem=KlineFile(*where, DECEMBER).stem)
    assert facts.archive_note.startswith(said)
    assert bool(facts.archive_note) == bool(said)
    assert bool(lake.list("quarantine")) == said.startswith("quarantined")


def test_without_an_archive_in_reach_the_bars_come_and_the_facts_say_so(serve, tmp_path):
    facts, partition, _ = run(tmp_path, serve(), "http://127.0.0.1:9", SPOT)
    assert (facts.source, partition.rows) == ("rest", 31 * 96 - 10)
    assert facts.archive_note.startswith("archive: no answer from http://127.0.0.1:9")


def test_bodies_are_bounded_and_redirects_not_followed():
    class Endless(Handler):
        protocol_version = "HTTP/1.0"  # what it sends has no length

        def do_GET(self):
            if "1h" in self.path:
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"0" * 65_536)
            except OSError:
                pass  # the client had enough

    with serving(Endless) as (_, url), archive_at(url) as archive:
        with pytest.raises(Damaged, match="over 4096 bytes"):
            archive.read(KlineFile(*SPOT, JANUARY))
        with pytest.raises(RetryLater, match="HTTP 302"):
            archive.read(KlineFile(Market.SPOT, "BTCUSDT", Interval.H1, JANUARY))
