"""Operators over one bar of one symbol, in plain numpy.

Arguments are float64 arrays or scalars without infinities; results are finite or NaN. Callers
silence numpy's warnings: NaN is an answer here, not an accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alphamill.frames import FloatArray

_EXP_LIMIT = 700.0  # exp(700) is 1e304


def _finite(values: FloatArray) -> FloatArray:
    """Infinities to NaN, in place."""
    values[np.isinf(values)] = np.nan
    return values


def _div(x: FloatArray, y: FloatArray) -> FloatArray:
    return _finite(np.divide(x, y))


def _pow(x: FloatArray, y: FloatArray) -> FloatArray:
    values = _finite(np.power(x, y))
    unknown = np.isnan(x) | np.isnan(y)  # numpy says nan ** 0 == 1 ** nan == 1
    values[np.broadcast_to(unknown, values.shape)] = np.nan
    return values


def _signed_power(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.sign(x) * _pow(np.abs(x), y)


def _truth(holds: FloatArray, *inputs: FloatArray) -> FloatArray:
    """1 or 0, NaN where an input is."""
    values = holds.astype(np.float64)
    for x in inputs:
        values[np.broadcast_to(np.isnan(x), values.shape)] = np.nan
    return values


def _compare(ufunc: Callable[..., FloatArray]) -> Callable[..., FloatArray]:
    return lambda x, y: _truth(ufunc(x, y), x, y)


def _where(cond: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    chosen = np.where(cond != 0, x, y)
    chosen[np.broadcast_to(np.isnan(cond), chosen.shape)] = np.nan
    return chosen


def _mask(x: FloatArray, cond: FloatArray) -> FloatArray:
    return np.where(np.equal(cond, 0) | np.isnan(cond), np.nan, x)


def _log(x: FloatArray) -> FloatArray:
    return _finite(np.log(x))


def _sigmoid(x: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _fill(x: FloatArray, value: FloatArray) -> FloatArray:
    return np.where(np.isnan(x), value, x)


ELEMENTWISE: Mapping[str, Callable[..., FloatArray]] = {
    "add": lambda x, y: _finite(np.add(x, y)),
    "sub": lambda x, y: _finite(np.subtract(x, y)),
    "mul": lambda x, y: _finite(np.multiply(x, y)),
    "div": _div,
    "pow": _pow,
    "neg": np.negative,
    "lt": _compare(np.less),
    "le": _compare(np.less_equal),
    "gt": _compare(np.greater),
    "ge": _compare(np.greater_equal),
    "eq": _compare(np.equal),
    "ne": _compare(np.not_equal),
    "and": lambda x, y: _truth((x != 0) & (y != 0), x, y),
    "or": lambda x, y: _truth((x != 0) | (y != 0), x, y),
    "not": lambda x: _truth(np.equal(x, 0), x),
    "where": _where,
    "mask": _mask,
    "abs": np.abs,
    "sign": np.sign,
    "log": _log,
    "log1p_abs": lambda x: np.sign(x) * np.log1p(np.abs(x)),
    "exp": lambda x: np.exp(np.clip(x, -_EXP_LIMIT, _EXP_LIMIT)),
    "sqrt": np.sqrt,
    "square": lambda x: _finite(np.square(x)),
    "signed_power": _signed_power,
    "inv": lambda x: _finite(np.divide(1.0, x)),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "clip": np.clip,
    "floor": np.floor,
    "min": np.minimum,
    "max": np.maximum,
    "is_nan": lambda x: np.isnan(x).astype(np.float64),
    "fill": _fill,
}
"""Canonical name -> function of arrays (bars, symbols), broadcasting."""
