"""Workers of the pool stream follow a simulated market through kill -9 of theirs and of Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from alphamill.clock import SystemClock
from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.live import Journal, LiveSpec, Register, State, follow_chain
from alphamill.live.choose import followed_by_hand
from alphamill.live.follow_up import check, fetch_bars
from alphamill.live.parity import Why
from alphamill.live.stream import SignalStream
from alphamill.live.waited import read_waited
from alphamill.market import Binance
from alphamill.redis_address import open_client
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.market import SyntheticSource
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.stages.fetch import FetchDeps, run
from tests.deadlines import end_s, stack_s, wait_for
from tests.integration.conftest import AMPLE, REPOSITORY, Process, market_of

SPEED = 2400.0  # an hour in a second and a half
TEXTS = ("-ts_zscore(close, 24)", "rank(volume / ts_mean(volume, 20))", "rank(rsi_14)")


class Gate:
    """Lets everything pass."""

    def reserve(self, weight):
        return None

    def observe(self, slot, used_weight, server_time_ms):
        pass

    def pause(self, for_s, reason):
        pass

    def configure(self, weight_limit):
        pass


@pytest.fixture
def exchange():
    market = market_of(5, 6, Interval.H1)
    middle_ms = (market.start_ms + market.end_ms) // 2
    config = ExchangeConfig(
        spot_limits=AMPLE,
        futures_limits=AMPLE,
        clock_offset_ms=middle_ms - SystemClock().now_ms(),
        speed=SPEED,
    )
    with ExchangeServer(config, SyntheticSource(market)) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path):
    """As `alphamill up` starts it: append-only, synced once a second."""
    server = EmbeddedRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path, own_redis, exchange):
    """`start(name, module, ...)`: a program of this stack; what it prints is in `name`.out."""
    config = tmp_path / "live.toml"
    config.write_text(f"[binance]\nclock_speed = {SPEED}\nrequests_per_minute = 60000\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHAMILL", "CELERY"))}
    env = {
        **clean,
        "PYTHONPATH": str(REPOSITORY),
        "ALPHAMILL_HOME": str(tmp_path),
        "ALPHAMILL_CONFIG": str(config),
        "ALPHAMILL_REDIS_URL": own_redis.url,
        "ALPHAMILL_BINANCE_URL": exchange.url,
        "ALPHAMILL_BINANCE_UM_URL": f"{exchange.url}/um",
        "ALPHAMILL_BINANCE_CM_URL": f"{exchange.url}/cm",
        "ALPHAMILL_ARCHIVE_URL": "",
    }
    started = []

    def begin(name, *arguments):
        log = tmp_path / f"{name}.log"
        with log.open("wb") as file, (tmp_path / f"{name}.out").open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=file,
                cwd=tmp_path,
                env=env,
                start_new_session=True,
            )
        started.append(Process(name, popen, log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def test_every_bar_is_published_once_through_kills_of_followers_and_redis(
    start, tmp_path, own_redis, exchange
):
    lake = Lake(str(tmp_path / "lake"))
    symbols = tuple(coin.symbol for coin in market_of(5, 6, Interval.H1).coins)
    spec = LiveSpec(
        Market.SPOT,
        Interval.H1,
        symbols,
        followed_by_hand(TEXTS, 1),
        release_ms=9_600_000,  # after REST was asked for what streams have not brought
        correct_within_ms=96 * 3_600_000,
    )
    entry = Register(lake).start(spec, 0)
    journal = Journal(lake, entry.id, 0)
    first, second = (start(name, "workers.stream") for name in ("first", "second"))
    reader = start("reader", "producers.cli", "live", "signals", entry.id, "--follow")
    client = open_client(own_redis.url)
    stream = SignalStream(client, entry.id)

    def bars():
        return {link.row.bar_time for link in journal.read()}

    def seen():
        return len(bars()), first.last_words()[-800:], second.last_words()[-800:]

    def more_bars():
        before = len(bars())
        what = "bars in the lake"
        wait_for(lambda: len(bars()) >= before + 2, what, seen, within_s=stack_s())

    def whole():
        return stream.rows() == journal.reload().rows

    def leader():
        who = client.hget("alphamill:follower:spot:default", "who")
        pid = None if who is None else int(who.decode().rpartition(":")[2])
        return next((one for one in (first, second) if one.popen.pid == pid), None)

    def kill_redis():
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
        wait_for(lambda: not own_redis.alive(), "its end", seen, within_s=end_s())

    more_bars()
    kill_redis()
    more_bars()  # which the lake has and Redis does not
    assert own_redis.revive()
    wait_for(whole, "the stream to have what Redis missed", seen, within_s=stack_s())

    killed = wait_for(leader, "a leader", seen, within_s=stack_s())
    killed.kill()
    killed_s = time.monotonic()
    wait_for(lambda: leader() not in (None, killed), "a new leader", seen, within_s=stack_s())
    assert time.monotonic() - killed_s < 10 + stack_s() / 10
    more_bars()

    kill_redis()
    shutil.rmtree(tmp_path / "redis" / "appendonlydir")
    assert own_redis.revive()
    wait_for(whole, "the stream to be filled anew", seen, within_s=stack_s())
    more_bars()
    Register(lake).stop(entry.id, 1)
    wait_for(lambda: leader() and whole(), "the last rows in Redis", seen, within_s=stack_s())
    other = second if killed is first else first
    other.popen.terminate()
    assert other.popen.wait(stack_s()) == 0, other.last_words()

    rows = [link.row for link in journal.read()]
    assert follow_chain(journal.read())[2] is None
    assert {row.state for row in rows} == {State.SIGNAL}
    assert max(Counter((row.factor, row.bar_time, row.revision) for row in rows).values()) == 1
    assert bars() == set(range(min(bars()), max(bars()) + 1, Interval.H1.ms))
    payloads = [row.payload for row in rows]
    assert [fields[b"payload"].decode() for _, fields in client.xrange(stream.key)] == payloads

    def lines():
        return (tmp_path / "reader.out").read_text().splitlines()

    wait_for(lambda: len(lines()) >= len(rows), "every line", reader.last_words, within_s=stack_s())
    assert lines() == payloads
    assert "rows come from the lake until it answers" in reader.log.read_text()

    real = Binance(Market.SPOT, exchange.url, Gate(), SystemClock())
    deps = FetchDeps(real, lake)
    now_ms = real.server_time_ms()
    assert fetch_bars(entry, lambda job: run(job, deps), lake, now_ms) == ""
    parity, checked = check(lake, entry, now_ms)
    assert checked.rows == len(rows)
    assert parity.counts[Why.UNEXPLAINED] == 0
    # What a killed follower had heard in its last minute is on no record, and not measured.
    waited = {(one.bar_ms, one.factor) for one in read_waited(lake, entry.id)}
    assert waited <= {(row.bar_time, row.factor) for row in rows}
    assert {bar_ms for bar_ms, _ in waited} >= set(sorted(bars())[-2:])
    newest = {(row.factor, row.bar_time): row.seq for row in rows}
    assert all(parity.by_row[seq][Why.EQUAL] == len(symbols) for seq in newest.values())
