"""One pass over trades in order of their ids: where bars close, and the exact sums of each.

Sums are unsigned and of 128 bits, in two words; a state is all that is kept of earlier pieces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alphamill.bars.kernels.words import high_product
from alphamill.frames import IntArray
from alphamill.jit import fused, kernel

ByteArray = NDArray[np.uint8]
WordArray = NDArray[np.uint64]

BY_TIME, BY_TRADES, BY_VOLUME, BY_QUOTE = range(4)

# Of a bar: words of `state` and of a row of what closed.
(
    OPEN_US,
    END_US,
    LAST_US,
    FIRST_ID,
    LAST_ID,
    OPEN,
    HIGH,
    LOW,
    CLOSE,
    TRADES,
    EMPTY,  # trades without a quantity
    COMPLETE,  # of a row; of the state whether a bar is open
    ROW_END,  # of a row: how many trades of this piece, from its first on, end with the bar
) = range(13)
BAR_WORDS = 13
# Of the last trade, for order and for doubles.
SEEN_ID, SEEN_US, SEEN_PRICE, SEEN_QUANTITY, SEEN_FILL = range(13, 18)
# Counters.
(
    N_TRADES,
    N_DUPLICATES,
    N_CONFLICTS,
    N_EMPTY,
    N_OUTSIDE,
    N_LATE,
    N_ABSENT,
    N_BURNED,
    N_OVERLAPS,
    N_SOLD,
    N_FILLS,
    N_VOID,
    START_ID,
    START_US,
) = range(18, 32)
STATE_WORDS = 32

VOLUME, QUOTE, BOUGHT, BOUGHT_QUOTE, BALANCE = range(0, 10, 2)
"""Sums: words of `sums` and of a row of what closed, the low one first. BALANCE is signed, and in
no row."""
SUM_WORDS = 10

DAY_US = 86_400_000_000
NONE = -1
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@fused
def _reached(low: np.uint64, high: np.uint64, signed: bool, need: WordArray) -> bool:
    """Whether a sum, or its magnitude, is at the threshold."""
    if signed and high >> np.uint64(63):
        high = ~high
        low = ~low + _ONE
        if low == _ZERO:
            high += _ONE
    reached: bool = high > need[1] or (high == need[1] and low >= need[0])
    return reached


@fused
def _note_last(
    state: IntArray,
    last: int,
    ids: IntArray,
    times: IntArray,
    prices: IntArray,
    quantities: WordArray,
    per_quantity: np.uint64,
) -> None:
    """Write down the last trade that counts; one of an earlier piece is."""
    if last != NONE:
        state[LAST_US] = times[last]
        state[LAST_ID] = ids[last]
        state[CLOSE] = prices[last]
        state[SEEN_US] = times[last]
        state[SEEN_PRICE] = prices[last]
        state[SEEN_QUANTITY] = np.int64(quantities[last] * per_quantity)


@kernel
def close_bars(  # noqa: C901, PLR0912, PLR0915  one pass, its sums in registers
    measure: int,
    signed: bool,
    length_us: int,
    need: WordArray,
    units: WordArray,
    bounds: IntArray,
    ids: IntArray,
    times: IntArray,
    prices: IntArray,
    quantities: WordArray,
    quotes: WordArray,
    sides: ByteArray,
    firsts: IntArray,
    lasts: IntArray,
    state: IntArray,
    sums: WordArray,
    rows: IntArray,
    row_sums: WordArray,
    kept: ByteArray,
) -> tuple[int, int]:
    """Trades of one piece, of all `ids`; how many bars closed, and where order breaks.

    need: the threshold in the units of its sum, low word first. units: what quantities and stated
    quotes are multiplied by, so that they have 8 decimals; products have 16 then. bounds: trades
    before the first and from the second on are left out. quotes: empty where they are prices times
    quantities. firsts, lasts: empty for trades. kept: 1 where a trade counts. Order breaks at the
    trade whose number is the second value, or nowhere: NONE.
    """
    stated = quotes.size > 0
    per_quantity, per_quote = units[0], units[1]
    aggregates = firsts.size > 0
    n = ids.size
    n_rows = 0
    n_kept = 0
    due = False
    v0, v1, q0, q1 = sums[VOLUME], sums[VOLUME + 1], sums[QUOTE], sums[QUOTE + 1]
    b0, b1 = sums[BOUGHT], sums[BOUGHT + 1]
    c0, c1 = sums[BOUGHT_QUOTE], sums[BOUGHT_QUOTE + 1]
    s0, s1 = sums[BALANCE], sums[BALANCE + 1]
    opened = state[COMPLETE] == 1
    end_us = state[END_US]
    high, low = state[HIGH], state[LOW]
    trades = state[TRADES]
    seen_id = state[SEEN_ID]
    sold = 0
    broken = NONE
    first_us, end_of_all_us = bounds[0], bounds[1]
    by_time = measure == BY_TIME
    open_us = state[OPEN_US]
    last = NONE  # the last trade of this piece that counts
    for i in range(n + 1):
        if i < n:
            time = times[i]
            if time < first_us or time >= end_of_all_us:
                state[N_OUTSIDE] += 1
                kept[i] = 0
                continue
            identity = ids[i]
            if identity <= seen_id:
                kept[i] = 0
                if identity < seen_id:
                    broken = i
                    break
                state[N_DUPLICATES] += 1
                _note_last(state, last, ids, times, prices, quantities, per_quantity)
                same = (
                    time == state[SEEN_US]
                    and prices[i] == state[SEEN_PRICE]
                    and np.int64(quantities[i] * per_quantity) == state[SEEN_QUANTITY]
                )
                if not same:
                    state[N_CONFLICTS] += 1
                continue
            if prices[i] == 0:  # the place of an aggregate that was taken back
                state[N_VOID] += 1
                kept[i] = 0
                if seen_id != NONE:
                    state[N_ABSENT] += identity - seen_id - 1
                    seen_id = identity
                continue
            kept[i] = 1
        if opened and (due or (i < n and time >= end_us)):
            _note_last(state, last, ids, times, prices, quantities, per_quantity)
            for k in range(BAR_WORDS):
                rows[n_rows, k] = state[k]
            rows[n_rows, HIGH] = high
            rows[n_rows, LOW] = low
            rows[n_rows, TRADES] = trades
            rows[n_rows, COMPLETE] = 1 if due or by_time else 0
            rows[n_rows, ROW_END] = n_kept
            row_sums[n_rows, VOLUME], row_sums[n_rows, VOLUME + 1] = v0, v1
            row_sums[n_rows, QUOTE], row_sums[n_rows, QUOTE + 1] = q0, q1
            row_sums[n_rows, BOUGHT], row_sums[n_rows, BOUGHT + 1] = b0, b1
            row_sums[n_rows, BOUGHT_QUOTE], row_sums[n_rows, BOUGHT_QUOTE + 1] = c0, c1
            n_rows += 1
            opened = False
            due = False
        if i == n:
            break
        price = prices[i]
        if not opened:
            opened = True
            day_us = time - time % DAY_US
            if by_time:
                state[OPEN_US] = day_us + (time - day_us) // length_us * length_us
                end_us = min(state[OPEN_US] + length_us, day_us + DAY_US)
            else:
                state[OPEN_US] = time
                end_us = day_us + DAY_US
            state[END_US] = end_us
            state[FIRST_ID] = identity
            state[OPEN] = price
            open_us = state[OPEN_US]
            state[EMPTY] = 0
            high = price
            low = price
            trades = 0
            v0 = v1 = q0 = q1 = b0 = b1 = c0 = c1 = s0 = s1 = _ZERO
        elif time < open_us:
            state[N_LATE] += 1
        if seen_id != NONE:
            state[N_ABSENT] += identity - seen_id - 1
        else:
            state[START_ID] = identity
            state[START_US] = time
        fills = 1
        if aggregates:
            fills = lasts[i] - firsts[i] + 1
            if state[SEEN_FILL] != NONE:
                between = firsts[i] - state[SEEN_FILL] - 1
                state[N_BURNED] += max(between, 0)
                state[N_OVERLAPS] += between < 0
            state[SEEN_FILL] = lasts[i]
            state[N_FILLS] += fills
        n_kept += 1
        seen_id = identity
        high = max(high, price)
        low = min(low, price)
        trades += fills
        quantity = quantities[i]
        u0 = quantity * per_quantity
        u1 = high_product(quantity, per_quantity)
        if stated:
            p0 = quotes[i] * per_quote
            p1 = high_product(quotes[i], per_quote)
        else:
            p0 = np.uint64(price) * u0
            p1 = np.uint64(price) * u1 + high_product(np.uint64(price), u0)
        if quantity == _ZERO:
            state[EMPTY] += 1
            state[N_EMPTY] += 1
        v0 += u0
        v1 += u1 + np.uint64(v0 < u0)
        q0 += p0
        q1 += p1 + np.uint64(q0 < p0)
        maker = sides[i]
        sold += maker
        taken = np.uint64(maker) - _ONE  # all bits where the taker bought: no branch to guess
        b0 += u0 & taken
        b1 += (u1 & taken) + np.uint64(b0 < (u0 & taken))
        c0 += p0 & taken
        c1 += (p1 & taken) + np.uint64(c0 < (p0 & taken))
        last = i
        if not by_time:
            w0, w1 = np.uint64(fills), _ZERO
            if measure == BY_VOLUME:
                w0, w1 = u0, u1
            elif measure == BY_QUOTE:
                w0, w1 = p0, p1
            if signed and maker:
                borrow = np.uint64(s0 < w0)
                s0 -= w0
                s1 -= w1 + borrow
            else:
                s0 += w0
                s1 += w1 + np.uint64(s0 < w0)
            due = _reached(s0, s1, signed, need)
    _note_last(state, last, ids, times, prices, quantities, per_quantity)
    sums[VOLUME], sums[VOLUME + 1], sums[QUOTE], sums[QUOTE + 1] = v0, v1, q0, q1
    sums[BOUGHT], sums[BOUGHT + 1] = b0, b1
    sums[BOUGHT_QUOTE], sums[BOUGHT_QUOTE + 1] = c0, c1
    sums[BALANCE], sums[BALANCE + 1] = s0, s1
    state[COMPLETE] = 1 if opened else 0
    state[HIGH], state[LOW], state[TRADES] = high, low, trades
    state[SEEN_ID] = seen_id
    state[N_TRADES] += n_kept
    state[N_SOLD] += sold
    return n_rows, broken
