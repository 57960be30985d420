"""RankIC, quantile returns and turnover of one factor, three horizons, beside qweave and alphalens.

Run: python benchmarks/factor_analytics.py [bars] (default 5000; 50 symbols). Outputs are compared
first: RankIC, quantile returns and quantile turnover bar by bar. Wall time; the best of five
(of one for alphalens, which is given fewer bars and scaled up). qweave has all its threads, ours is
one. Peers that are not installed are left out.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from alphamill.evaluation import forward_returns, quantile_returns_by_bar, quantile_turnover
from alphamill.evaluation.correlation import rank_ic
from alphamill.evaluation.ranks import Ranked

Array = np.ndarray
HORIZONS = (1, 4, 24)
N_SYMBOLS, QUANTILES = 50, 5
ALPHALENS_BARS = 500


def market(n_bars: int) -> tuple[Array, dict[str, Array]]:
    rng = np.random.default_rng(3)
    shape = (n_bars, N_SYMBOLS)
    open_ = 100 * np.exp(rng.normal(0, 0.01, shape).cumsum(axis=0))
    return rng.normal(size=shape), {"open": open_, "close": open_}


def ours(values: Array, panel: dict[str, Array]) -> dict[str, dict[int, Array]]:
    """Labels included: returns from the next open, as both peers are asked for."""
    ranked = Ranked.of(values)
    found: dict[str, dict[int, Array]] = {"ic": {}, "quantiles": {}, "turnover": {}}
    for horizon in HORIZONS:
        forward = forward_returns(panel, horizon)
        found["ic"][horizon] = rank_ic(values, forward)
        found["quantiles"][horizon] = quantile_returns_by_bar(values, forward, QUANTILES)
        found["turnover"][horizon] = quantile_turnover(ranked, QUANTILES, horizon)
    return found


def best_s(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        start_s = time.perf_counter()
        call()
        found.append(time.perf_counter() - start_s)
    return min(found)


def beside_qweave(values: Array, panel: dict[str, Array]) -> float | None:
    try:
        import polars as pl
        import qweave
    except ImportError:
        return None
    n_bars = len(values)
    days = np.arange(n_bars).astype("timedelta64[D]") + np.datetime64("2000-01-01")
    frame = pl.DataFrame(
        {
            "symbol": [f"C{number:02d}" for number in range(N_SYMBOLS)] * n_bars,
            "date": np.repeat(days, N_SYMBOLS),
            "open": panel["open"].ravel(),
            "f": values.ravel(),
        }
    )

    def run() -> object:
        labelled = qweave.with_labels(
            frame, "symbol", "date", list(HORIZONS), entry_lag=1, entry_col="open", exit_col="open"
        )
        return qweave.evaluate(labelled, "symbol", "date", ["f"], quantiles=QUANTILES)

    theirs, mine = run(), ours(values, panel)
    table = theirs.quantile_returns.sort("date", "bin")  # type: ignore[attr-defined]
    for horizon in HORIZONS:
        usable = slice(horizon, n_bars - horizon - 1)
        ic = theirs.ic.filter(pl.col("horizon") == horizon).sort("date")  # type: ignore[attr-defined]
        np.testing.assert_allclose(
            mine["ic"][horizon][usable], ic["rank_ic"].to_numpy()[usable], atol=1e-10
        )
        means = table[f"mean_ret_{horizon}"].to_numpy().reshape(n_bars, QUANTILES)
        np.testing.assert_allclose(mine["quantiles"][horizon][usable], means[usable], atol=1e-12)
        turned = theirs.turnover.filter(pl.col("horizon") == horizon).sort("date")  # type: ignore[attr-defined]
        top = turned["top_turnover"].to_numpy()
        np.testing.assert_allclose(mine["turnover"][horizon][usable, -1], top[usable])
    return best_s(run, 5)


def beside_alphalens(values: Array, panel: dict[str, Array]) -> float | None:
    """Seconds a bar; what it is given is cut to ALPHALENS_BARS."""
    try:
        import alphalens
        import pandas as pd
    except ImportError:
        return None
    values = values[:ALPHALENS_BARS]
    panel = {name: field[:ALPHALENS_BARS] for name, field in panel.items()}
    times = pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC")
    factor = pd.DataFrame(values, times).stack()
    factor.index.names = ["date", "asset"]
    prices = pd.DataFrame(panel["open"], times).shift(-1).iloc[:-1]

    def run() -> tuple[object, ...]:
        data = alphalens.utils.get_clean_factor_and_forward_returns(
            factor, prices, quantiles=QUANTILES, periods=HORIZONS, filter_zscore=None
        )
        performance, labels = alphalens.performance, data["factor_quantile"]
        return (
            performance.factor_information_coefficient(data),
            performance.mean_return_by_quantile(data, by_date=True, demeaned=False)[0],
            [performance.quantile_turnover(labels, QUANTILES, horizon) for horizon in HORIZONS],
        )

    start_s = time.perf_counter()
    ic, means, turned = run()
    took_s = time.perf_counter() - start_s
    n_bars = len(values) - max(HORIZONS) - 1  # of those it keeps, which lack no label
    mine = ours(values, panel)
    for place, horizon in enumerate(HORIZONS):
        np.testing.assert_allclose(
            mine["ic"][horizon][:n_bars],
            ic.iloc[:, place],  # type: ignore[attr-defined]
            atol=1e-10,
        )
        theirs = means.iloc[:, place].unstack("factor_quantile")  # type: ignore[attr-defined]
        np.testing.assert_allclose(mine["quantiles"][horizon][:n_bars], theirs, atol=1e-12)
        top = mine["turnover"][horizon][:n_bars, -1]
        np.testing.assert_allclose(top, turned[place])  # type: ignore[index]
    return took_s / len(values)


def main() -> None:
    warnings.simplefilter("ignore")  # the peers' own
    n_bars = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    values, panel = market(n_bars)
    ours(values, panel)  # compiled before it is timed
    qweave_s = beside_qweave(values, panel)
    alphalens_s = beside_alphalens(values, panel)
    ours_s = best_s(lambda: ours(values, panel), 5)
    print(f"{N_SYMBOLS} symbols x {n_bars:,} bars, horizons {HORIZONS}; outputs agree")
    print(f"{'ours':>10} {ours_s * 1e3:10.1f} ms")
    if qweave_s is not None:
        print(f"{'qweave':>10} {qweave_s * 1e3:10.1f} ms {qweave_s / ours_s:8.1f}x")
    if alphalens_s is not None:
        whole_s = alphalens_s * n_bars
        print(f"{'alphalens':>10} {whole_s * 1e3:10.1f} ms {whole_s / ours_s:8.1f}x")


if __name__ == "__main__":
    main()
