"""`alphamill symbols` over a simulated exchange, its archive and a real Redis; then offline."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.frames import Interval, Market, Month, rows_within
from alphamill.lake import Lake, MonthFacts, write_klines
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.stages.fetch import describe
from alphamill.testing import klines_at
from producers.cli import main
from tests.mortal_market import MortalMarket, life

MIDDLE = Month(2023, 4).start_ms + 9 * 86_400_000
LIVES = {
    "BTCUSDT": life("2023-01", "2023-08"),
    "MATICUSDT": (Month(2023, 1).start_ms, MIDDLE, 1e6),
    "USDCUSDT": life("2023-02", "2023-08"),
}


@pytest.fixture
def environment(redis_url, tmp_path, monkeypatch):
    """A market whose time is long past, so that everything but its last month has settled."""
    with ExchangeServer(ExchangeConfig(), MortalMarket(LIVES)) as server:
        for name, value in {
            "ALPHAMILL_BINANCE_URL": server.url,
            "ALPHAMILL_ARCHIVE_URL": server.url,
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_HOME": str(tmp_path),
            "COLUMNS": "160",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def run(*words):
    return CliRunner().invoke(main, ["symbols", *words])


def test_the_dead_are_listed_and_known_offline(environment, tmp_path, monkeypatch):
    shown = run("--delisted")
    assert shown.exit_code == 0, shown.output
    assert "3 symbols of spot" in shown.output
    assert "1 of them delisted; 1 shown" in shown.output
    (line,) = (line for line in shown.output.splitlines() if line.startswith("MATICUSDT"))
    assert line.split()[:5] == ["MATICUSDT", "coin", "BREAK", "2023-01-01", "2023-04-09"]
    assert "goes on as POL since 2024-09-13" in line
    (key,) = Lake(str(tmp_path / "lake")).list("symbols")
    assert key.startswith("symbols/market=spot/date=20")

    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ALPHAMILL_ARCHIVE_URL", "http://127.0.0.1:1")
    found = json.loads(run("--json").stdout)
    assert {one["symbol"]: one["what"] for one in found["symbols"]} == {
        "BTCUSDT": "coin",
        "MATICUSDT": "coin",
        "USDCUSDT": "stable pair",
    }
    assert found["as_of"] in key
    unknown = run("FTMUSDT")
    assert unknown.exit_code == 1
    assert f"spot has and had no FTMUSDT by the list of {found['as_of']}" in unknown.output
    assert run("--refresh").exit_code == 3  # no Redis, no request; and what is known stays
    assert Lake(str(tmp_path / "lake")).list("symbols") == [key]


def test_without_an_archive_it_says_which_setting(environment, monkeypatch):
    monkeypatch.delenv("ALPHAMILL_ARCHIVE_URL")
    refused = run()
    assert refused.exit_code == 3
    assert "ALPHAMILL_ARCHIVE_URL" in refused.output


def test_another_coin_under_a_name_is_shown_by_the_lakes_bars(environment, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    first = Month(2022, 4).start_ms
    opens = first + 86_400_000 * np.array([*range(20), *range(30, 50)])
    price = np.where(np.arange(40) < 20, 0.001, 9.0)
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    bars = klines_at(opens, Interval.D1, volume=1.0, trades=1, **prices)
    for month in (Month(2022, 4), Month(2022, 5)):
        own = rows_within(bars, month.range)
        facts = describe(Interval.D1, MonthFacts("rest", month.range), own)
        write_klines(lake, Market.SPOT, "BTCUSDT", Interval.D1, month, own, facts)
    shown = run("BTCUSDT")
    assert "another coin or unit since 2022-05-01 by its bars (price x 9,000)" in shown.output
    (row,) = json.loads(run("BTCUSDT", "--json").stdout)["symbols"]
    assert row["notes"] == ["another coin or unit since 2022-05-01 by its bars (price x 9,000)"]
