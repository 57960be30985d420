"""How long a real evaluate worker takes from its start to its first factor, on a warm kernel cache.

Run: python benchmarks/evaluate_startup.py. A score job of one expression on 20 symbols x 2,000 bars
waits in a Redis of its own before `alphamill worker evaluate -c 1` starts; the clock runs from the
start of that process until the expression's row lies in the lake. Best and median of five workers,
with the CPU seconds of each worker and its child. Below it, fresh processes that take parts of the
way: the tasks with the stages, and a factor in the same process without Celery or Redis.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alphamill.frames import Interval, Market
from alphamill.jobs import PanelJob, RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.ledger import RedisLedger
from alphamill.runs.schemas import interval_key
from alphamill.settings import load_settings
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.stages import panel
from alphamill.testing import put_klines, random_klines
from alphamill.testing.frames import START_MS

if TYPE_CHECKING:
    from redis import Redis

LIMIT_S, WORKERS, PATIENCE_S = 3.0, 5, 100.0
EXPRESSION = "rank(ts_mean(close, 20) / close)"
N_BARS, SYMBOLS = 2_000, tuple(f"A{letter}USDT" for letter in "ABCDEFGHIJKLMNOPQRST")
HOUR_MS = 3_600_000
TASKS = "from workers.app import app; app.loader.import_default_modules()"
PARTS = {
    "python alone": "pass",
    "the tasks and stages": TASKS,
    "and a factor, no queue": f"{TASKS}; import numpy as np;"
    "from alphamill.factors import compute, parse;"
    f"compute(parse({EXPRESSION!r}), {{'close': 1 + np.random.default_rng(1).random((2000, 20))}})",
}


def fill(lake: Lake) -> None:
    for seed, symbol in enumerate(SYMBOLS):
        put_klines(lake, symbol, random_klines(N_BARS, seed=seed))


def queue_job(spec: RunSpec, lake: Lake, client: Redis[bytes]) -> None:
    """A run whose panel is made and whose one open job has its message."""
    from alphamill.flow import plan  # the app reads the broker's address when it is imported
    from workers.send import publish

    panel.run(PanelJob(Interval.H1), panel.PanelDeps(lake, spec, indicators=False))
    ledger = RedisLedger(client, load_settings().ledger)
    ledger.open_run(spec.run_id, spec.kind.value, spec.to_message())
    [job] = [job for job in plan(spec) if job.stage == "score"]
    ledger.add_jobs(spec.run_id, [replace(job, needs=(), after=())])
    ledger.seal(spec.run_id)
    if publish(ledger.feed(spec.run_id)) != 1:
        raise SystemExit("the job was not published")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_factor_s(spec: RunSpec, lake: Lake, log: Path) -> tuple[float, float]:
    """Wall seconds until the row has landed, CPU seconds until the worker has gone."""
    key = interval_key(spec.run_id, "trials", Interval.H1, "given")
    command = [Path(sys.executable).with_name("alphamill"), "worker", "evaluate", "-c", "1"]
    before, start = cpu_s(), time.perf_counter()
    with log.open("wb") as out:
        worker = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        while not lake.exists(key):
            if worker.poll() is not None or time.perf_counter() - start > PATIENCE_S:
                raise SystemExit(f"no factor came:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        took_s = time.perf_counter() - start
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=30)
    [row] = lake.read(key, ["status", "proposed"]).to_pylist()
    if row != {"status": "evaluated", "proposed": EXPRESSION}:
        raise SystemExit(f"not a factor: {row}")
    return took_s, cpu_s() - before


def measure_workers(home: Path) -> None:
    import redis

    redis_server = EmbeddedRedis(home)
    url = redis_server.start()
    os.environ |= {"ALPHAMILL_REDIS_URL": url, "ALPHAMILL_HOME": str(home)}
    os.environ.pop("ALPHAMILL_BROKER_URL", None)
    try:
        lake = Lake(str(home / "lake"))
        fill(lake)
        end_ms = START_MS + N_BARS * HOUR_MS
        spec = RunSpec(
            RunKind.EVALUATE,
            str(home / "lake"),
            Market.SPOT,
            SYMBOLS,
            (Interval.H1,),
            START_MS,
            end_ms,
            expressions=(EXPRESSION,),
        )
        took = []
        for number in range(WORKERS + 1):  # the first one fills the kernel cache
            mine = replace(spec, salt=str(number))
            queue_job(mine, lake, redis.Redis.from_url(url))
            took.append(first_factor_s(mine, lake, home / f"worker-{number}.log"))
    finally:
        redis_server.stop()
    walls = [wall for wall, _ in took[1:]]
    print(
        f"a real worker: first factor in the lake after {min(walls):.2f} s at best, "
        f"{statistics.median(walls):.2f} s in the median, {max(walls):.2f} s at worst "
        f"(limit {LIMIT_S:g} s); CPU {statistics.median(cpu for _, cpu in took[1:]):.2f} s"
    )


def measure_parts() -> None:
    for name, code in PARTS.items():
        took = []
        for _ in range(3):
            before, start = cpu_s(), time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            took.append((time.perf_counter() - start, cpu_s() - before))
        wall, cpu = min(took)
        print(f"  {name:24} wall {wall:5.2f} s  CPU {cpu:5.2f} s")


def main() -> None:
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as home:
        measure_workers(Path(home))
    measure_parts()


if __name__ == "__main__":
    main()
