"""Rows of text to columns of exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.bars.kernels.words import eight_digits, load_word, trailing_zeros
from alphamill.frames import IntArray
from alphamill.jit import fused, kernel

ByteArray = NDArray[np.uint8]

PADDING = 16  # bytes that may be read behind the last row

SKIPPED, STATED, SPANNED = range(3)
"""What stands between quantity and time: a column to pass over; the quote volume; first and last
fill of an aggregate."""

FINE, NO_NUMBER, NO_SIDE, TOO_SHORT, TOO_LONG, TOO_LARGE, TOO_FINE = range(7)
"""What is wrong with a row; `TOO_LARGE`: with fewer decimals it may fit."""

ROWS, CONSUMED, LINES, FAULT, FAULT_AT, FAULT_COLUMN = range(6)
"""What `read_rows` reports; LINES are rows and blank ones."""

ID, TIME, PRICE, QUANTITY, QUOTE, FIRST, LAST = 0, 1, 2, 3, 4, 4, 5
"""Places of columns; those of a kind of row that has no other."""

_COMMA, _LINE, _RETURN, _POINT, _ZERO = 44, 10, 13, 46, 48
_LOWER = np.uint64(0x2020202020202020)
_DIGITS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH = np.uint64(0x8080808080808080)
_ONES = np.uint64(0x0101010101010101)
_COMMAS = np.uint64(0x2C2C2C2C2C2C2C2C)
_LINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_TRUE = np.uint64(int.from_bytes(b"true", "little"))
_FALSE = np.uint64(int.from_bytes(b"false", "little"))
_T, _BYTE = np.uint64(ord("t")), np.uint64(0xFF)
_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_MOST = 2**63 - 1
_FITS = _MOST // 10**8 - 1


@fused
def _whole(text: ByteArray, at: int) -> tuple[int, int]:
    """A whole number of up to 18 digits and where it ends; -1 for more, -2 for none."""
    digits = load_word(text, at) ^ _DIGITS
    n = trailing_zeros(((digits + _ABOVE_NINE) | digits) & _HIGH) >> 3
    value: Any = np.int64(eight_digits(digits << np.uint64((64 - 8 * n) & 63)))
    end = at + n
    while n == 8:
        digits = load_word(text, end) ^ _DIGITS
        n = trailing_zeros(((digits + _ABOVE_NINE) | digits) & _HIGH) >> 3
        if n:
            if end + n - at > 18:
                return -1, end
            part = eight_digits(digits << np.uint64((64 - 8 * n) & 63))
            value = value * _POWERS[n] + np.int64(part)
            end += n
    if end == at:
        return -2, at
    return value, end


@fused
def _scaled(whole: Any, fraction: Any, decimals: int) -> Any:
    """A number of eight decimals with fewer of them; -3 where that loses some, -1 if too large."""
    scale = _POWERS[decimals]
    if whole > _MOST // scale - 1:
        return -1
    if decimals == 8:
        return whole * scale + fraction
    if fraction % _POWERS[8 - decimals]:
        return -3
    return whole * scale + fraction // _POWERS[8 - decimals]


@fused
def _shifted(text: ByteArray, at: int, value: int) -> tuple[int, int]:
    """`value` times the power of ten that stands at `at` behind an e; -2 if it is none."""
    at += 1
    down = text[at] == 45  # a minus
    if down or text[at] == 43:
        at += 1
    exponent, at = _whole(text, at)
    if exponent < 0 or exponent > 18:
        return -2, at
    scale = _POWERS[exponent]
    if down:
        return (-3 if value % scale else value // scale), at
    return (-1 if value > _MOST // scale else value * scale), at


@fused
def _decimal(text: ByteArray, at: int, decimals: int, rounds: bool) -> tuple[int, int]:
    """A decimal number times 10**decimals and where it ends; below 0 what is wrong, as above."""
    whole, at = _whole(text, at)
    if whole < 0:
        return whole, at
    fraction = np.int64(0)
    if text[at] == _POINT:
        at += 1
        digits = load_word(text, at) ^ _DIGITS
        n = trailing_zeros(((digits + _ABOVE_NINE) | digits) & _HIGH) >> 3
        fraction = np.int64(eight_digits(digits & _MASKS[n]))
        at += n
        if n == 8:
            beyond = at
            while text[at] >= _ZERO and text[at] <= 57:
                if text[at] != _ZERO and not rounds:
                    return -3, at
                at += 1
            if at > beyond and text[beyond] >= 53:  # half and more is rounded up
                fraction += 1
    if text[at] | 32 == 101:  # an e
        value, at = _shifted(text, at, whole * _POWERS[8] + fraction if whole < 10**10 else _MOST)
        if value < 0:
            return value, at
        whole, fraction = value // _POWERS[8], value % _POWERS[8]
    if decimals == 8 and whole < _FITS:
        return whole * _POWERS[8] + fraction, at
    return _scaled(whole, fraction, decimals), at


@fused
def _leading_digits(text: ByteArray, at: int) -> int:
    """How many of eight bytes are digits before the first that is none."""
    digits = load_word(text, at) ^ _DIGITS
    n: int = trailing_zeros(((digits + _ABOVE_NINE) | digits) & _HIGH) >> 3
    return n


@fused
def _whole_of_width(text: ByteArray, at: int, width: int) -> Any:
    """A whole number of 9 to 16 digits before a comma; -1 if it is none of this width."""
    head = load_word(text, at) ^ _DIGITS
    tail = load_word(text, at + width - 8) ^ _DIGITS
    if ((head + _ABOVE_NINE) | head | (tail + _ABOVE_NINE) | tail) & _HIGH:
        return -1
    if text[at + width] != _COMMA:
        return -1
    high = eight_digits(head << np.uint64(128 - 8 * width))
    return np.int64(high) * _POWERS[8] + np.int64(eight_digits(tail))


@fused
def _decimal_of_shape(text: ByteArray, at: int, point: int, width: int) -> Any:
    """A decimal number, its point behind 1 to 8 digits and 1 to 8 behind it; -1 if it is none."""
    whole = (load_word(text, at) ^ _DIGITS) << np.uint64(64 - 8 * point)
    fraction = (load_word(text, at + point + 1) ^ _DIGITS) & _MASKS[width - point - 1]
    if ((whole + _ABOVE_NINE) | whole | (fraction + _ABOVE_NINE) | fraction) & _HIGH:
        return -1
    if text[at + point] != _POINT or text[at + width] != _COMMA:
        return -1
    return np.int64(eight_digits(whole)) * _POWERS[8] + np.int64(eight_digits(fraction))


@fused
def _passed(text: ByteArray, at: int) -> int:
    """Where the next comma or line break is."""
    while True:
        word = load_word(text, at)
        commas, lines = word ^ _COMMAS, word ^ _LINES
        found = ((commas - _ONES) & ~commas | (lines - _ONES) & ~lines) & _HIGH
        if found:
            end: int = at + (trailing_zeros(found) >> 3)
            return end
        at += 8


@fused
def _side(text: ByteArray, at: int) -> tuple[int, int]:
    """A boolean and where it ends; -1 if it is none."""
    word = load_word(text, at) | _LOWER
    sold = word & _BYTE == _T
    if word & (_FOUR if sold else _FIVE) == (_TRUE if sold else _FALSE):  # selects, no branches
        return int(sold), at + 5 - int(sold)
    if text[at] == 48 or text[at] == 49:
        return text[at] - 48, at + 1
    return -1, at


@fused
def _fill_id(text: ByteArray, at: int) -> tuple[int, int]:
    """A whole number, or -1, which stands for no fill; -2 for neither."""
    if text[at] == 45 and text[at + 1] == 49:
        return -1, at + 2
    value, at = _whole(text, at)
    return (value if value >= 0 else -2), at


@kernel
def read_rows(  # noqa: C901, PLR0912, PLR0915  one pass, field by field
    text: ByteArray,
    start: int,
    stop: int,
    middle: int,
    behind: int,
    decimals: IntArray,
    columns: NDArray[np.int64],
    sides: ByteArray,
    report: IntArray,
) -> None:
    """Whole rows of text[start:stop], which ends with a line break and has PADDING bytes behind it.

    A row is id, price, quantity, the `middle`, time, side, and `behind` columns to pass over.
    decimals: of quantity and of quote. columns: (6, rows), see `ID`; reading ends where it is full.
    sides: 1 or 0. report: see `ROWS`; with a fault, rows and bytes before its row, and where in the
    row's columns the fault is.
    """
    ids, times, prices, quantities = columns[ID], columns[TIME], columns[PRICE], columns[QUANTITY]
    fourth, fifth = columns[FIRST], columns[LAST]
    of_quantity, of_quote = decimals[0], decimals[1]
    room = sides.size
    at = start
    row = 0
    lines = 0
    fault = FINE
    k = 0
    # Of the row before, so that a row need not wait for where each field of it ends: the guess is
    # nearly always right. 0: no guess.
    id_width, price_width, point, size_width, size_point, time_width = 0, 0, 0, 0, 0, 0
    while at < stop and row < room:
        lines += 1
        if text[at] == _LINE or text[at] == _RETURN:
            at += 1
            lines -= text[at - 1] == _RETURN
            continue
        begin = at
        fault = NO_NUMBER
        k = 0
        value = _whole_of_width(text, at, id_width) if id_width else -1
        if value >= 0:
            at += id_width
        else:
            value, at = _whole(text, at)
            if value < 0 or text[at] != _COMMA:
                break
            id_width = at - begin if 9 <= at - begin <= 16 else 0
        ids[row] = value
        k = 1
        at += 1
        value = _decimal_of_shape(text, at, point, price_width) if point else -1
        if value >= 0:
            at += price_width
        else:
            field = at
            value, at = _decimal(text, at, 8, False)
            if value < 0 or text[at] != _COMMA:
                fault = TOO_LARGE if value == -1 else TOO_FINE if value == -3 else NO_NUMBER
                break
            price_width = at - field
            point = _leading_digits(text, field)
            if text[field + point] != _POINT or not 2 <= price_width - point <= 9:
                point = 0
        prices[row] = value
        k = 2
        at += 1
        value = _decimal_of_shape(text, at, size_point, size_width) if size_point else -1
        if value >= 0:
            at += size_width
        else:
            field = at
            value, at = _decimal(text, at, of_quantity, False)
            if value < 0 or text[at] != _COMMA:
                fault = TOO_LARGE if value == -1 else TOO_FINE if value == -3 else NO_NUMBER
                break
            size_width = at - field
            size_point = _leading_digits(text, field)
            if text[field + size_point] != _POINT or not 2 <= size_width - size_point <= 9:
                size_point = 0
            if of_quantity != 8:
                size_point = 0
        quantities[row] = value
        k = 3
        if middle == SKIPPED:
            at = _passed(text, at + 1)
        elif middle == STATED:
            value, at = _decimal(text, at + 1, of_quote, True)
            if value < 0:
                fault = TOO_LARGE if value == -1 else TOO_FINE if value == -3 else NO_NUMBER
                break
            fourth[row] = value
        else:
            value, at = _fill_id(text, at + 1)
            if value == -2 or text[at] != _COMMA:
                break
            fourth[row] = value
            k = 4
            value, at = _fill_id(text, at + 1)
            if value == -2:
                break
            fifth[row] = value
        if text[at] != _COMMA:
            break
        k += 1
        at += 1
        value = _whole_of_width(text, at, time_width) if time_width else -1
        if value >= 0:
            at += time_width
        else:
            field = at
            value, at = _whole(text, at)
            if value < 0 or text[at] != _COMMA:
                break
            time_width = at - field if 9 <= at - field <= 16 else 0
        times[row] = value
        k += 1
        value, at = _side(text, at + 1)
        if value < 0:
            fault = NO_SIDE
            break
        sides[row] = value
        for _ in range(behind):
            if text[at] != _COMMA:
                break
            k += 1
            at = _passed(text, at + 1)
        if text[at] == _RETURN:
            at += 1
        if text[at] != _LINE:
            fault = TOO_LONG if text[at] == _COMMA else NO_NUMBER
            break
        fault = FINE
        at += 1
        row += 1
    if fault != FINE:
        report[FAULT_AT] = at
        report[FAULT_COLUMN] = k
        if text[at] == _LINE or text[at] == _RETURN:
            fault = TOO_SHORT if fault != TOO_LONG else fault
        at = begin
        lines -= 1
    report[ROWS] = row
    report[CONSUMED] = at
    report[LINES] = lines
    report[FAULT] = fault
