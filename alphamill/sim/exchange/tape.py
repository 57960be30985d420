"""Every trade of one simulated symbol, in the order of its ids: a function of its bars alone.

Trades are spread evenly over their bar, and those of the shortest interval that is served sum to
its bars. Of a bar that still runs there are as many as have happened; klines of a running bar go a
way of their own, and agree with the trades when it has closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from threading import Lock

import numpy as np

from alphamill.frames import FloatArray, IntArray, Interval, Market
from alphamill.sim.exchange.trade_ids import TradeIds, trade_ids
from alphamill.sim.market import Bars, BarSource
from alphamill.sim.market.bars import BoolArray, close_ms
from alphamill.sim.market.fills import WholeBar, aggregates_of, fills_of

_QUOTE_DECIMALS = 8  # that the exchange prints
_PACE = 60  # trades of a bar that has volume and no count, as in its streams
_KEPT_TRADES = 400_000


@dataclass(frozen=True, slots=True)
class Traded:
    """Trades in order, arrays of one length.

    id, aggregate: their ids. price: in 10^-price_decimals. lots: in 10^-lot_decimals. quote: what
    was paid, in 10^-quote_decimals. time_ms: that of the aggregate.
    """

    id: IntArray
    aggregate: IntArray
    time_ms: IntArray
    price: IntArray
    lots: IntArray
    quote: list[int]
    sell: BoolArray
    price_decimals: int
    lot_decimals: int
    quote_decimals: int

    def __len__(self) -> int:
        return len(self.id)

    def where(self, chosen: BoolArray) -> Traded:
        """Those that are chosen."""
        if chosen.all():
            return self
        arrays = ("id", "aggregate", "time_ms", "price", "lots", "sell")
        kept = {name: getattr(self, name)[chosen] for name in arrays}
        quote = [paid for paid, keep in zip(self.quote, chosen.tolist(), strict=True) if keep]
        return replace(self, quote=quote, **kept)


class Tape:
    """A symbol's trades by bar; bars that were taken apart last are kept. Safe between threads."""

    def __init__(self, market: Market, symbol: str, interval: Interval, bars: Bars) -> None:
        self._market = market
        self._symbol = symbol
        self._interval = interval
        counts = np.where((bars.trades == 0) & (bars.volume > 0), _PACE, bars.trades)
        self.bars = replace(bars, trades=counts)
        self.ids = TradeIds(0, np.zeros(0, dtype=np.int64))
        prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))
        self._tick = _decimals(prices)
        self.lot = _decimals(np.concatenate((bars.volume, bars.taker_buy_base)))
        self._kept: OrderedDict[int, Traded] = OrderedDict()
        self._n_kept = 0
        self._turn = Lock()

    @classmethod
    def of(
        cls, source: BarSource, market: Market, symbol: str, burned_frac: float = 0.0
    ) -> Tape | None:
        """Of what `source` has of a symbol; None for a symbol without bars.

        burned_frac: ids that belong to no trade, a trade.
        """
        for interval in source.intervals(market, symbol):
            bars = source.bars(market, symbol, interval)
            if bars is not None and len(bars):
                tape = cls(market, symbol, interval, bars)
                name = f"{market}/{symbol}"
                tape.ids = trade_ids(name, tape.bars, tape.bars, burned_frac)
                return tape
        return None

    @cached_property
    def _aggregates(self) -> IntArray:
        """The first aggregate id of each bar, and the one after the last."""
        lots = np.rint(self.bars.volume * 10.0**self.lot).astype(np.int64)
        counts = aggregates_of(np.minimum(self.bars.trades, lots), lots)
        before: IntArray = self.ids.first_id // 3 + np.concatenate(([0], np.cumsum(counts)))
        return before

    @property
    def price_decimals(self) -> int:
        """Of its ticks."""
        return self._tick

    def bar_at(self, time_ms: int) -> int:
        """The first bar that ends after `time_ms`."""
        at = max(0, self.bars.stop_at(time_ms) - 1)
        while (
            at < len(self.bars) and close_ms(int(self.bars.open_ms[at]), self._interval) < time_ms
        ):
            at += 1
        return at

    def bar_of_aggregate(self, aggregate: int) -> int:
        """The bar that has it; the first or one past the last for ids before and after all."""
        return max(0, int(np.searchsorted(self._aggregates, aggregate, side="right")) - 1)

    def bar_of_trade(self, trade: int) -> int:
        """The bar that has it, likewise; of an id that was burned, the one of the next trade."""
        number = self.ids.number_from(trade)
        if number >= int(self.ids.before[-1]) + int(self.bars.trades[-1]):
            return len(self.bars)
        return max(0, int(np.searchsorted(self.ids.before, number, side="right")) - 1)

    def rows(self, aggregates: bool, first: int, end: int) -> int:
        """How many aggregates, or trades, the bars from `first` up to `end` have."""
        if aggregates:
            return int(self._aggregates[end] - self._aggregates[first])
        return int(self.bars.trades[first:end].sum())

    def trades(self, at: int) -> Traded:
        """All trades of bar `at`, also those after the simulated now."""
        with self._turn:
            found = self._kept.get(at)
            if found is None:
                found = self._kept[at] = self._taken_apart(at)
                self._n_kept += len(found)
            self._kept.move_to_end(at)
            while len(self._kept) > 1 and self._n_kept > _KEPT_TRADES:
                self._n_kept -= len(self._kept.popitem(last=False)[1])
            return found

    def _taken_apart(self, at: int) -> Traded:
        bar, decimals, size = self._whole(at)
        fills = fills_of(bar)
        count = len(fills.price)
        open_ms = int(self.bars.open_ms[at])
        span_ms = close_ms(open_ms, self._interval) + 1 - open_ms
        first = np.diff(fills.aggregate, prepend=-1) > 0
        number = (np.flatnonzero(first) + 1)[fills.aggregate]
        quote, quote_decimals = self._paid(at, fills.price, fills.lots, fills.sell, decimals, size)
        before = int(self.ids.before[at])
        return Traded(
            id=self.ids.of_numbers(before + np.arange(count)),
            aggregate=self._aggregates[at] + fills.aggregate,
            time_ms=open_ms - (-number * span_ms // max(1, count)) - 1,
            price=fills.price,
            lots=fills.lots,
            quote=quote,
            sell=fills.sell,
            price_decimals=decimals,
            lot_decimals=self.lot,
            quote_decimals=quote_decimals,
        )

    def _whole(self, at: int) -> tuple[WholeBar, int, int | None]:
        """The bar in ticks and lots, the decimals of its ticks, a contract's size on COIN-M.

        Ticks are finer than the symbol's where its quote volume is no sum of those.
        """
        bars, lot = self.bars, self.lot
        volume, buy = (_in_units(float(c[at]), lot) for c in (bars.volume, bars.taker_buy_base))
        size = None
        if self._market is Market.COIN_M:
            size, tick = contract_usd(self._symbol), self._tick
            paid = _of_contracts(size, volume, float(bars.quote_volume[at]), tick)
            bought = _of_contracts(size, buy, float(bars.taker_buy_quote[at]), tick)
        else:
            amounts = float(bars.quote_volume[at]), float(bars.taker_buy_quote[at])
            finer = max(self._tick, _QUOTE_DECIMALS - lot)
            fits = all(_fits(amount, self._tick + lot) for amount in amounts)
            tick = self._tick if fits else finer
            paid, bought = (_in_units(amount, tick + lot) for amount in amounts)
        prices = [
            _in_units(float(column[at]), tick)
            for column in (bars.open, bars.high, bars.low, bars.close)
        ]
        whole = WholeBar(
            *(prices[0], prices[1], prices[2], prices[3]),
            volume=volume,
            quote=paid,
            trades=int(bars.trades[at]),
            buy=buy,
            buy_quote=bought,
        )
        return whole, tick, size

    def _paid(
        self,
        at: int,
        price: IntArray,
        lots: IntArray,
        sell: BoolArray,
        decimals: int,
        size: int | None,
    ) -> tuple[list[int], int]:
        """Of each trade, in units of so many decimals; on COIN-M coins.

        What has more decimals than are printed is rounded so that each side's sum is the bar's.
        """
        places = decimals + self.lot
        if size is not None:
            worth = size * lots / (price / 10.0**decimals) / 10.0**self.lot
            paid = np.rint(worth * 10.0**_QUOTE_DECIMALS).astype(np.int64).tolist()
        else:
            over = 10 ** max(0, places - _QUOTE_DECIMALS)
            pairs = zip(price.tolist(), lots.tolist(), strict=True)
            paid = [(one * many + over // 2) // over for one, many in pairs]
            if over == 1:
                return paid, places
        bought = _in_units(float(self.bars.taker_buy_quote[at]), _QUOTE_DECIMALS)
        whole = _in_units(float(self.bars.quote_volume[at]), _QUOTE_DECIMALS)
        for side, target in ((False, bought), (True, whole - bought)):
            own = np.flatnonzero(sell == side).tolist()
            if own:
                largest = max(own, key=paid.__getitem__)
                paid[largest] += target - sum(paid[trade] for trade in own)
        return paid, _QUOTE_DECIMALS


def contract_usd(symbol: str) -> int:
    """What a COIN-M contract is worth, in US dollars."""
    return 100 if symbol.startswith("BTCUSD_") else 10


def _of_contracts(size: int, lots: int, coins: float, tick: int) -> int:
    """Ticks times contracts of an average price at which so many contracts are so many coins."""
    return round(size * lots / coins * 10.0**tick * lots) if coins else 0


def _decimals(values: FloatArray) -> int:
    """Fewest decimals, at most 8, that print every value exactly."""
    for decimals in range(8):
        if np.array_equal(np.round(values, decimals), values):
            return decimals
    return 8


def _in_units(value: float, decimals: int) -> int:
    """In 10^-decimals, of the number that is printed."""
    return round(Decimal(repr(value)).scaleb(decimals))


def _fits(value: float, decimals: int) -> bool:
    scaled = Decimal(repr(value)).scaleb(decimals)
    return scaled == scaled.to_integral_value()


class Tapes:
    """The tapes of a source, each made when first asked for."""

    def __init__(self, source: BarSource, burned_fracs: Mapping[Market, float]) -> None:
        self._source = source
        self._burned_fracs = burned_fracs
        self._made: dict[tuple[Market, str], Tape | None] = {}

    def of(self, market: Market, symbol: str) -> Tape | None:
        """None for a symbol without bars."""
        key = market, symbol
        if key not in self._made:
            frac = self._burned_fracs.get(market, 0.0)
            self._made[key] = Tape.of(self._source, market, symbol, frac)
        return self._made[key]
