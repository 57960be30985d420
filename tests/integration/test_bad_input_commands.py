"""Mistakes that people make: each ends in one line that names cause and cure, and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from producers.cli import main
from tests.deadlines import start_s

USAGE, MISCONFIGURED = 2, 3
OFFLINE = {
    "ALPHAMILL_LLM_URL": "http://127.0.0.1:9/v1",
    "ALPHAMILL_BINANCE_URL": "http://127.0.0.1:9",
}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
RANGE = ("--interval", "1h", "--start", "2024-01-01", "--end", "2024-02-01")
FETCH = ("fetch", "BTCUSDT", *RANGE)
SCORE = ("evaluate", "close", "--symbols", "BTCUSDT", *RANGE)
MINE = ("mine", "BTCUSDT", "ETHUSDT", "BNBUSDT", *RANGE)
NAN_OR_NEXT_TO_NOTHING = "--budget-usd must be at least a millionth of a dollar"
NOBODY = "redis://127.0.0.1:9/0"
PRICED = '[llm.tiers.{tier}]\nmodel = "{model}"\n'


def bars(interval: str, start: str, *more: str) -> tuple[str, ...]:
    return ("fetch", "BTCUSDT", "--interval", interval, "--start", start, *more)


Call = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def call(home: Path, redis_url: str, tmp_path: Path) -> Call:
    """Runs `alphamill ...` on an empty Redis and an empty home."""

    def invoke(*arguments: str, config: str = "", **environment: str) -> Result:
        kept = {name: None for name in os.environ if name.startswith("ALPHAMILL_")}
        told = {"ALPHAMILL_HOME": str(home), "ALPHAMILL_REDIS_URL": redis_url, **OFFLINE}
        if config:
            file = tmp_path / "alphamill.toml"
            file.write_text(config)
            told["ALPHAMILL_CONFIG"] = str(file)
        return CliRunner(env={**kept, **told, **environment}).invoke(main, arguments)

    return invoke


@pytest.fixture
def untouched(home: Path, redis_url: str) -> Callable[[], None]:
    """Asserts that neither Redis nor the home holds anything."""

    def check() -> None:
        with redis.Redis.from_url(redis_url) as client:
            assert client.keys("*") == []
        assert [path for path in home.rglob("*") if path.is_file()] == []

    return check


def last_line(result: Result) -> str:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fetch", "btcusdt", *RANGE), "'btcusdt' is not spelled as the exchange does; did you"),
        (("fetch", "BTC/USDT", *RANGE), "did you mean BTCUSDT?"),
        (("fetch", "../../etc", *RANGE), "is not spelled as the exchange does"),
        (("fetch", "", *RANGE), "'' is not spelled as the exchange does"),
        (
            ("fetch", *RANGE),
            "name symbols (BTCUSDT), --symbols-file FILE, --top N or --universe RULE",
        ),
        (bars("1H", "2024-01-01"), "'1H' is not one of 1s 1m"),
        (bars("1H", "2024-01-01"), "did you mean 1h?"),
        (bars("1h,7h", "2024-01-01"), "'7h' is not one of"),
        (bars("1h", "yesterday"), "'yesterday' is not a date; write 2024-01-31"),
        (bars("1h", "2024-02-30"), "'2024-02-30' is not a date"),
        (bars("1h", "2024-02-01", "--end", "2024-01-01"), "--end must come after --start"),
        (bars("1h", "2024-02-01", "--end", "2024-02-01"), "--end must come after --start"),
        (bars("1h", TOMORROW), "--start lies in the future"),
        ((*FETCH, "--market", "futures"), "'futures' is not one of 'spot', 'um', 'cm'"),
        ((*FETCH, "--priority", "10"), "10 is not in the range 0<=x<=9"),
        ((*MINE, "--budget-usd", "0"), "0.0 is not in the range 0<x"),
        ((*MINE, "--budget-usd", "-1"), "is not in the range 0<x"),
        ((*MINE, "--budget-usd", "nan"), NAN_OR_NEXT_TO_NOTHING),
        ((*MINE, "--budget-usd", "0.0000001"), NAN_OR_NEXT_TO_NOTHING),
        ((*MINE, "--budget-usd", "0.0001"), "pays for no call: one of quick_scan may cost $0.00"),
        ((*MINE, "--rounds", "0"), "0 is not in the range 1<=x"),
        ((*MINE, "--candidates", "many"), "'many' is not a valid integer"),
        (("evaluate", "close", "--symbols", "BTCUSDT,ethusdt", *RANGE), "did you mean ETHUSDT?"),
        ((*MINE, "--interval", "1d"), "the range from --start to --end is too short: 31 bars"),
        ((*MINE, "--interval", "1d"), "or more, or set segments.horizon_bars lower"),
        ((*MINE, "--interval", "1h,1M"), "1M bars have no fixed length and cannot form a panel"),
        ((*SCORE, "--interval", "1M"), "1M bars have no fixed length and cannot form a panel"),
        (("worker", "gpu"), "'gpu' is not one of 'fetch', 'features', 'evaluate', 'llm',"),
        (("worker", "fetch", "-c", "0"), "0 is not in the range x>=1"),
        (("stats",), "no command 'stats'; did you mean status?"),
        (("reprot",), "no command 'reprot'; did you mean report?"),
        (("compare", "A", "B"), "no command 'compare'; did you mean `report A B`?"),
        (("up", "--flower-port", "70000"), "70000 is not in the range 0<=x<=65535"),
        (("sim", "exchange", "--replay", "/nowhere"), "Directory '/nowhere' does not exist"),
        (("sim", "exchange", "--fault", "gremlins"), "gremlins"),
        (("demo", "--interval", "1x"), "'1x' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_told_in_a_line(call, untouched, arguments, expected):
    result = call(*arguments)
    assert result.exit_code == USAGE, result.output
    assert expected in last_line(result)
    untouched()


@pytest.mark.parametrize(
    ("expression", "position", "expected"),
    [
        ("rank(close", 10, "expected"),
        ("ts_mean(close)", 0, "ts_mean"),
        ("close / clse", 8, "did you mean close?"),
        ("ts_maen(close, 5)", 0, "did you mean ts_mean?"),
        ("delay(close, -1)", 13, "-1"),
        ("close ? ", 8, "expected"),
        ("__import__('os')", 11, ""),
    ],
)
def test_an_error_in_an_expression_is_pointed_at(call, untouched, expression, position, expected):
    result = call("evaluate", "rank(volume)", expression, "--symbols", "BTCUSDT,ETHUSDT", *RANGE)
    assert result.exit_code == USAGE, result.output
    said, shown, caret, manual = result.stderr.rstrip("\n").splitlines()[-4:]
    assert "alphamill operators" in manual
    assert expected in said
    assert shown == f"  {expression}"
    assert caret.strip() == "^"
    assert f"col {len(caret) - 2}:" in said, "the caret and the column agree"
    assert len(caret) - 3 == position
    untouched()


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        ("[llm\n", {}, "ALPHAMILL_CONFIG: "),
        ("[binance]\nrequest_per_minute = 5\n", {}, "binance.request_per_minute: "),
        ("[binance]\nrequests_per_minute = 0\n", {}, "binance.requests_per_minute: "),
        ("[binance]\nrequests_per_minute = 'many'\n", {}, "binance.requests_per_minute: "),
        ("[budget]\nrun_usd = 0\n", {}, "budget.run_usd: "),
        ("[segments]\ndiscovery_frac = 0.9\n", {}, "must leave a holdout"),
        ("", {"ALPHAMILL_CONFIG": "/nowhere/a.toml"}, "cannot read /nowhere/a.toml"),
        ("", {"ALPHAMILL_REDIS_URL": "localhost:6379"}, "not a Redis URL; write redis://"),
        ("", {"ALPHAMILL_REDIS_URL": NOBODY}, "start the stack with `alphamill up`"),
        ("", {"ALPHAMILL_REDIS_URL": NOBODY.replace("//", "//:hidden@")}, "at 127.0.0.1:9/0;"),
    ],
    ids=lambda value: value.replace("\n", " ") if isinstance(value, str) else "",
)
@pytest.mark.parametrize("command", [FETCH, MINE], ids=["fetch", "mine"])
def test_a_wrong_setting_is_named(call, untouched, command, config, environment, expected):
    result = call(*command, config=config, **environment)
    assert result.exit_code == MISCONFIGURED, result.output
    assert len(result.stderr.strip().splitlines()) == 1 or "TOML" in result.stderr
    assert expected in result.stderr
    assert "hidden" not in result.output
    untouched()


@pytest.mark.parametrize(
    "command", [("worker", "fetch"), ("beat",), ("flower",), ("status",), FETCH]
)
def test_without_redis_every_command_says_what_to_start(call, untouched, command):
    result = call(*command, ALPHAMILL_REDIS_URL=NOBODY)
    assert result.exit_code == MISCONFIGURED, result.output
    assert last_line(result).startswith("ALPHAMILL_REDIS_URL: no Redis answers at 127.0.0.1:9/0; ")
    untouched()


def test_a_horizon_that_no_segment_can_hold_is_refused_with_its_cure(call):
    result = call(*MINE, config="[segments]\nhorizon_bars = 100\n")
    assert result.exit_code == USAGE, result.output
    assert "744 bars of 1h make segments of" in last_line(result)
    needed = int(last_line(result).partition("a range of ")[2].partition(" ")[0])
    start = datetime(2024, 1, 1, tzinfo=UTC)
    hours = ("--end", (start + timedelta(hours=needed)).isoformat())
    assert call(*MINE, *hours, config="[segments]\nhorizon_bars = 100\n").exit_code == 0
    less = ("--end", (start + timedelta(hours=0.98 * needed)).isoformat())
    assert call(*MINE, *less, config="[segments]\nhorizon_bars = 100\n").exit_code == USAGE


@pytest.mark.parametrize("tier", ["quick_scan", "detailed_analysis", "final_verification"])
def test_a_model_without_a_price_is_refused_before_anything_is_submitted(call, untouched, tier):
    result = call(*MINE, config=PRICED.format(tier=tier, model="gpt-99"))
    assert result.exit_code == MISCONFIGURED, result.output
    assert last_line(result).startswith("llm.prices: no price for model 'gpt-99'; add [llm.prices.")
    untouched()


@pytest.mark.parametrize("key", ["", "   "])
def test_a_key_is_needed_beyond_this_machine(call, untouched, key):
    result = call(*MINE, ALPHAMILL_LLM_URL="https://llm.example/v1", ALPHAMILL_LLM_API_KEY=key)
    assert result.exit_code == MISCONFIGURED, result.output
    assert last_line(result) == (
        "ALPHAMILL_LLM_API_KEY: not set, and llm.example wants one; set it to your key"
    )
    untouched()


@pytest.mark.parametrize("url", ["llm.example/v1", "http://[::1", "ftp"])
def test_an_endpoint_that_is_no_url_is_refused(call, untouched, url):
    result = call(*MINE, ALPHAMILL_LLM_URL=url, ALPHAMILL_LLM_API_KEY="key")
    assert result.exit_code == MISCONFIGURED, result.output
    assert last_line(result).startswith(f"ALPHAMILL_LLM_URL: {url!r} is not a URL")
    untouched()


@pytest.mark.parametrize("command", [FETCH, MINE], ids=["fetch", "mine"])
def test_a_lake_that_cannot_be_written_is_refused(call, untouched, command, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    result = call(*command, ALPHAMILL_LAKE=str(blocked / "lake"))
    assert result.exit_code == MISCONFIGURED, result.output
    assert last_line(result).startswith("ALPHAMILL_LAKE: cannot write ")
    assert last_line(result).endswith("; name a folder you may write to")
    untouched()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_lake_is_refused(call, untouched, tmp_path):
    tmp_path.joinpath("lake").mkdir(mode=0o555)
    result = call(*FETCH, ALPHAMILL_LAKE=str(tmp_path / "lake"))
    assert result.exit_code == MISCONFIGURED
    assert last_line(result).startswith("ALPHAMILL_LAKE: cannot write ")
    untouched()


def _no_room() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_full_lake_is_refused(untouched, home, redis_url, tmp_path):
    told = subprocess.run(
        [sys.executable, "-B", "-m", "producers.cli", *FETCH],
        env={**os.environ, "ALPHAMILL_HOME": str(home), "ALPHAMILL_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=start_s(),
        preexec_fn=_no_room,
    )
    assert told.returncode == MISCONFIGURED, told.stderr
    assert told.stderr.strip().endswith("File too large; free or add space there")
    untouched()


@pytest.mark.parametrize("command", [("up",), ("demo", "--home", "HOME")], ids=["up", "demo"])
def test_a_home_that_cannot_be_made_is_refused(call, command, tmp_path):
    (tmp_path / "a-file").write_text("not a folder")
    place = str(tmp_path / "a-file" / "home")
    words = [place if word == "HOME" else word for word in command]
    result = call(*words, ALPHAMILL_HOME=place, ALPHAMILL_REDIS_URL="")
    assert result.exit_code == MISCONFIGURED, result.output
    assert f"cannot write to {place} (Not a directory); name another folder" in last_line(result)


def test_what_is_right_is_submitted(call, redis_url):
    """The cases above fail for their own reasons: without the mistake the same command works."""
    negated = ("evaluate", "-high / low", "-(close)", "close", *SCORE[2:])
    for command in (FETCH, MINE, negated):
        result = call(*command)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{command[0]}-")
        assert "no worker is up, so the run waits; start some: alphamill up" in result.stderr
