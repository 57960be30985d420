"""`alphamill up`: one stack, used from other processes by its home alone, and hurt on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

from alphamill.ledger.presence import Presence
from alphamill.stack.embedded_redis import answers, free_port
from alphamill.stack.pools import POOLS, STREAM
from tests.deadlines import ANSWER_S, stack_s, start_s, wait_for_all, work_s
from tests.loopback import listens

pytestmark = [pytest.mark.slow, pytest.mark.stack]

KEY = "the-only-key"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
RANGE = ("--interval", "1h", "--start", "2023-01-01", "--end", "2023-04-15")
CONFIG = """\
[llm.tiers.quick_scan]
model = "{model}"
[llm.tiers.detailed_analysis]
model = "{model}"
[llm.tiers.final_verification]
model = "{model}"
[llm.prices."no-such-model"]
input = 0.1
output = 0.1
[ledger]
lease_s = 5
max_attempts = 2
"""


@pytest.fixture(scope="module")
def place(launch, small_market, tmp_path_factory):
    """A stack that is up, with its simulated exchange and model; `call(*arguments)` uses it."""
    folder = tmp_path_factory.mktemp("up")
    home, config = folder / "home", folder / "alphamill.toml"
    config.write_text(CONFIG.format(model="offline-proposer"))
    exchange_port, llm_port = free_port(), free_port()
    replayed = ("--port", str(exchange_port), "--replay", str(small_market))
    exchange = launch(folder / "exchange", "sim", "exchange", *replayed)
    llm = launch(folder / "llm", "sim", "llm", "--port", str(llm_port), "--api-key", KEY)
    up = launch(
        home,
        *("up", "--flower-port", "0"),
        ALPHAMILL_HOME=str(home),
        ALPHAMILL_CONFIG=str(config),
        ALPHAMILL_BINANCE_URL=f"http://127.0.0.1:{exchange_port}",
        ALPHAMILL_LLM_URL=f"http://127.0.0.1:{llm_port}/v1",
        ALPHAMILL_LLM_API_KEY="a-wrong-key",
    )
    up.until(lambda: "up: Flower on " in up.out, "the stack", stack_s())
    up.look()
    flower = up.out.split("up: Flower on ")[1].split(",")[0]

    def call(*arguments: str, **environment: str):
        told = {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_BINANCE_URL": f"http://127.0.0.1:{exchange_port}",
            **environment,
        }
        command = launch(folder / "caller", *arguments, **told)
        code = command.wait()
        return SimpleNamespace(code=code, out=command.out, err=command.err)

    return SimpleNamespace(
        home=home,
        up=up,
        flower=flower,
        call=call,
        exchange=exchange,
        llm=llm,
        llm_port=llm_port,
        folder=folder,
        presence=lambda: Presence(up.ledger()._client),
    )


def shown(place, path: str):
    with urllib.request.urlopen(place.flower + path, timeout=ANSWER_S) as reply:  # noqa: S310  loopback
        return json.load(reply)["data"]


def maps_llvm(pid: int) -> bool:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return any("llvmlite" in mapped.path for one in family for mapped in one.memory_maps())


def test_flower_shows_every_worker(place):
    def pools() -> set[str]:
        return {row["hostname"].split("-")[0] for row in shown(place, "/workers?json=1")}

    wait_for_all(POOLS, pools, "five workers in Flower", within_s=stack_s())


def test_everything_listens_on_loopback_only(place):
    place.up.look()
    for pid in place.up.pids:
        for connection in psutil.Process(pid).net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::1"), connection


def test_a_run_is_submitted_with_nothing_but_the_home(place):
    done = place.call("fetch", "BTCUSDT", *RANGE, "--wait")
    assert done.code == 0, done.err
    run_id = done.out.strip().splitlines()[-1]
    assert place.up.ledger().run(run_id).state == "done"
    folder = place.home / "lake" / "klines" / "market=spot" / "interval=1h" / "symbol=BTCUSDT"
    assert len(pd.read_parquet(folder)) == 2496  # 104 days
    names = {row["name"] for row in shown(place, _tasks_query())}
    assert names == {"alphamill.fetch"}, "sweeps are not told, which would drown all others"


def _tasks_query() -> str:
    order = "&order%5B0%5D%5Bcolumn%5D=0&order%5B0%5D%5Bdir%5D=desc"
    return f"/tasks/datatable?draw=1&start=0&length=100&search%5Bvalue%5D={order}" + (
        "&columns%5B0%5D%5Bdata%5D=received"
    )


def test_the_same_again_joins_and_costs_nothing(place):
    again = place.call("fetch", "BTCUSDT", *RANGE, "--wait", "--json")
    told = json.loads(again.out)
    assert (again.code, told["state"], told["joined"]) == (0, "done", True)


def test_a_killed_worker_is_replaced(place):
    (victim,) = [w for w in place.presence().here() if w.pool == "fetch"]
    os.kill(victim.pid, signal.SIGKILL)
    place.up.until(
        lambda: any(w.pool == "fetch" and w.pid != victim.pid for w in place.presence().here()),
        "a new fetch worker",
        stack_s(),
    )
    done = place.call("fetch", "ETHUSDT", *RANGE, "--wait")
    assert done.code == 0, done.err
    assert "worker-fetch ended with -9; starting it again" in place.up.err


def test_a_killed_redis_is_replaced_and_has_forgotten_nothing(place):
    before = {run.id: run.state for run in place.up.ledger().runs()}
    children = psutil.Process(place.up.process.pid).children()
    (server,) = [child for child in children if child.name() in ("valkey-server", "redis-server")]
    server.kill()
    again = "the Redis server ended; it runs again"
    place.up.until(lambda: again in place.up.err, "another Redis", stack_s())
    assert {run.id: run.state for run in place.up.ledger().runs()} == before
    done = place.call("fetch", "BNBUSDT", *RANGE, "--wait")
    assert done.code == 0, done.err


def test_a_second_stack_of_one_home_is_refused_and_harms_nothing(place):
    refused = place.call("up", "--flower-port", "0")
    assert refused.code == 3
    assert refused.err.strip().splitlines() == [
        f"ALPHAMILL_HOME: a stack already runs in {place.home}; "
        "stop it, use it, or choose another home"
    ]
    assert answers((place.home / "redis.url").read_text(encoding="ascii"))


def test_a_port_in_use_is_refused(place, tmp_path):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = place.call("up", "--flower-port", str(port), ALPHAMILL_HOME=str(tmp_path / "h"))
    assert refused.code == 3
    assert refused.err.strip() == f"--flower-port: port {port} is in use; choose another"


def test_a_symbol_that_the_exchange_does_not_have_is_named(place):
    refused = place.call("fetch", "BTCUSDX", *RANGE, "--wait")
    assert refused.code == 2
    assert "does not list BTCUSDX (did you mean BTCUSDT?) on spot" in refused.err
    failed = place.call("fetch", "BTCUSDX", *RANGE, "--unlisted", "--wait")
    assert failed.code == 1
    assert "BTCUSDX" in failed.err
    assert "BTCUSDT" in failed.err, "what it may have meant"
    assert "alphamill resume fetch-" in failed.err
    assert not list((place.home / "lake").rglob("symbol=BTCUSDX*"))


def test_a_run_can_be_watched_and_left(place, launch):
    """Ctrl-C ends the watching with a word on how to end the run."""
    place.exchange.process.send_signal(signal.SIGSTOP)
    try:
        # What is in the lake is done without the exchange, and told by who watches.
        words = ("fetch", "BTCUSDT", "SOLUSDT", *RANGE, "--wait")
        command = launch(place.folder / "watcher", *words, ALPHAMILL_HOME=str(place.home))
        command.until(lambda: "/8" in command.err, "a line of its progress", work_s())
        assert command.send(signal.SIGINT) == 130
        assert "alphamill cancel fetch-" in command.err
    finally:
        place.exchange.process.send_signal(signal.SIGCONT)


def mine(place, config: Path):
    """A mining run whose models the producer's `config` names; the workers' is the stack's."""
    return place.call(
        *("mine", *SYMBOLS, *RANGE, "--rounds", "1", "--wait"),
        ALPHAMILL_CONFIG=str(config),
        ALPHAMILL_LLM_URL=f"http://127.0.0.1:{place.llm_port}/v1",
    )


def test_a_key_that_is_refused_is_told_before_anything_is_submitted(place):
    refused = place.call(
        *("mine", *SYMBOLS, *RANGE),
        ALPHAMILL_CONFIG=str(place.folder / "alphamill.toml"),
        ALPHAMILL_LLM_URL=f"http://127.0.0.1:{place.llm_port}/v1",
        ALPHAMILL_LLM_API_KEY="another-wrong-key",
    )
    assert refused.code == 3
    assert "ALPHAMILL_LLM_API_KEY: 127.0.0.1 refuses the key" in refused.err
    assert not [run for run in place.up.ledger().runs() if run.id.startswith("mine-")]


def test_a_wrong_key_of_the_workers_ends_the_run_with_that_reason(place):
    failed = mine(place, place.folder / "alphamill.toml")
    assert failed.code == 1, failed.out + failed.err
    assert "ALPHAMILL_LLM_API_KEY" in failed.err
    assert KEY not in failed.err
    assert "a-wrong-key" not in failed.err


def test_a_range_without_bars_ends_both_kinds_of_run_in_order(place):
    """A row with its reason, no number, no model asked; submission refuses what it can know."""
    early = ("--interval", "1h", "--start", "2022-03-01", "--end", "2022-05-01")
    models = {
        "ALPHAMILL_CONFIG": str(place.folder / "alphamill.toml"),
        "ALPHAMILL_LLM_URL": f"http://127.0.0.1:{place.llm_port}/v1",
        "ALPHAMILL_LLM_API_KEY": KEY,
    }
    scoring = ("evaluate", "-returns", "rank(volume)", "--symbols", ",".join(SYMBOLS))
    for command, table, status in (
        (scoring, "trials", "fault"),
        (("mine", *SYMBOLS), "factors", ""),
    ):
        ended = place.call(*command, *early, "--wait", "--json", **models)
        assert ended.code == 1, ended.out + ended.err
        assert "the run is done, without what failed" in ended.err
        assert json.loads(ended.out)["state"] == "done"
        run_id = json.loads(ended.out)["run_id"]
        told = json.loads(place.call("factors", "--run", run_id, "--json").out)
        assert "the lake has no 1h bar of" in told["unmeasured"][0]
        assert {row["status"] for row in told[table]} == ({status} if status else set())
        assert all(row["rank_ic_t"] is row["net_sharpe"] is None for row in told[table])
        board = place.call("factors", "--run", run_id)
        assert board.code == 0
        assert "the lake has no 1h bar of" in " ".join(board.out.split())
        assert "$0.000000" in board.out or table == "trials"
    short = place.call("mine", *SYMBOLS, *early[:4], "--end", "2022-03-04", **models)
    assert short.code == 2
    assert "72 bars of 1h make segments of" in " ".join(short.err.split())


def test_only_workers_that_compute_load_a_compiler(place):
    """After each pool has worked: what is mapped into each worker and its children."""
    scored = place.call("evaluate", "-returns", "--symbols", ",".join(SYMBOLS), *RANGE, "--wait")
    assert scored.code == 0, scored.err
    # One that was killed is listed until its announcement expires.
    here = [worker for worker in place.presence().here() if psutil.pid_exists(worker.pid)]
    compilers = {worker.pool: maps_llvm(worker.pid) for worker in here}
    expected = {pool: pool in ("features", "evaluate") for pool in (*POOLS, STREAM)}
    assert compilers == expected


def test_a_model_that_the_endpoint_does_not_have_ends_the_run_with_that_reason(place, launch):
    place.llm.end()
    llm = launch(place.folder / "llm", "sim", "llm", "--port", str(place.llm_port))
    llm.until(lambda: listens(place.llm_port), "the model's endpoint", start_s())
    unknown = place.folder / "unknown.toml"
    unknown.write_text(CONFIG.format(model="no-such-model"))
    failed = mine(place, unknown)
    assert failed.code == 1, failed.out + failed.err
    assert "127.0.0.1 does not list detailed_analysis: no-such-model" in failed.err
    assert "publish failed: the run has no trial to show" in failed.err


def test_an_exchange_that_cannot_be_reached_fails_the_run_with_that_reason(place):
    place.exchange.end()
    failed = place.call("fetch", "XRPUSDT", *RANGE, "--wait")
    assert failed.code == 1
    assert "fetch failed:" in failed.err
    assert "XRPUSDT 1h" in failed.err


def test_sigterm_stops_all_of_it(place):
    """Last: the stack of this module ends here."""
    assert place.up.send(signal.SIGTERM) == 0
    assert place.up.out.strip().splitlines()[-1] == "stopped"
    place.up.expect_nothing_left()
    later = place.call("fetch", "BTCUSDT", *RANGE)
    assert later.code == 3
    assert "no Redis answers" in later.err
    assert "alphamill up" in later.err
    for log in (place.home / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log.name
