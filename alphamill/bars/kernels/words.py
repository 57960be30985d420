"""Eight bytes at a time, and products of 128 bits: instructions that numba has no function for."""

# ruff: noqa: ARG001  numba reads the parameters' names

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from alphamill.jit import fused

_WORD = ir.IntType(64)
_LONG = ir.IntType(128)


def _load_word(_typing: Any, text: Any, position: Any) -> Any:
    """The eight bytes from `position` on, the first one lowest; no bounds are checked."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(pointer, _WORD.as_pointer()), align=1)

    return types.uint64(text, types.int64), code


def _trailing_zeros(_typing: Any, word: Any) -> Any:
    """Zero bits below the lowest set one; 64 for 0."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


def _high_product(_typing: Any, a: Any, b: Any) -> Any:
    """Bits 64 to 127 of a product of two unsigned words."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = [builder.zext(argument, _LONG) for argument in arguments]
        product = builder.mul(wide[0], wide[1])
        return builder.trunc(builder.lshr(product, ir.Constant(_LONG, 64)), _WORD)

    return types.uint64(types.uint64, types.uint64), code


load_word: Callable[..., Any] = intrinsic(_load_word)
trailing_zeros: Callable[..., Any] = intrinsic(_trailing_zeros)
high_product: Callable[..., Any] = intrinsic(_high_product)


@fused
def eight_digits(digits: np.uint64) -> np.uint64:
    """The number of eight digits (0 to 9, not text), the first one in the lowest byte."""
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    even = (pairs & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    odd = ((pairs >> np.uint64(16)) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    number: np.uint64 = ((even + odd) >> np.uint64(32)) & np.uint64(0xFFFFFFFF)
    return number
