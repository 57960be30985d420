"""RankIC of one factor against scipy's spearmanr bar by bar, and what a whole Score costs.

Outputs are compared first. CPU time, one thread, the best of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from alphamill.evaluation import information_coefficient, score

SIZES = ((12, 6_000), (17, 14_000), (50, 20_000))
PEER_BARS = 2_000  # of scipy's loop; scaled up


def best_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start_s = time.process_time()
        call()
        times.append(time.process_time() - start_s)
    return min(times)


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'symbols x bars':>16} {'RankIC':>9} {'scipy loop':>11} {'ratio':>7} {'Score':>9}")
    for n_symbols, n_bars in SIZES:
        values = rng.normal(size=(n_bars, n_symbols)).round(2)  # with ties
        returns = rng.normal(0, 0.01, size=(n_bars, n_symbols))
        close = 100 * np.exp(returns.cumsum(axis=0))
        panel = {"open": np.vstack([close[:1], close[:-1]]), "close": close}

        def peer(values=values, returns=returns) -> list[float]:  # type: ignore[no-untyped-def]
            return [spearmanr(values[t], returns[t]).statistic for t in range(PEER_BARS)]

        ours = information_coefficient(values, returns)
        np.testing.assert_allclose(ours[:PEER_BARS], peer(), atol=1e-12)
        ours_s = best_s(lambda v=values, r=returns: information_coefficient(v, r))
        peer_s = best_s(peer) * n_bars / PEER_BARS
        score_s = best_s(
            lambda v=values, p=panel: score(
                v, p, horizon_bars=4, entry_lag_bars=1, skip_bars=0, fee_bps=11, bars_per_year=8760
            )
        )
        size = f"{n_symbols} x {n_bars:,}"
        print(
            f"{size:>16} {ours_s * 1e3:6.1f} ms {peer_s * 1e3:8.0f} ms {peer_s / ours_s:6.0f}x "
            f"{score_s * 1e3:6.0f} ms"
        )


if __name__ == "__main__":
    main()
