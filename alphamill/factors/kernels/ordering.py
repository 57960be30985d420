"""The order of many finite values, by radix: no comparison that a processor could mispredict."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray, IntArray
from alphamill.jit import inline

_DIGIT, _DIGITS = 256, 4
_SIGN = np.uint64(1 << 63)
_LOW, _BYTE = np.uint64(32), np.uint64(_DIGIT - 1)


@inline
def order_of(values: FloatArray, n: int) -> IntArray:
    """The places of the n finite values, int32, the smallest's first; 0 and -0 are equal.

    Doubles compare as integers do once the bits of negative ones are turned. The 32 bits from the
    first in which any two differ are sorted byte by byte; what is equal in those, which is seldom
    much, by insertion.
    """
    keys = np.empty((2, n), dtype=np.uint64)
    places = np.empty((2, n), dtype=np.int32)
    counts = np.zeros((_DIGITS, _DIGIT), dtype=np.int32)
    bits = (values[:n] + 0.0).view(np.uint64)
    differing = np.uint64(0)
    for i in range(n):
        keys[0, i] = ~bits[i] if bits[i] & _SIGN else bits[i] | _SIGN
        places[0, i] = i
        differing |= keys[0, i] ^ keys[0, 0]
    common = 0
    while differing and not differing & _SIGN:
        differing <<= np.uint64(1)
        common += 1
    for i in range(n):
        keys[0, i] <<= np.uint64(common)  # what all have in common sorts nothing
        for digit in range(_DIGITS):
            counts[digit, (keys[0, i] >> (_LOW + np.uint64(8 * digit))) & _BYTE] += 1
    now = 0
    for digit in range(_DIGITS):
        shift = _LOW + np.uint64(8 * digit)
        start = counts[digit]
        total = 0
        for value in range(_DIGIT):
            many = start[value]
            start[value] = total
            total += many
        for i in range(n):
            key = keys[now, i]
            at = start[(key >> shift) & _BYTE]
            start[(key >> shift) & _BYTE] = at + 1
            keys[1 - now, at] = key
            places[1 - now, at] = places[now, i]
        now = 1 - now
    order: IntArray = places[now]
    _insert(keys[now], order)
    return order


@inline
def _insert(keys: IntArray, order: IntArray) -> None:
    """Sort the keys, and `order` along with them, by insertion."""
    for i in range(1, keys.shape[0]):
        key, place, at = keys[i], order[i], i
        while at > 0 and keys[at - 1] > key:
            keys[at], order[at] = keys[at - 1], order[at - 1]
            at -= 1
        keys[at], order[at] = key, place
