"""How much of an exchange's limit a fetch run uses through real Celery workers, and at what waste.

A simulated exchange that counts for itself (600 weight in 6 s unless told otherwise), a Redis
server, a control worker with beat, and 1, 2 and 4 fetch workers of 8 threads; then 2 beside a
stranger on the same address who takes a fifth of the limit unasked; then 2 with a run on USD-M and
one on COIN-M at once, which the exchange counts together. Runs that the limit makes too long for
the measurement are submitted as a producer does. Reported: the weight used of each full
window (the stranger's included), refused requests, and how many of the bars served were written to
the lake (a job that goes back to the queue half way asks for its pages again). Target: 97 % of the
weight, none refused.

Run: python benchmarks/exchange_limit.py [--windows N] [--window-s 60] [--workers 3] [--stranger 1]
[--futures 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
import requests

from alphamill.frames import Interval, Market, months_between
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, Series, read_partition
from alphamill.ledger import RedisLedger
from alphamill.ledger.presence import Presence
from alphamill.settings import load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.stack.processes import Service, Supervisor

TARGET_FRAC = 0.97
STRANGER_FRAC = 0.2
WEIGHT_A_SECOND = 100  # the exchange's own 6,000 a minute
THREADS = 8
MONTHS = 13
# Of five-minute bars: of 1,000 on spot, of 500 on futures, each of weight 2.
PAGES_A_MONTH = {Market.SPOT: 9, Market.USD_M: 18, Market.COIN_M: 18}
FUTURES = (Market.USD_M, Market.COIN_M)
START_MS = 1_672_531_200_000  # 2023-01-01
END_MS = 1_706_745_600_000  # 2024-02-01
CELERY = (sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-l", "WARNING")
CONFIG = """\
[binance]
window_s = {window_s}
requests_per_minute = 1_000_000
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """used_frac: of the weight, mean over full windows. kept_frac: bars in the lake of served."""

    workers: int
    stranger: bool
    markets: tuple[Market, ...]
    used_frac: float
    least_frac: float
    windows: list[int]
    refused: int
    kept_frac: float


def market_for(seconds: float, markets: tuple[Market, ...]) -> SyntheticMarket:
    """Five-minute bars enough to keep the exchange's limit busy for so long."""
    pages = seconds * WEIGHT_A_SECOND / 2
    pages_a_month = sum(PAGES_A_MONTH[market] for market in markets)
    symbols = 2 + round(1.2 * pages / (MONTHS * pages_a_month))
    return SyntheticMarket(
        coins=coins_named([f"SIM{n:02d}USDT" for n in range(symbols)]),
        interval=Interval.M5,
        start_ms=START_MS,
        end_ms=END_MS,
        planted=(),
    )


@contextmanager
def stack(
    home: Path,
    exchange_url: str,
    window_s: float,
    workers: int,
    more: Mapping[str, str] | None = None,
) -> Iterator[RedisLedger]:
    """Redis, control with beat, and so many fetch workers, all up; stopped in good order.

    more: further settings of the environment.
    """
    embedded, supervisor = EmbeddedRedis(home), Supervisor(home / "logs")
    config = home / "bench.toml"
    config.write_text(CONFIG.format(window_s=window_s), encoding="utf-8")
    try:
        env = {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_CONFIG": str(config),
            "ALPHAMILL_REDIS_URL": embedded.start(),
            "ALPHAMILL_BINANCE_URL": exchange_url,
            **(more or {}),
        }
        os.environ.update(env)  # for this process's own submission
        client = redis.Redis.from_url(embedded.url)
        supervisor.start(list(services(home, env, workers, Presence(client))))
        yield RedisLedger(client, load_settings().ledger)
    finally:
        supervisor.stop(grace_s=60)
        embedded.stop()


def services(
    home: Path, env: Mapping[str, str], workers: int, presence: Presence
) -> Iterator[Service]:
    """The worker processes, ready when they say so in Redis."""

    def here(name: str) -> bool:
        return any(worker.name.startswith(f"{name}@") for worker in presence.here())

    beat = ("-B", "-s", str(home / "schedule"))
    control = (*CELERY, "-Q", "control", "-P", "threads", "-c", "2", "-n", "control@%h", *beat)
    yield Service("control", control, env, lambda: here("control"))
    for number in range(workers):
        name = f"fetch-{number}"
        fetch = (*CELERY, "-Q", "fetch", "-P", "threads", "-c", str(THREADS), "-n", f"{name}@%h")
        yield Service(name, fetch, env, lambda name=name: here(name))


@contextmanager
def a_stranger(url: str, symbol: str) -> Iterator[Callable[[], int]]:
    """Somebody else on this address, at a steady pace; how many bars were served to them."""
    served, stop = [0], threading.Event()
    query = {"symbol": symbol, "interval": Interval.M5.value, "limit": "1"}  # weight 2

    def ask() -> None:
        with requests.Session() as session:
            while not stop.wait(2 / (STRANGER_FRAC * WEIGHT_A_SECOND)):
                served[0] += session.get(f"{url}/api/v3/klines", params=query, timeout=10).ok

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield lambda: served[0]
    finally:
        stop.set()
        thread.join()


def measure(
    workers: int,
    windows: int,
    window_s: float,
    *,
    stranger: bool = False,
    markets: tuple[Market, ...] = (Market.SPOT,),
) -> Measured:
    """Measure `windows` full windows, the first that begins after every thread has.

    markets: spot, or both of the futures; a run on each.
    """
    source = SyntheticSource(market_for((windows + 2) * window_s, markets))
    weight, window_ms = round(WEIGHT_A_SECOND * window_s), round(window_s * 1000)
    limits = Limits(weight=weight, requests=None, window_ms=window_ms)
    config = ExchangeConfig(spot_limits=limits, futures_limits=limits, latency_ms=(5, 20))
    with (
        tempfile.TemporaryDirectory() as folder,
        ExchangeServer(config, source) as exchange,
        ExitStack() as beside,
    ):
        strange = beside.enter_context(a_stranger(exchange.url, "SIM00USDT")) if stranger else int
        urls = {f"ALPHAMILL_BINANCE_{one}_URL": exchange.url for one in ("UM", "CM")}
        with stack(Path(folder), exchange.url, window_s, workers, urls) as ledger:
            specs = [run_spec(source, market) for market in markets]
            submit(specs, ledger)
            while exchange.stats()["totals"]["requests"] < 2 * THREADS * workers:
                time.sleep(0.05)
            first_s = (time.time() // window_s + 1) * window_s
            ends_s = first_s + windows * window_s
            time.sleep(ends_s - time.time())
            for spec in specs:
                ledger.cancel(spec.run_id)
        beside.close()
        stats = exchange.stats()
        kept = sum(rows_in(Lake(spec.lake), spec) for spec in specs)
    full = [w["weight"] for w in stats["windows"] if first_s * 1e3 <= w["start_ms"] < ends_s * 1e3]
    full += [0] * (windows - len(full))
    return Measured(
        workers=workers,
        stranger=stranger,
        markets=markets,
        used_frac=sum(full) / len(full) / limits.weight,
        least_frac=min(full) / limits.weight,
        windows=full,
        refused=stats["totals"]["refused"],
        kept_frac=kept / (stats["totals"]["kline_rows"] - strange()),
    )


def run_spec(source: SyntheticSource, market: Market) -> RunSpec:
    """Every symbol-month of the market."""
    return RunSpec(
        kind=RunKind.FETCH,
        lake=load_settings().lake_uri,
        market=market,
        symbols=tuple(source.symbols(market)),
        intervals=(source.market.interval,),
        start_ms=source.market.start_ms,
        end_ms=source.market.end_ms,
    )


def submit(specs: Sequence[RunSpec], ledger: RedisLedger) -> None:
    """As a producer does, to the broker of this measurement."""
    from workers import flows
    from workers.app import app

    os.environ["CELERY_BROKER_URL"] = os.environ["ALPHAMILL_REDIS_URL"]
    app.close()
    app.__dict__.pop("amqp", None)  # its pool of producers belongs to the broker before
    for spec in specs:
        flows.submit(spec, ledger)
    del os.environ["CELERY_BROKER_URL"]  # the next measurement's workers would inherit it


def rows_in(lake: Lake, spec: RunSpec) -> int:
    """Bars in the lake."""
    partitions = (
        read_partition(lake, Series(spec.market, symbol, spec.intervals[0]), month)
        for symbol in spec.symbols
        for month in months_between(spec.start_ms, spec.end_ms)
    )
    return sum(partition.rows for partition in partitions if partition is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3, help="full windows to measure")
    parser.add_argument("--window-s", type=float, default=6.0, help="the exchange's own is 60")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--stranger", type=int, nargs="*", default=[2], help="workers beside one")
    parser.add_argument(
        "--futures", type=int, nargs="*", default=[2], help="workers of a run on each of um and cm"
    )
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    arms: list[tuple[int, dict[str, Any]]] = [(workers, {}) for workers in told.workers]
    arms += [(workers, {"stranger": True}) for workers in told.stranger]
    arms += [(workers, {"markets": FUTURES}) for workers in told.futures]
    for workers, arm in arms:
        row = measure(workers, told.windows, told.window_s, **arm)
        print(json.dumps(asdict(row)) if told.json else line(row), flush=True)


def line(row: Measured) -> str:
    met = row.used_frac >= TARGET_FRAC and not row.refused
    return (
        f"{row.workers} workers x {THREADS} threads{' and a stranger' if row.stranger else ''} on "
        f"{' and '.join(row.markets)}: "
        f"{row.used_frac:.1%} of the limit (windows {row.windows}), {row.refused} refused, target "
        f"{TARGET_FRAC:.0%} and none: {'met' if met else 'MISSED'}; {row.kept_frac:.1%} of the "
        "bars served are in the lake"
    )


if __name__ == "__main__":
    main()
