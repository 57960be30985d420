"""Workers of the pool stream follow a simulated market: one at a time, through a kill -9."""

from __future__ import annotations

import os
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
from alphamill.market import Binance
from alphamill.redis_address import open_client
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.market import SyntheticSource
from alphamill.stages.fetch import FetchDeps, run
from tests.deadlines import stack_s, wait_for
from tests.integration.conftest import AMPLE, REPOSITORY, Process, market_of

SPEED = 600.0  # an hour in six seconds
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
def start(tmp_path, redis_url, exchange):
    """`start(name)`: a worker of the pool."""
    config = tmp_path / "live.toml"
    config.write_text(f"[binance]\nclock_speed = {SPEED}\nrequests_per_minute = 60000\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHAMILL", "CELERY"))}
    env = {
        **clean,
        "PYTHONPATH": str(REPOSITORY),
        "ALPHAMILL_HOME": str(tmp_path),
        "ALPHAMILL_CONFIG": str(config),
        "ALPHAMILL_REDIS_URL": redis_url,
        "ALPHAMILL_BINANCE_URL": exchange.url,
        "ALPHAMILL_BINANCE_UM_URL": f"{exchange.url}/um",
        "ALPHAMILL_BINANCE_CM_URL": f"{exchange.url}/cm",
        "ALPHAMILL_ARCHIVE_URL": "",
    }
    started = []

    def begin(name):
        log = tmp_path / f"{name}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", "workers.stream"],
                stdin=subprocess.DEVNULL,
                stdout=file,
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


def test_a_killed_follower_is_followed_by_another_and_every_bar_is_published_once(
    start, tmp_path, redis_url, exchange
):
    lake = Lake(str(tmp_path / "lake"))
    symbols = tuple(coin.symbol for coin in market_of(5, 6, Interval.H1).coins)
    spec = LiveSpec(
        Market.SPOT,
        Interval.H1,
        symbols,
        followed_by_hand(TEXTS, 1),
        release_ms=900_000,
        correct_within_ms=12 * 3_600_000,
    )
    entry = Register(lake).start(spec, 0)
    journal = Journal(lake, entry.id, 0)
    client = open_client(redis_url)
    first, second = start("first"), start("second")

    def bars():
        return {link.row.bar_time for link in journal.read()}

    def seen():
        return len(bars()), first.last_words()[-800:], second.last_words()[-800:]

    def leader():
        who = client.hget("alphamill:follower:spot:default", "who")
        return None if who is None else int(who.decode().rpartition(":")[2])

    wait_for(lambda: len(bars()) >= 2, "two bars", seen, within_s=stack_s())
    killed = next(one for one in (first, second) if one.popen.pid == leader())
    killed.kill()
    before, killed_s = len(bars()), time.monotonic()
    wait_for(lambda: leader() not in (None, killed.popen.pid), "a new leader", seen)
    assert time.monotonic() - killed_s < 10 + stack_s() / 10
    wait_for(lambda: len(bars()) >= before + 3, "bars after the kill", seen, within_s=stack_s())
    Register(lake).stop(entry.id, 1)
    other = second if killed is first else first
    other.popen.terminate()
    assert other.popen.wait(stack_s()) == 0, other.last_words()

    rows = [link.row for link in journal.read()]
    assert follow_chain(journal.read())[2] is None
    assert {row.state for row in rows} == {State.SIGNAL}
    assert max(Counter((row.factor, row.bar_time, row.revision) for row in rows).values()) == 1
    assert bars() == set(range(min(bars()), max(bars()) + 1, Interval.H1.ms))
    stream = SignalStream(client, entry.id)
    stream.catch_up(journal)  # of what the follower had not told before it ended
    assert [int(name.partition(b"-")[0]) for name, _ in client.xrange(stream.key)] == list(
        range(1, len(rows) + 1)
    )

    real = Binance(Market.SPOT, exchange.url, Gate(), SystemClock())
    deps = FetchDeps(real, lake)
    now_ms = real.server_time_ms()
    assert fetch_bars(entry, lambda job: run(job, deps), lake, now_ms) == ""
    parity, checked = check(lake, entry, now_ms)
    assert checked.rows == len(rows)
    assert parity.counts[Why.UNEXPLAINED] == 0
    newest = {(row.factor, row.bar_time): row.seq for row in rows}
    assert all(parity.by_row[seq][Why.EQUAL] == len(symbols) for seq in newest.values())
