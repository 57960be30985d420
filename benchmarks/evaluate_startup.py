"""How long an evaluate worker takes from its start to its first factor, on a warm kernel cache.

Run: python benchmarks/evaluate_startup.py. Each figure is the best of three fresh processes: the
doorways alone, with their library; with a first simple factor; with eight kernels; and, once, with
an empty cache, where everything is compiled. On a busy machine read the CPU column.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 3.0
PANEL = (
    "import numpy as np; from alphamill.factors import compute, parse;"
    "p = {f: 1 + np.random.default_rng(1).random((2000, 20)) for f in"
    " ('open', 'close', 'volume', 'quote_volume')};"
)
FIRST = PANEL + "compute(parse('rank(ts_mean(close, 20) / close)'), p)"
EIGHT = PANEL + (
    "[compute(parse(t), p) for t in ('rank(ts_mean(close, 20) / close)', 'ts_std(returns, 9)',"
    " 'ts_corr(close, volume, 9)', 'ts_rank(close, 9)', 'decay_linear(close, 9)',"
    " 'ts_max(close, 9)', 'ema(close, 9)', 'ts_median(close, 9)')]"
)
STEPS = {
    "python alone": "pass",
    "the evaluate doorways": "import workers.evaluate",
    "and a first factor": f"import workers.evaluate; {FIRST}",
    "and eight kernels": f"import workers.evaluate; {EIGHT}",
}


def run_s(code: str, **environment: str) -> tuple[float, float]:
    """Wall and CPU seconds of a fresh process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    run_s(STEPS["and eight kernels"])  # fills the cache
    seconds = {name: min(run_s(code) for _ in range(3)) for name, code in STEPS.items()}
    with tempfile.TemporaryDirectory() as empty:
        seconds["first factor, no cache"] = run_s(
            STEPS["and a first factor"], NUMBA_CACHE_DIR=empty
        )
    for name, (wall, cpu) in seconds.items():
        print(f"{name:24} wall {wall:5.2f} s  CPU {cpu:5.2f} s")
    wall, cpu = seconds["and a first factor"]
    print(
        f"limit {LIMIT_S:g} s: the first factor takes {wall:.2f} s, {cpu:.2f} s of them computing"
    )


if __name__ == "__main__":
    main()
