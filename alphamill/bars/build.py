"""Trades in, bars out: one pass, in pieces of any size."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from alphamill.bars import bars as columns
from alphamill.bars.bars import Bars, doubles, join_bars
from alphamill.bars.flat import time_grid, with_flat_bars
from alphamill.bars.flow import FlowOfBars, flow_columns
from alphamill.bars.kernels import closing
from alphamill.bars.quality import OutOfOrder, Quality, sides_known
from alphamill.bars.rules import Measure, Rule
from alphamill.bars.trades import DECIMALS, Layout, Trades
from alphamill.frames import FloatArray, IntArray, Market

_SLICE = 1 << 15  # trades of one pass: what can close in it has its room
_MEASURES: Final = {
    Measure.TIME: closing.BY_TIME,
    Measure.TRADES: closing.BY_TRADES,
    Measure.VOLUME: closing.BY_VOLUME,
    Measure.QUOTE: closing.BY_QUOTE,
}
_NO_IDS = np.empty(0, np.int64)
_NO_WORDS = np.empty(0, np.uint64)
_NO_TRADES = Trades(_NO_IDS, _NO_IDS, _NO_IDS, _NO_IDS, np.empty(0, np.bool_))
_SUMS = [
    word + high
    for word in (closing.BOUGHT, closing.VOLUME, closing.BOUGHT_QUOTE, closing.QUOTE)
    for high in (0, 1)
]
_EVER = (-(2**62), 2**62)
_WORD = 2**64 - 1


class BarBuilder:
    """Bars of one symbol's trades, which come in order of their ids.

    The bars are the same however the trades are cut into pieces. Sums are exact and become the
    nearest doubles once, so that time bars of spot trades equal the exchange's klines.

    within_us: only trades of that time count, start included, end excluded.
    previous_close: of the bar before the first trade, if it is known; time bars from the start of
        `within_us` on are flat then, and else begin with the first trade.
    contract_usd: of COIN-M aggregates, which state no base volume: what a contract is worth; their
        base volume is contracts times this over the price, rounded to 8 decimals a row, and need
        not equal the exchange's. ValueError where it is missing.

    flow: whether bars get the columns of FLOW, for which the open bar's trades are kept.

    Time bars without trades are flat at the close before them, with zero volumes, as the exchange
    sends them. Aggregates count where their first fill is: on spot they never cross a bar's end, on
    futures some do (see `Agreement`), and a rule by trades closes with the aggregate.
    """

    def __init__(
        self,
        rule: Rule,
        layout: Layout,
        *,
        within_us: tuple[int, int] | None = None,
        previous_close: float | None = None,
        contract_usd: int | None = None,
        flow: bool = False,
    ) -> None:
        if _of_contracts(layout) and not contract_usd:
            raise ValueError(
                "COIN-M aggregates state no base volume: give what a contract is worth"
            )
        self._rule = rule
        self._layout = layout
        self._bounds = np.array(within_us or _EVER, np.int64)
        self._contract_usd = contract_usd if _of_contracts(layout) else None
        self._length_us = rule.length_us if rule.is_time else 0
        self._state = np.zeros(closing.STATE_WORDS, np.int64)
        for word in (closing.SEEN_ID, closing.SEEN_FILL, closing.START_ID, closing.START_US):
            self._state[word] = closing.NONE
        self._state[closing.SEEN_US] = closing.NONE
        self._sums = np.zeros(closing.SUM_WORDS, np.uint64)
        self._rows = np.empty((_SLICE + 1, closing.BAR_WORDS), np.int64)
        self._row_sums = np.empty((_SLICE + 1, closing.SUM_WORDS), np.uint64)
        self._stated = False  # whether rows state their quote volume
        self._close = previous_close
        self._next_us = within_us[0] if within_us and previous_close is not None else None
        self._finished = False
        self._flow = FlowOfBars() if flow else None

    @property
    def quality(self) -> Quality:
        """Of the trades so far."""
        state = [int(word) for word in self._state]
        layout, trades = self._layout, state[closing.N_TRADES]
        return Quality(
            trades=trades,
            fills=state[closing.N_FILLS] if layout.aggregates else trades,
            sold=state[closing.N_SOLD],
            first_id=state[closing.START_ID],
            last_id=state[closing.SEEN_ID],
            first_us=state[closing.START_US],
            last_us=state[closing.SEEN_US],
            duplicates=state[closing.N_DUPLICATES],
            conflicts=state[closing.N_CONFLICTS],
            no_quantity=state[closing.N_EMPTY],
            void=state[closing.N_VOID],
            outside=state[closing.N_OUTSIDE],
            late=state[closing.N_LATE],
            absent_ids=state[closing.N_ABSENT],
            burned_ids=state[closing.N_BURNED],
            overlaps=state[closing.N_OVERLAPS],
            sides_known=sides_known(layout, trades, state[closing.N_SOLD], state[closing.START_US]),
        )

    def add(self, trades: Trades) -> Bars:
        """The bars that these trades close. Raises OutOfOrder; the builder is of no use then."""
        if self._finished:
            raise ValueError("the builder is finished")
        if self._contract_usd is not None:
            trades = replace(trades, quote=_base_volume(trades, self._contract_usd))
        if len(trades):
            self._stated = trades.quote is not None
        starts = range(0, max(len(trades), 1), _SLICE)
        return join_bars([self._pass(trades[at : at + _SLICE]) for at in starts])

    def finish(self, end_us: int) -> Bars:
        """What is open, and flat bars after it, up to `end_us`, before which all trades have come.

        A bar that ends later is in it and not `complete`, and so is an event bar that its rule has
        not closed.
        """
        self._finished = True
        n = 0
        state = self._state
        if state[closing.COMPLETE]:
            row = self._rows[0]
            row[:] = state[: closing.BAR_WORDS]
            row[closing.COMPLETE] = self._rule.is_time and state[closing.END_US] <= end_us
            self._row_sums[0] = self._sums
            n = 1
        figures = None
        if self._flow is not None:
            figures = self._flow.add(_NO_TRADES, np.zeros(n, np.int64), self._spans_s(n))
        return self._filled(self._bars(n, figures), min(end_us, int(self._bounds[1])))

    def _need(self, stated: bool) -> columns.WordArray:
        """The threshold in the units of its sum, in two words."""
        decimals = {Measure.VOLUME: DECIMALS, Measure.QUOTE: _quote_decimals(stated)}
        units = int(self._rule.threshold * 10 ** decimals.get(self._rule.measure, 0))
        return np.array([units & _WORD, units >> 64], np.uint64)

    def _pass(self, trades: Trades) -> Bars:
        quotes = _NO_WORDS if trades.quote is None else trades.quote.view(np.uint64)
        kept = np.empty(len(trades), np.uint8)
        n, broken = closing.close_bars(
            _MEASURES[self._rule.measure],
            self._rule.imbalance,
            self._length_us,
            self._need(self._stated),
            _units(trades),
            self._bounds,
            trades.id,
            trades.time_us,
            trades.price,
            trades.quantity.view(np.uint64),
            quotes,
            trades.is_buyer_maker.view(np.uint8),
            _NO_IDS if trades.first_id is None else trades.first_id,
            _NO_IDS if trades.last_id is None else trades.last_id,
            self._state,
            self._sums,
            self._rows,
            self._row_sums,
            kept,
        )
        if broken >= 0:
            before, after = int(self._state[closing.SEEN_ID]), int(trades.id[broken])
            raise OutOfOrder(f"trade {after} comes after trade {before}")
        figures = None
        if self._flow is not None:
            counted = trades[kept == 1]
            figures = self._flow.add(
                counted, self._rows[:n, closing.ROW_END].copy(), self._spans_s(n)
            )
        return self._filled(self._bars(n, figures))

    def _spans_s(self, n: int) -> FloatArray:
        """How long the first `n` rows of what closed are, in seconds."""
        ends = self._rows[:n, closing.END_US if self._rule.is_time else closing.LAST_US]
        return (ends - self._rows[:n, closing.OPEN_US]) / 1e6

    def _bars(self, n: int, figures: FloatArray | None = None) -> Bars:
        """The first `n` rows of what closed, flat bars between them."""
        rows, sums = self._rows[:n], self._row_sums[:n]
        known = rows[:, closing.EMPTY] == 0

        def price(word: int) -> FloatArray:
            return columns.prices(np.ascontiguousarray(rows[:, word]), DECIMALS)

        def volume(word: int, decimals: int) -> FloatArray:
            return np.where(known, doubles(sums[:, word], sums[:, word + 1], decimals), np.nan)

        decimals = (DECIMALS, _quote_decimals(self._stated))
        ends = rows[:, closing.END_US] - 1000 if self._rule.is_time else rows[:, closing.LAST_US]
        return Bars(
            open_time_us=rows[:, closing.OPEN_US].copy(),
            close_time_us=ends.copy(),
            open=price(closing.OPEN),
            high=price(closing.HIGH),
            low=price(closing.LOW),
            close=price(closing.CLOSE),
            volume=volume(closing.VOLUME, DECIMALS),
            quote_volume=volume(closing.QUOTE, decimals[1]),
            trades=rows[:, closing.TRADES].copy(),
            taker_buy_base=volume(closing.BOUGHT, DECIMALS),
            taker_buy_quote=volume(closing.BOUGHT_QUOTE, decimals[1]),
            first_id=rows[:, closing.FIRST_ID].copy(),
            last_id=rows[:, closing.LAST_ID].copy(),
            complete=rows[:, closing.COMPLETE] == 1,
            flow={} if figures is None else flow_columns(figures, sums[:, _SUMS], decimals, known),
        )

    def _filled(self, bars: Bars, end_us: int | None = None) -> Bars:
        """The same with flat bars before and between them, and up to `end_us`."""
        if not self._rule.is_time:
            return bars
        starts = [self._next_us] if self._next_us is not None else bars.open_time_us[:1].tolist()
        stops = [end_us] if end_us is not None else []
        stops += (bars.open_time_us[-1:] + 1).tolist()
        if not starts or not stops:
            return bars
        opens = time_grid(self._length_us, starts[0], max(stops))
        filled = with_flat_bars(bars, opens, self._length_us, self._close)
        filled = filled[(filled.first_id >= 0) | (filled.close_time_us < max(stops))]
        if len(filled):
            self._next_us = int(filled.close_time_us[-1]) + 1000
            self._close = float(filled.close[-1])
        return filled


def _of_contracts(layout: Layout) -> bool:
    return layout.market is Market.COIN_M and layout.aggregates


def _quote_decimals(stated: bool) -> int:
    """Of sums of quotes as they are stated, and of products."""
    return DECIMALS if stated else 2 * DECIMALS


def _units(trades: Trades) -> columns.WordArray:
    more = (DECIMALS - trades.quantity_decimals, DECIMALS - trades.quote_decimals)
    return np.array([10**decimals for decimals in more], np.uint64)


def _base_volume(trades: Trades, contract_usd: int) -> IntArray:
    """Contracts times their worth over the price, times 10**8, rounded."""
    worth_usd = trades.quantity / 10**trades.quantity_decimals * contract_usd
    base = worth_usd / (trades.price / 10**DECIMALS)
    rounded: IntArray = np.rint(base * 10**DECIMALS).astype(np.int64)
    return rounded
