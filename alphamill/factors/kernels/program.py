"""A list of operators carried out at one bar after another, over rows that are kept between them.

Every step has its own rows of one array, the newest last and as many before it as a window that
reads them needs; a new bar costs one row a step, and one call for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alphamill.factors.kernels import cross_section, moments, newest, pairs, pointwise
from alphamill.frames import FloatArray, IntArray
from alphamill.jit import inline, kernel

# Columns of a program, a row a step.
CODE, MODE, BASE, PLACES, KEPT, FIRST_ARG, GROUPS, BEFORE = 0, 1, 2, 3, 4, 5, 8, 9
"""What it does and how; the first of its rows in the array, how many there are and how many of them
are read; the steps that it reads, three at most; its group table; bars before the newest that it
looks back on."""
COLUMNS = 10
AMOUNT, TIE = 0, 1  # columns of a program's numbers

_ADD, _SUB, _MUL, _DIV, _NEG, _ABS, _SIGN, _NOT = 0, 1, 2, 3, 4, 5, 6, 7
_LT, _LE, _EQ, _NE, _AND, _OR, _WHERE = 10, 11, 12, 13, 14, 15, 16
_DELAY, _CHANGE, _SUM, _MEAN, _DECAY, _SECOND, _ZSCORE, _PAIR = 30, 31, 32, 33, 34, 35, 36, 37
_EXTREME, _AGE, _RANK, _ACROSS = 38, 39, 40, 50
ELSEWHERE = 60  # its row is made room for, and filled by somebody else
_TURNED = 1  # mode: the second argument compared with the first


class Operation(NamedTuple):
    """Which step of a program does an operator, and in which mode."""

    code: int
    mode: int = 0


OPERATIONS: Mapping[str, Operation] = {
    "add": Operation(_ADD),
    "sub": Operation(_SUB),
    "mul": Operation(_MUL),
    "div": Operation(_DIV),
    "neg": Operation(_NEG),
    "abs": Operation(_ABS),
    "sign": Operation(_SIGN),
    "not": Operation(_NOT),
    "lt": Operation(_LT),
    "le": Operation(_LE),
    "gt": Operation(_LT, _TURNED),
    "ge": Operation(_LE, _TURNED),
    "eq": Operation(_EQ),
    "ne": Operation(_NE),
    "and": Operation(_AND),
    "or": Operation(_OR),
    "where": Operation(_WHERE),
    "delay": Operation(_DELAY),
    "delta": Operation(_CHANGE, pointwise.DELTA),
    "pct_change": Operation(_CHANGE, pointwise.RELATIVE),
    "ts_sum": Operation(_SUM),
    "ts_mean": Operation(_MEAN),
    "decay_linear": Operation(_DECAY),
    "wma": Operation(_DECAY),
    "ts_std": Operation(_SECOND, moments.STD),
    "ts_std0": Operation(_SECOND, moments.STD0),
    "ts_var": Operation(_SECOND, moments.VAR),
    "ts_zscore": Operation(_ZSCORE, moments.ZSCORE),
    "ts_corr": Operation(_PAIR, pairs.CORR),
    "ts_cov": Operation(_PAIR, pairs.COV),
    "ts_beta": Operation(_PAIR, pairs.BETA),
    "ts_regress_resid": Operation(_PAIR, pairs.RESID),
    "ts_min": Operation(_EXTREME, -1),
    "ts_max": Operation(_EXTREME, 1),
    "ts_argmin": Operation(_AGE, -1),
    "ts_argmax": Operation(_AGE, 1),
    "ts_rank": Operation(_RANK),
    "rank": Operation(_ACROSS, cross_section.RANK),
    "zscore": Operation(_ACROSS, cross_section.ZSCORE),
    "demean": Operation(_ACROSS, cross_section.DEMEAN),
    "scale": Operation(_ACROSS, cross_section.SCALE),
    "group_rank": Operation(_ACROSS, cross_section.RANK),
    "group_zscore": Operation(_ACROSS, cross_section.ZSCORE),
    "group_demean": Operation(_ACROSS, cross_section.DEMEAN),
    "group_neutralize": Operation(_ACROSS, cross_section.DEMEAN),
}
"""Of the others, which are rarer or whose bits are numpy's, each is called by itself."""


@inline
def _arithmetic(code: int, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """Of two arrays; an infinite result is NaN."""
    n = out.shape[0]
    if code == _ADD:
        for j in range(n):
            value = x[j] + y[j]
            out[j] = value if np.abs(value) < np.inf else np.nan
    elif code == _SUB:
        for j in range(n):
            value = x[j] - y[j]
            out[j] = value if np.abs(value) < np.inf else np.nan
    elif code == _MUL:
        for j in range(n):
            value = x[j] * y[j]
            out[j] = value if np.abs(value) < np.inf else np.nan
    else:
        for j in range(n):
            value = x[j] / y[j]
            out[j] = value if np.abs(value) < np.inf else np.nan


@inline
def _of_one(code: int, x: FloatArray, out: FloatArray) -> None:
    n = out.shape[0]
    if code == _NEG:
        for j in range(n):
            out[j] = -x[j]
    elif code == _ABS:
        for j in range(n):
            out[j] = np.abs(x[j])
    elif code == _SIGN:
        for j in range(n):
            value = (1.0 if x[j] > 0.0 else 0.0) - (1.0 if x[j] < 0.0 else 0.0)
            out[j] = np.nan if math.isnan(x[j]) else value
    else:
        for j in range(n):
            value = 1.0 if x[j] == 0.0 else 0.0
            out[j] = np.nan if math.isnan(x[j]) else value


@inline
def _holds(code: int, x: float, y: float) -> bool:
    if code == _LT:
        return x < y
    if code == _LE:
        return x <= y
    if code == _EQ:
        return x == y
    if code == _NE:
        return x != y
    if code == _AND:
        return x != 0.0 and y != 0.0
    return x != 0.0 or y != 0.0


@inline
def _compare(code: int, mode: int, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """1 or 0, NaN where either is."""
    one, two = (y, x) if mode == _TURNED else (x, y)
    for j in range(out.shape[0]):
        value = 1.0 if _holds(code, one[j], two[j]) else 0.0
        out[j] = np.nan if math.isnan(x[j]) or math.isnan(y[j]) else value


@inline
def _choose(cond: FloatArray, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    for j in range(out.shape[0]):
        value = x[j] if cond[j] != 0.0 else y[j]
        out[j] = np.nan if math.isnan(cond[j]) else value


@inline
def _look_back(
    code: int,
    mode: int,
    x: FloatArray,
    tie: float,
    first: int,
    scratch: FloatArray,
    out: FloatArray,
) -> None:
    """An operator over a window of one array."""
    if code == _DELAY:
        newest.newest_delay(x, out)
    elif code == _CHANGE:
        newest.newest_change(x, mode, out)
    elif code == _SUM:
        newest.newest_sum(x, first, scratch, out)
    elif code == _MEAN:
        newest.newest_mean(x, first, scratch, out)
    elif code == _DECAY:
        newest.newest_decay(x, first, scratch, out)
    elif code == _RANK:
        newest.newest_rank(x, tie, scratch, out)
    elif code == _EXTREME:
        newest.newest_extreme(x, float(mode), out)
    elif code == _AGE:
        newest.newest_extreme_age(x, float(mode), scratch, out)
    else:
        newest.newest_second(x, mode, code == _ZSCORE, first, scratch, out)


@inline
def _next_place(program: IntArray, step: int, newest_row: IntArray, rows: FloatArray) -> int:
    """The row of a step's next bar; its last rows move to the front where there is no more."""
    base, places, kept = program[step, BASE], program[step, PLACES], program[step, KEPT]
    place = newest_row[step] + 1
    if place == base + places:
        for i in range(kept - 1):
            for j in range(rows.shape[1]):
                rows[base + i, j] = rows[place - kept + 1 + i, j]
        place = base + kept - 1
    newest_row[step] = place
    return int(place)


@kernel
def carry_out(
    program: IntArray,
    numbers: FloatArray,
    begin: int,
    end: int,
    newest_bar: int,
    groups: IntArray,
    n_groups: IntArray,
    newest_row: IntArray,
    rows: FloatArray,
    scratch: FloatArray,
) -> None:
    """Steps begin to end - 1 at the bar of that number, each after those that it reads.

    newest_row: of each step, and is moved on. groups: a row a table, as of
    `cross_section.across`.
    """
    for step in range(begin, end):
        code, mode = program[step, CODE], program[step, MODE]
        one, two, three = program[step, FIRST_ARG], program[step, FIRST_ARG + 1], 0
        before = program[step, BEFORE]
        place = _next_place(program, step, newest_row, rows)
        if code == ELSEWHERE:
            continue
        out, x = rows[place], rows[newest_row[one]]
        if code < _NEG:
            _arithmetic(code, x, rows[newest_row[two]], out)
        elif code < _LT:
            _of_one(code, x, out)
        elif code < _WHERE:
            _compare(code, mode, x, rows[newest_row[two]], out)
        elif code == _WHERE:
            three = program[step, FIRST_ARG + 2]
            _choose(x, rows[newest_row[two]], rows[newest_row[three]], out)
        elif code == _ACROSS:
            table = program[step, GROUPS]
            cross_section.across(
                rows[newest_row[one] : newest_row[one] + 1],
                groups[table],
                n_groups[table],
                mode,
                numbers[step, AMOUNT],
                numbers[step, TIE],
                rows[place : place + 1],
            )
        else:
            window = rows[newest_row[one] - before : newest_row[one] + 1]
            first = newest_bar - before
            if code == _PAIR:
                other = rows[newest_row[two] - before : newest_row[two] + 1]
                newest.newest_pair(window, other, mode, first, scratch, out)
            else:
                _look_back(code, mode, window, numbers[step, TIE], first, scratch, out)


@kernel
def same_bits(x: FloatArray, y: FloatArray) -> bool:
    """Whether two arrays (bars, symbols) hold the same doubles; by rows, which are SIMD."""
    for i in range(x.shape[0]):
        one, two = x[i].view(np.int64), y[i].view(np.int64)
        differing = 0
        for j in range(x.shape[1]):
            differing += 1 if one[j] != two[j] else 0
        if differing > 0:
            return False
    return True
