"""One page of 1,000 klines, JSON to checked columns: alphamill against what people write.

Peers: `json` with `pandas.to_numeric` (the usual notebook), and `json` with `float()` a value, the
fastest that needs no further package. Every engine ends with the same eleven columns, compared bit
for bit first; ours also checks order, grid and finiteness. Engines take turns of twenty pages; the
best page counts. Target: 4x both. `json` alone, which gives no numbers, is printed
beside them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from alphamill.frames import KLINES, Interval, Market
from alphamill.market import parse_klines
from alphamill.sim.bars import Bars
from alphamill.sim.replay import ReplaySource
from alphamill.sim.rows import row_texts
from alphamill.sim.synthetic import SyntheticMarket, SyntheticSource, coins_named

TARGET = 4.0
ROUNDS, PAGES = 20, 20
ROWS = 1000
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "klines"
WHOLE = ("open_time", "close_time", "trades")


def bars() -> tuple[Bars, str]:
    if (REAL / "spot" / "BTCUSDT-1m.parquet").exists():
        found, kind = ReplaySource(REAL).bars(Market.SPOT, "BTCUSDT", Interval.M1), "real"
    else:
        market = SyntheticMarket(
            coins=coins_named(["BTCUSDT"]), interval=Interval.M1, planted=(),
            start_ms=1_704_067_200_000, end_ms=1_704_240_000_000,
        )  # fmt: skip
        source = SyntheticSource(market)
        found, kind = source.bars(Market.SPOT, "BTCUSDT", Interval.M1), "synthetic"
    assert found is not None
    return found.rows(0, ROWS), kind


def with_pandas(body: bytes) -> dict[str, np.ndarray]:
    frame = pd.DataFrame(json.loads(body), columns=[*KLINES.names, "ignore"])
    return {name: pd.to_numeric(frame[name]).to_numpy() for name in KLINES.names}


def with_float(body: bytes) -> dict[str, np.ndarray]:
    columns = zip(*json.loads(body), strict=True)
    return {
        name: np.array(values if name in WHOLE else [float(value) for value in values])
        for name, values in zip(KLINES.names, columns, strict=False)
    }


def with_alphamill(body: bytes) -> pa.Table:
    return parse_klines(body, "BTCUSDT", Interval.M1)


def check(body: bytes) -> None:
    ours = with_alphamill(body)
    for peer in (with_pandas, with_float):
        theirs = peer(body)
        for field in KLINES:
            kind = pa.int64() if field.name in WHOLE else pa.float64()
            values = ours[field.name].cast(kind).to_numpy()
            assert np.array_equal(values, theirs[field.name]), (peer.__name__, field.name)
            assert values.dtype == theirs[field.name].dtype


def main() -> None:
    page, kind = bars()
    body = f"[{','.join(row_texts(page, Interval.M1))}]".encode()
    check(body)
    engines: dict[str, Callable[[bytes], object]] = {
        "alphamill": with_alphamill,
        "json + float()": with_float,
        "json + pandas.to_numeric": with_pandas,
        "json alone": json.loads,
    }
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            for _ in range(PAGES):
                start_s = time.perf_counter()
                engine(body)
                best[name] = min(best[name], time.perf_counter() - start_s)
    print(f"a page of {ROWS} {kind} BTCUSDT 1m bars, {len(body) / 1e3:.0f} kB; outputs are equal")
    for name, seconds in best.items():
        print(f"  {name:26}{1000 * seconds:6.2f} ms  {verdict(name, seconds / best['alphamill'])}")


def verdict(name: str, ratio: float) -> str:
    if " + " not in name:
        return ""
    return f"{ratio:5.1f}x, target {TARGET:.0f}x: {'met' if ratio >= TARGET else 'MISSED'}"


if __name__ == "__main__":
    main()
