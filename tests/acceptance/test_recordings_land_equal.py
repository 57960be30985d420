"""Every recording, served by the simulated exchange over HTTP, lands in the lake bar for bar equal.

Of each recording the month of its largest outage and the days after it. With ALPHAMILL_TEST_WHOLE=1
the whole of each, 1.2 million bars both ways, in three minutes.
"""

import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from alphamill.clock import SystemClock
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, read_klines
from alphamill.limits import OpenGate
from alphamill.market import Archive, Binance
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Limits
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps
from producers.cli import main

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "klines"
RECORDINGS = sorted(FOLDER.glob("*/*.parquet"))
WHOLE = os.environ.get("ALPHAMILL_TEST_WHOLE") == "1"
DAY_MS = 86_400_000
NO_LIMIT = Limits(weight=10**9, requests=None)

pytestmark = pytest.mark.skipif(not RECORDINGS, reason="recorded data is not here")


@pytest.fixture(scope="module")
def server():
    config = ExchangeConfig(replay=FOLDER, spot_limits=NO_LIMIT, futures_limits=NO_LIMIT)
    with ExchangeServer(config) as running:
        yield running


@pytest.fixture(scope="module")
def exchanges(server):
    found = {
        market: Binance(market, server.url, OpenGate(), SystemClock())
        for market in (Market.SPOT, Market.USD_M)
    }
    yield found
    for exchange in found.values():
        exchange.close()


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def series(path):
    symbol, interval = path.stem.split("-")
    return Market(path.parent.name), symbol, Interval(interval)


def recorded_bars(path, whole):
    bars = pq.read_table(path)
    opens = bars["open_time"].to_numpy()
    if whole:
        return bars
    month = Month.of_ms(int(opens[np.argmax(np.diff(opens))]))
    days = 3 if path.stem.endswith("1m") else 12
    within = (opens >= month.start_ms) & (opens < month.end_ms + days * DAY_MS)
    return bars.filter(pa.array(within))


def landed(exchanges, lake, path, archive, whole=WHOLE):
    """Fetch what was recorded; the facts, after a look at every bar that is in the lake."""
    recorded = recorded_bars(path, whole)
    where, opens = series(path), recorded["open_time"].to_numpy()
    start_ms, end_ms = int(opens[0]), int(opens[-1]) + where[2].ms
    deps = FetchDeps(exchanges[where[0]], lake, archive)
    facts = fetch.run(FetchJob(*where, start_ms, end_ms), deps)
    bars = read_klines(lake, *where, start_ms, end_ms)
    for name in recorded.column_names:
        values = bars[name].cast(pa.int64()) if name == "open_time" else bars[name]
        assert np.array_equal(values.to_numpy(), recorded[name].to_numpy()), (path.name, name)
    assert facts.rows == len(opens)
    assert facts.missing_bars == (end_ms - start_ms) // where[2].ms - len(opens)
    return facts


def names(paths):
    return [f"{path.parent.name}-{path.stem}" for path in paths]


@pytest.mark.parametrize("path", RECORDINGS, ids=names(RECORDINGS))
def test_through_rest(exchanges, lake, path):
    assert landed(exchanges, lake, path, None).source == "rest"


@pytest.mark.parametrize("path", RECORDINGS, ids=names(RECORDINGS))
def test_through_the_archive(server, exchanges, lake, path):
    with closing(Archive(server.url, SystemClock())) as archive:
        facts = landed(exchanges, lake, path, archive)
    assert facts.files > 0
    assert "archive" in facts.source


def test_the_outage_of_2023_03_24_is_told(server, exchanges, lake, monkeypatch):
    """72 flat minutes, which are bars, and then 80 that the exchange does not have."""
    recorded = FOLDER / "spot" / "BTCUSDT-1m.parquet"
    with closing(Archive(server.url, SystemClock())) as archive:
        landed(exchanges, lake, recorded, archive)
    monkeypatch.setenv("ALPHAMILL_LAKE", lake.uri)
    told = CliRunner().invoke(main, ["gaps", "BTCUSDT", "--interval", "1m", "--json"])
    assert told.exit_code == 0, told.output
    [one] = json.loads(told.output)["series"]
    assert one["expected"] - one["rows"] == 80
    [missing] = one["missing"]
    assert missing["start_ms"] == int(np.datetime64("2023-03-24T12:40", "ms").astype(int))
    assert (missing["bars"], missing["why"]) == (80, "absent at the exchange")
    [halt] = one["halts"]
    assert halt["start_ms"] == int(np.datetime64("2023-03-24T11:28", "ms").astype(int))
    assert (halt["bars"], halt["end_ms"]) == (72, missing["start_ms"])
    shown = CliRunner().invoke(main, ["gaps", "BTCUSDT"], terminal_width=120).output
    assert "absent at the exchange" in shown
    assert "flat bars, no trade" in shown
