"""Panels for the factor tests: small, awkward, and real where the shared bars are present."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"


def walk(rng, n_bars, start=30_000.0, tick=0.01, vol=0.002):
    return np.round(start * np.exp(np.cumsum(rng.normal(0, vol, n_bars))) / tick) * tick


def awkward_columns(n_bars=200, seed=7):
    """Name -> series; each is hard for some way of computing a window."""
    rng = np.random.default_rng(seed)
    btc = walk(rng, n_bars)
    spike = rng.lognormal(3, 1, n_bars)
    spike[n_bars // 3] = 1e12
    flat = walk(rng, n_bars)
    flat[40:120] = flat[40]
    flat[130:] = 0.1
    holes = walk(rng, n_bars, 250.0)
    holes[[3, 50, 51, 52, 53, 120, 190]] = np.nan
    late = walk(rng, n_bars, 1e9)
    late[:90] = np.nan
    first = walk(rng, n_bars)
    first[::20] = 1e9  # the first value of many blocks is an outlier
    columns = {
        "btc": btc,
        "micro": walk(rng, n_bars, 0.000012, 1e-8, 0.01),
        "offset": btc + 1e9,
        "spike": spike,
        "flat": flat,
        "ties": rng.integers(1, 4, n_bars).astype(float),
        "holes": holes,
        "late": late,
        "first": first,
        "returns": rng.normal(0, 0.01, n_bars),
        "zeros": np.zeros(n_bars),
    }
    real = SHARED / "data/klines/spot/BTCUSDT-1h.parquet"
    if real.exists():
        import pyarrow.parquet as pq

        columns["real"] = pq.read_table(real, columns=["close"])["close"].to_numpy()[:n_bars].copy()
    return columns


@pytest.fixture(scope="session")
def awkward():
    columns = awkward_columns()
    return np.ascontiguousarray(np.column_stack(list(columns.values())))


def market(n_bars=300, n_symbols=12, seed=3, holes=True):
    """A panel of all columns, with NaN bars and equal prices here and there."""
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), 0) + rng.normal(0, 0.02, n_symbols))
    close = np.round(close, 2)
    open_ = np.round(close * np.exp(rng.normal(0, 0.004, shape)), 2)
    high = np.maximum(open_, close) + np.round(rng.exponential(0.1, shape), 2)
    low = np.minimum(open_, close) - np.round(rng.exponential(0.1, shape), 2)
    volume = np.round(rng.lognormal(6, 1, shape), 3)
    quote = volume * (high + low + close) / 3
    panel = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "quote_volume": quote,
        "trades": np.ceil(volume),
        "taker_buy_base": volume * 0.4,
        "taker_buy_quote": quote * 0.4,
        "cap": quote * 1e4,
    }
    if holes:
        gone = rng.random(shape) < 0.003
        gone[: n_bars // 3, -1] = True
        for values in panel.values():
            values[gone] = np.nan
    return panel


GROUPS = {
    name: ["a", "b", "c", "a", "b", "c", "a", "b", "c", "a", None, "b"]
    for name in ("sector", "industry", "subindustry")
}


def call_text(operator, window=7):
    """A call of the operator with plain arguments."""
    series = iter(("close", "volume", "open"))
    args = []
    for param in operator.params:
        if param.kind == "series":
            args.append("(close > open)" if param.name == "cond" else next(series))
        elif param.kind == "bars":
            args.append(str(3 if param.name == "lag" else max(window, int(param.low))))
        elif param.kind == "group":
            args.append("sector")
        else:
            args.append({"low": "-2", "high": "2"}.get(param.name, "0.3"))
    if operator.symbol and len(args) == 2:
        return f"{args[0]} {operator.symbol} {args[1]}"
    if operator.symbol:
        return f"{operator.symbol} {args[0]}"
    return f"{operator.name}({', '.join(args)})"


@pytest.fixture(scope="session")
def panel():
    return market()


@pytest.fixture(scope="session")
def make_market():
    return market


@pytest.fixture(scope="session")
def groups():
    return GROUPS


@pytest.fixture(scope="session")
def call_of():
    return call_text


@pytest.fixture(scope="session")
def formulas():
    """The 101 formulas, by number."""
    path = SHARED / "data/alpha101/formulas.tsv"
    if not path.exists():
        pytest.skip("the formulas are not here")
    lines = path.read_text().splitlines()[1:]
    return {int(number): text for number, text in (line.split("\t") for line in lines)}
