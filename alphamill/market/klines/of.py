"""What klines may be of: trades, or prices that the exchange computes of a futures contract.

Source: developers.binance.com, "Mark Price", "Index Price" and "Premium index Kline Data" of USD-M
and COIN-M, whose weights and pages are those of klines; data.binance.vision for the folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.frames import Interval, Wide
from alphamill.market.binance import Binance
from alphamill.market.exchange import Klines


@dataclass(frozen=True, slots=True)
class KlinesOf:
    """How one kind of klines is named; rows have the same twelve columns, volumes are 0 or absent.

    name: of the endpoint, and of the archive's folder. by_pair: whether it is asked for by the pair
    (BTCUSD), of which several contracts are.
    """

    name: str = "klines"
    by_pair: bool = False

    def asked_by(self, symbol: str) -> str:
        """What the exchange calls it, of a contract as BTCUSD_PERP."""
        return symbol.partition("_")[0] if self.by_pair else symbol


TRADES = KlinesOf()
PRICES_OF: Mapping[Wide, KlinesOf] = {
    Wide.PREMIUM: KlinesOf("premiumIndexKlines"),
    Wide.MARK: KlinesOf("markPriceKlines"),
    Wide.INDEX: KlinesOf("indexPriceKlines", by_pair=True),
}


class BinancePrices:
    """A `KlineSource` of prices that are computed, over a futures market's client."""

    def __init__(self, api: Binance, of: KlinesOf) -> None:
        self._api = api
        self._of = of

    def klines(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Klines:
        """As `Binance.klines`."""
        asked = {"pair" if self._of.by_pair else "symbol": self._of.asked_by(symbol)}
        return self._api.klines(symbol, interval, start_ms, end_ms, f"/{self._of.name}", asked)
