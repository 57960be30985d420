"""Rows of text to columns of exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.bars.kernels.words import eight_digits, load_word, trailing_zeros
from alphamill.frames import IntArray
from alphamill.jit import inline, kernel

ByteArray = NDArray[np.uint8]

PADDING = 16  # bytes that may be read behind the last row

SKIPPED, WHOLE, EXACT, ROUNDED, SIDE = range(5)
"""Kinds of columns: read over; a whole number; a decimal number of at most the stated decimals; one
whose further digits are rounded off; a boolean."""

FINE, NO_NUMBER, NO_SIDE, TOO_SHORT, TOO_LONG, TOO_LARGE, TOO_FINE = range(7)
"""What is wrong with a row; `TOO_LARGE`: with fewer decimals it may fit."""

ROWS, CONSUMED, FAULT, FAULT_AT, FAULT_COLUMN = range(5)
"""What `read_rows` reports."""

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
_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_MOST = 2**63 - 1


@inline
def _digits(word: np.uint64) -> tuple[np.uint64, int]:
    """The digits of eight bytes of text as numbers, and how many lead."""
    digits = word ^ _DIGITS
    others = ((digits + _ABOVE_NINE) | digits) & _HIGH
    return digits, trailing_zeros(others) >> 3


@inline
def _whole(text: ByteArray, at: int) -> tuple[int, int]:
    """A whole number of up to 18 digits and where it ends; -1 for more, -2 for none."""
    value = 0
    start = at
    while True:
        digits, n = _digits(load_word(text, at))
        if n:
            part = eight_digits(digits << np.uint64(64 - 8 * n))
            value = value * _POWERS[n] + np.int64(part)
            at += n
        if n < 8:
            break
        if at - start > 18:
            break
    if at == start:
        return -2, at
    if at - start > 18:
        return -1, at
    return value, at


@inline
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


@inline
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


@inline
def _decimal(text: ByteArray, at: int, decimals: int, rounds: bool) -> tuple[int, int]:
    """A decimal number times 10**decimals and where it ends; below 0 what is wrong, as above."""
    whole, at = _whole(text, at)
    if whole < 0:
        return whole, at
    fraction: Any = 0
    beyond = 0
    if text[at] == _POINT:
        at += 1
        digits, n = _digits(load_word(text, at))
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
    return _scaled(whole, fraction, decimals), at


@inline
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


@inline
def _side(text: ByteArray, at: int) -> tuple[int, int]:
    """A boolean and where it ends; -1 if it is none."""
    word = load_word(text, at) | _LOWER
    if word & _FOUR == _TRUE:
        return 1, at + 4
    if word & _FIVE == _FALSE:
        return 0, at + 5
    if text[at] == 48 or text[at] == 49:
        return text[at] - 48, at + 1
    return -1, at


@kernel
def read_rows(  # noqa: C901, PLR0912, PLR0915  one pass, without calls between its steps
    text: ByteArray,
    stop: int,
    kinds: IntArray,
    places: IntArray,
    decimals: IntArray,
    columns: NDArray[np.int64],
    sides: ByteArray,
    report: IntArray,
) -> None:
    """Whole rows of text[:stop], which ends with a line break and has PADDING bytes behind it.

    kinds: of the text's columns. places: which row of `columns` takes it. decimals: of it.
    columns: (columns, rows), times 10**decimals. sides: the SIDE column, 1 or 0.
    report: see `ROWS`; with a fault, rows and bytes before its row.
    """
    n_columns = kinds.size
    at = 0
    row = 0
    fault = FINE
    while at < stop:
        if text[at] == _LINE or (text[at] == _RETURN and text[at + 1] == _LINE):
            at += 1 if text[at] == _LINE else 2
            continue
        start = at
        k = 0
        while k < n_columns:
            kind = kinds[k]
            if kind in (EXACT, ROUNDED):
                value, at = _decimal(text, at, decimals[k], kind == ROUNDED)
                if value < 0:
                    fault = TOO_LARGE if value == -1 else NO_NUMBER if value == -2 else TOO_FINE
                    break
                columns[places[k], row] = value
            elif kind == WHOLE:
                void = text[at] == 45 and text[at + 1] == 49  # -1 stands for no trade
                value, at = _whole(text, at + void)
                if value < 0 or (void and value != 1):
                    fault = NO_NUMBER
                    break
                columns[places[k], row] = -1 if void else value
            elif kind == SIDE:
                value, at = _side(text, at)
                if value < 0:
                    fault = NO_SIDE
                    break
                sides[row] = value
            else:
                at = _passed(text, at)
            k += 1
            if k < n_columns:
                if text[at] != _COMMA:
                    at_end = text[at] == _LINE or text[at] == _RETURN
                    fault = TOO_SHORT if at_end else NO_NUMBER
                    k -= 0 if at_end else 1
                    break
                at += 1
        if fault == FINE:
            if text[at] == _RETURN:
                at += 1
            if text[at] != _LINE:
                k = n_columns - 1
                fault = TOO_LONG if text[at] == _COMMA else NO_NUMBER
        if fault != FINE:
            report[FAULT_AT] = at
            report[FAULT_COLUMN] = k
            at = start
            break
        at += 1
        row += 1
    report[ROWS] = row
    report[CONSUMED] = at
    report[FAULT] = fault
