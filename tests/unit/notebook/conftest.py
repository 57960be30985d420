from __future__ import annotations

import pytest

from alphamill import testing
from alphamill.controls.markets import ControlMarket, klines_of
from alphamill.lake import Lake
from alphamill.sim.market import DEFAULT_PLANTED

MARKET = ControlMarket(seed=7, n_symbols=6, n_bars=1500, planted=DEFAULT_PLANTED, ragged=False)


@pytest.fixture(scope="session")
def lake_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with MARKET's bars at 1h."""
    folder = tmp_path_factory.mktemp("notebook_lake")
    for symbol, bars in MARKET.bars().items():
        testing.put_klines(Lake(str(folder)), symbol, klines_of(bars, MARKET.interval))
    return str(folder)
