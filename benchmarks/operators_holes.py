"""What NaN holes in the panel cost: every window operator, and the commonest across symbols.

Run: python benchmarks/operators_holes.py (50 symbols x 50,000 bars, window 60). The panel with
holes has a fortieth of its values missing at random and two symbols listed half-way. Figures are
medians of five turns, the two panels taking turns (CPU milliseconds); limit: 1.3 times for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from alphamill.factors import OPERATORS, compute, parse
from alphamill.factors.operators import Family, Kind, Operator

N_BARS, N_SYMBOLS, TURNS, LIMIT = 50_000, 50, 5, 1.3
ACROSS = ("rank", "zscore", "demean", "scale", "cs_median")
SLOW = {"ts_rank_corr": 5_000}  # bars: its time grows with the window
Array = np.ndarray


def call_of(operator: Operator) -> str:
    fields = iter(("close", "open"))
    args = {Kind.SERIES: lambda: next(fields), Kind.BARS: lambda: "60", Kind.NUMBER: lambda: "0.5"}
    given = [args[param.kind]() for param in operator.params if param.default is None]
    if operator.name == "ts_autocorr":
        given[-1] = "1"
    return f"{operator.name}({', '.join(given)})"


def cpu_ms(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def main() -> None:
    rng = np.random.default_rng(3)
    shape = (N_BARS, N_SYMBOLS)
    whole = {f: 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, shape), 0)) for f in ("close", "open")}
    gone = rng.random(shape) < 1 / 40
    gone[: N_BARS // 2, :2] = True
    holes = {name: np.where(gone, np.nan, values) for name, values in whole.items()}
    costs = {}
    for name, operator in OPERATORS.items():
        if operator.family is not Family.WINDOW and name not in ACROSS:
            continue
        factor = parse(call_of(operator))
        rows = SLOW.get(name, N_BARS)
        panels = [{f: v[:rows] for f, v in panel.items()} for panel in (whole, holes)]
        compute(factor, panels[0])
        turns = [
            [cpu_ms(lambda f=factor, p=panel: compute(f, p)) for panel in panels]
            for _ in range(TURNS)
        ]
        without, with_holes = np.median(turns, axis=0)
        costs[name] = with_holes / without
        print(
            f"{name:18} whole {without:8.1f}  with holes {with_holes:8.1f}  {costs[name]:.2f}x",
            flush=True,
        )
    above = [f"{name} {cost:.2f}x" for name, cost in costs.items() if cost > LIMIT]
    print(
        f"mean {np.mean(list(costs.values())):.2f}x, most {max(costs.values()):.2f}x "
        f"(limit {LIMIT}x); above it: "
        f"{', '.join(above) or 'none'}"
    )


if __name__ == "__main__":
    main()
