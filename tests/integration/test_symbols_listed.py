"""`alphamill symbols` over a simulated exchange, its archive and a real Redis; then offline."""

import json

import pytest
from click.testing import CliRunner

from alphamill.frames import Month
from alphamill.lake import Lake
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
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
