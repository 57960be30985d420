"""Units: how a value changes when one coin's prices and volumes are quoted on another scale.

A price is (1, 0, 0), base volume (0, 1, 0), quote volume (1, 1, 0), a number of trades (0, 0, 1),
a ratio (0, 0, 0). Two coins may be compared only in a unit that does not change when a coin is
split a million to one: price x 1e-6, volume x 1e6; that is, when the first two exponents agree.
The logarithm of a quantity does not scale, it shifts; `is_log` marks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType


class UnitRule(Enum):
    """How an operator's unit follows from its arguments'."""

    ADD = auto()  # equal units
    SUB = auto()
    MUL = auto()
    DIV = auto()
    POWER = auto()  # literal exponent, or both pure numbers
    SAME = auto()  # of the first argument; a shift by a constant keeps its sign or flips it
    SHIFT = auto()  # as x; a shift of x shifts the result
    SPREAD = auto()  # as x; a shift of x changes nothing
    SCALED = auto()  # as x; x must not be a logarithm
    SUM = auto()  # as x; a shift counts once a bar
    PRODUCT = auto()  # x to the power bars
    VARIANCE = auto()  # x squared; a shift changes nothing
    COVARIANCE = auto()  # x times y
    BETA = auto()  # y over x
    RATIO = auto()  # pure number from a scaled one
    INVARIANT = auto()  # pure number whatever x is
    SIGN = auto()  # pure number; x must not be a logarithm
    TRUTH = auto()
    COMPARE = auto()  # equal units, gives a truth
    WHERE = auto()
    CHOICE = auto()  # equal units, as they are
    FILL = auto()
    LOG = auto()
    EXP = auto()
    SQRT = auto()
    SQUARE = auto()
    INVERSE = auto()
    PURE = auto()  # pure numbers only
    ACROSS = auto()  # comparable between coins; gives a pure number
    ACROSS_SAME = auto()  # comparable between coins; unit kept


@dataclass(frozen=True, slots=True)
class Unit:
    """Exponents of price, base volume and count; `is_log`: of the quantity whose log this is."""

    price: float = 0.0
    volume: float = 0.0
    count: float = 0.0
    is_log: bool = False

    @property
    def is_pure(self) -> bool:
        """A plain number."""
        return (self.price, self.volume, self.count) == (0, 0, 0)

    @property
    def is_comparable(self) -> bool:
        """Whether values of two coins may be compared."""
        return abs(self.price - self.volume) < 1e-9

    def plus(self, other: Unit, times: float = 1.0) -> Unit:
        """Exponents of this + times * other's; pure results are no logarithms."""
        exponents = (
            round(self.price + times * other.price, 9),
            round(self.volume + times * other.volume, 9),
            round(self.count + times * other.count, 9),
        )
        is_log = (self.is_log or other.is_log) and exponents != (0, 0, 0)
        return Unit(*exponents, is_log)

    def times(self, factor: float) -> Unit:
        """All exponents multiplied."""
        return Unit(is_log=self.is_log).plus(self, factor)

    def __str__(self) -> str:
        known = _NAMES.get((self.price, self.volume, self.count))
        if known is None:
            parts = (("price", self.price), ("volume", self.volume), ("count", self.count))
            known = "*".join(n if e == 1 else f"{n}^{e:g}" for n, e in parts if e)
        return f"log {known}" if self.is_log else known


_NAMES: Mapping[tuple[float, float, float], str] = {
    (0, 0, 0): "ratio",
    (1, 0, 0): "price",
    (0, 1, 0): "volume",
    (1, 1, 0): "quote",
    (0, 0, 1): "count",
    (1, 1, -1): "quote/trade",
    (-1, -1, 0): "1/quote",
    (-0.5, -0.5, 0): "1/sqrt(quote)",
}

PURE = Unit()
UNITS: Mapping[str, Unit] = MappingProxyType(
    {name: Unit(*exponents) for exponents, name in _NAMES.items()}
)
"""Units by name: ratio, price, volume, quote, count, quote/trade, 1/quote, 1/sqrt(quote)."""
