"""A simulated market: synthetic, with factors planted in it, or replayed from recordings."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.sim.market.bars import Bars, BarSource, Settlements
    from alphamill.sim.market.coins import (
        COINS,
        DEFAULT_START_MS,
        Coin,
        SyntheticMarket,
        coins_named,
    )
    from alphamill.sim.market.derived import DerivedSource
    from alphamill.sim.market.instruments import Instrument
    from alphamill.sim.market.planted import DEFAULT_PLANTED, FORMULAS, PlantedFactor
    from alphamill.sim.market.price_paths import generate
    from alphamill.sim.market.recordings import ReplaySource
    from alphamill.sim.market.synthetic import SyntheticSource

__all__ = [
    "COINS",
    "DEFAULT_PLANTED",
    "DEFAULT_START_MS",
    "FORMULAS",
    "BarSource",
    "Bars",
    "Coin",
    "DerivedSource",
    "Instrument",
    "PlantedFactor",
    "ReplaySource",
    "Settlements",
    "SyntheticMarket",
    "SyntheticSource",
    "coins_named",
    "generate",
]

export_on_demand(__name__)
