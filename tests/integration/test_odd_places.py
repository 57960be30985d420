"""Homes of any name, no HOME, terminals that are not UTF-8, and proxies of the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from alphamill import jit
from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.limits import OpenGate
from alphamill.market import Binance
from alphamill.stack.embedded_redis import EmbeddedRedis
from tests.deadlines import ANSWER_S, start_s
from tests.integration.conftest import REPOSITORY, _mills
from tests.loopback import Handler, serving

NAMES = ["mühle", 'a "quoted" one', "it's", "back\\slash", "灰 #1 %h {x}", "two\nlines"]


@pytest.mark.parametrize("name", NAMES)
def test_a_server_starts_in_a_home_of_any_name(tmp_path, name):
    server = EmbeddedRedis(tmp_path / name)
    try:
        with redis.Redis.from_url(server.start()) as client:
            assert client.config_get("dir")["dir"] == str(tmp_path / name / "redis")
            client.set("kept", "there")
    finally:
        server.stop()
    assert any((tmp_path / name / "redis").rglob("*.aof"))


def test_workers_do_a_run_in_a_home_of_any_name(tmp_path, redis_url, market):
    place = tmp_path / "mühle \"a\" 'b' #1"
    place.mkdir()
    with _mills(place, redis_url) as make:
        mill = make(market(symbols=2, months=2))
        fetch, control = mill.worker("fetch", 2), mill.control()
        mill.wait_until_here(fetch, control)
        spec = mill.spec()
        run = mill.submit(spec)
        assert mill.wait_for_end(run.id).state == "done"
        assert mill.check_lake(spec) == 4
        for command in (["status", run.id], ["gaps", "--json"]):
            told = call(command, mill.env)
            assert told.returncode == 0, told.stderr


def call(arguments: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """`alphamill ...` in a process of its own, without HOME."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAMILL") and k != "HOME"}
    return subprocess.run(
        [sys.executable, "-m", "producers.cli", *arguments],
        check=False,
        cwd=REPOSITORY,
        env={**clean, **more},
        capture_output=True,
        timeout=start_s(),
    )


LOCALES = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_a_terminal_that_is_not_utf_8_is_told_what_it_can_show(tmp_path, redis_url, locale):
    nowhere = {f"ALPHAMILL_{name}_URL": "http://127.0.0.1:9" for name in ("BINANCE", "LLM")}
    env = {
        **LOCALES[locale],
        **nowhere,
        "ALPHAMILL_HOME": str(tmp_path / "mühle-灰"),
        "ALPHAMILL_REDIS_URL": redis_url,
    }
    told = call(["doctor"], env)
    assert b"Traceback" not in told.stderr
    assert b"settings" in told.stdout
    assert b"prices" in told.stdout, "to the end"
    checks = json.loads(call(["doctor", "--json"], env).stdout)["checks"]
    assert {check["name"] for check in checks} >= {"redis", "lake", "prices"}


def test_kernels_find_a_place_without_any_home(monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    folder = jit._cache_folder()
    assert folder.is_dir()
    folder.rmdir()


class Clock(Handler):
    def do_GET(self) -> None:
        self.reply(200, {"serverTime": round(time.time() * 1000)})


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def proxied(patch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("NO_PROXY", "no_proxy", *PROXIES):
        patch.delenv(name, raising=False)
    for name in PROXIES:
        patch.setenv(name, proxy)


def asked(url: str) -> int:
    """What an exchange there says of the time."""
    exchange = Binance(Market.SPOT, url, OpenGate(), SystemClock(), ANSWER_S, tries=1)
    try:
        return exchange.server_time_ms()
    finally:
        exchange.close()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_reached_through_a_proxy(monkeypatch, proxy, host):
    proxied(monkeypatch, proxy)
    with serving(Clock) as (_, url):
        assert asked(url.replace("127.0.0.1", host)) > 1_700_000_000_000


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS5"])
def test_a_socks_proxy_is_refused_by_name(monkeypatch, scheme):
    proxied(monkeypatch, f"{scheme}://user:secret@127.0.0.1:9")
    with pytest.raises(Misconfigured) as raised:
        asked("https://api.exchange.test")
    assert str(raised.value) == "HTTPS_PROXY: names a SOCKS proxy; name an HTTP proxy"
