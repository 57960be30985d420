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

from alphamill import kernel_cache
from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.lake.s3 import S3Files
from alphamill.limits import OpenGate
from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.market import Binance
from alphamill.proxies import is_loopback
from alphamill.stack.embedded_redis import EmbeddedRedis
from producers.run import demo
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
    folder = kernel_cache.kernel_cache_folder()
    assert folder.is_dir()
    folder.rmdir()


class Anything(Handler):
    """An exchange and a model endpoint, or a proxy before them."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        self.reply(200, {"serverTime": round(time.time() * 1000), "data": [{"id": "m"}]})

    def do_HEAD(self) -> None:
        self.server.seen.append(self.path)
        self.reply(404, b"")


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def proxied(patch: pytest.MonkeyPatch, proxy: str, names: tuple[str, ...] = PROXIES) -> None:
    for name in ("NO_PROXY", "no_proxy", *PROXIES):
        patch.delenv(name, raising=False)
    for name in names:
        patch.setenv(name, proxy)


def ask_exchange(url: str, _patch: pytest.MonkeyPatch) -> bool:
    exchange = Binance(Market.SPOT, url, OpenGate(), SystemClock(), ANSWER_S, tries=1)
    try:
        return exchange.server_time_ms() > 1_700_000_000_000
    finally:
        exchange.close()


def ask_model(url: str, _patch: pytest.MonkeyPatch) -> bool:
    chat = OpenAIChat(f"{url}/v1", None, ANSWER_S)
    try:
        return chat.models() == ["m"]
    finally:
        chat.close()


def ask_lake(url: str, patch: pytest.MonkeyPatch) -> bool:
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return S3Files("s3://bucket/lake").stat("none") is None


every_client = pytest.mark.parametrize("ask", [ask_exchange, ask_model, ask_lake])


@every_client
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_reached_through_a_proxy(monkeypatch, ask, proxy, host):
    proxied(monkeypatch, proxy)
    with serving(Anything) as (server, url):
        server.seen = []
        assert ask(url.replace("127.0.0.1", host), monkeypatch)
        assert server.seen


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_the_demo_asks_its_own_exchange_without_a_proxy(monkeypatch, proxy):
    proxied(monkeypatch, proxy)
    with serving(Anything) as (server, url):
        server.seen = []
        assert demo._get(f"{url}/__sim__/market")["data"] == [{"id": "m"}]


@every_client
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("form", ["http://{}", "{}"])
def test_other_machines_are_reached_through_the_proxy(monkeypatch, ask, name, form):
    with serving(Anything) as (server, url):
        server.seen = []
        proxied(monkeypatch, form.format(url.removeprefix("http://")), (name,))
        assert ask("http://far.away.test:8080", monkeypatch)
        assert server.seen[0].startswith("http://far.away.test:8080/")


@every_client
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS5"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_socks_proxy_is_refused_by_the_name_of_its_variable(monkeypatch, ask, scheme, name):
    proxied(monkeypatch, f"{scheme}://user:secret@127.0.0.1:9", (name,))
    with pytest.raises(Misconfigured) as raised:
        ask("https://api.exchange.test", monkeypatch)
    assert str(raised.value) == f"{name}: names a SOCKS proxy; name an HTTP proxy"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("api.localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("", False),
        ("10.0.0.1", False),
        ("127.example.com", False),
        ("notlocalhost", False),
    ],
)
def test_which_hosts_are_this_machine(host, here):
    assert is_loopback(host) is here
