"""Trades and aggregates as fields of text, the same for replies of the API and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alphamill.frames import Market
from alphamill.sim.exchange.tape import Traded

_SPOT_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class TradeText:
    """One trade; quote is in coins on COIN-M."""

    id: int
    price: str
    quantity: str
    quote: str
    time_ms: int
    sell: bool


@dataclass(frozen=True, slots=True)
class AggregateText:
    """Trades of one taker order at one price, told as one."""

    id: int
    price: str
    quantity: str
    first_id: int
    last_id: int
    time_ms: int
    sell: bool


class _Printer:
    """Numbers in units of their last decimal, printed with at least `least` decimals."""

    def __init__(self, decimals: int, least: int) -> None:
        self._decimals = max(decimals, least)
        self._times = 10 ** (self._decimals - decimals)
        self._unit = 10**self._decimals
        self._known: dict[int, str] = {}

    def text(self, value: int) -> str:
        found = self._known.get(value)
        if found is None:
            whole, part = divmod(value * self._times, self._unit)
            found = f"{whole}.{part:0{self._decimals}d}" if self._decimals else str(whole)
            self._known[value] = found
        return found


def _printers(market: Market, traded: Traded) -> tuple[_Printer, _Printer, _Printer]:
    least = _SPOT_DECIMALS if market is Market.SPOT else 0
    return (
        _Printer(traded.price_decimals, least),
        _Printer(traded.lot_decimals, least),
        _Printer(traded.quote_decimals, least),
    )


def trade_texts(market: Market, traded: Traded) -> Iterator[TradeText]:
    """Each trade in order."""
    prices, lots, paid = _printers(market, traded)
    rows = zip(
        traded.id.tolist(),
        traded.price.tolist(),
        traded.lots.tolist(),
        traded.quote,
        traded.time_ms.tolist(),
        traded.sell.tolist(),
        strict=True,
    )
    for number, price, lot, quote, time_ms, sell in rows:
        texts = prices.text(price), lots.text(lot), paid.text(quote)
        yield TradeText(number, *texts, time_ms, sell)


def aggregate_texts(market: Market, traded: Traded) -> Iterator[AggregateText]:
    """Each aggregate in order; of one that is cut, what is there."""
    if not len(traded):
        return
    prices, lots, _ = _printers(market, traded)
    first = np.flatnonzero(np.diff(traded.aggregate, prepend=traded.aggregate[0] - 1))
    last = np.append(first[1:], len(traded)) - 1
    rows = zip(
        traded.aggregate[first].tolist(),
        traded.price[first].tolist(),
        np.add.reduceat(traded.lots, first).tolist(),
        traded.id[first].tolist(),
        traded.id[last].tolist(),
        traded.time_ms[first].tolist(),
        traded.sell[first].tolist(),
        strict=True,
    )
    for number, price, lot, first_id, last_id, time_ms, sell in rows:
        yield AggregateText(
            number, prices.text(price), lots.text(lot), first_id, last_id, time_ms, sell
        )
