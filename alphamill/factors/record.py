"""What is said of an operator: arguments, look-back, unit rule, meaning, example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from alphamill.factors.units import UnitRule


class Kind(StrEnum):
    """What an argument must be."""

    SERIES = "series"  # any expression
    BARS = "bars"  # a literal whole number of bars
    NUMBER = "number"  # a literal number
    GROUP = "group"  # the name of a group table


class Family(StrEnum):
    """What an operator looks at for one value."""

    BAR = "one bar of one symbol"
    WINDOW = "a window of one symbol, ending at this bar"
    CROSS = "all symbols at one bar"
    GROUPED = "the symbols of one group at one bar"


class History(StrEnum):
    """How many earlier bars an operator's literals ask for."""

    NONE = "none"
    WINDOW = "bars - 1"
    LAG = "bars"
    LAGGED_WINDOW = "bars - 1 + lag"
    EXPONENTIAL = "bars until 1e-4 of the weight is left, at least bars and at most 5000, less 1"


FORGOTTEN, LONGEST_MEMORY_BARS = 1e-4, 5_000


def exponential_span(bars: int, alpha: float) -> int:
    """Bars that an exponential mean looks at, this one included: older ones would weigh FORGOTTEN.

    alpha: the newest value's weight. At least `bars`; else at most LONGEST_MEMORY_BARS, so that
    every window that can be written can be looked back on.
    """
    if alpha >= 1:
        return bars
    span = math.ceil(math.log(FORGOTTEN) / math.log1p(-alpha))
    return max(bars, min(span, LONGEST_MEMORY_BARS))


@dataclass(frozen=True, slots=True)
class Param:
    """An argument: its kind, range (numbers and bars) and default (None: it must be given)."""

    name: str
    kind: Kind = Kind.SERIES
    low: float = 1
    high: float = float("inf")
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the language."""

    name: str
    params: tuple[Param, ...]
    family: Family
    unit: UnitRule
    meaning: str
    example: str
    history: History = History.NONE
    aliases: tuple[str, ...] = ()
    symbol: str = ""  # infix spelling, if it has one
    commutative: bool = False  # the first two arguments may change places
    # Of an exponential mean: the newest value's weight, from the literals.
    alpha: Callable[..., float] | None = field(default=None, compare=False, repr=False)

    @property
    def signature(self) -> str:
        """As a reader sees it: "(x, bars)"."""
        names = (p.name if p.default is None else f"{p.name}={p.default:g}" for p in self.params)
        return f"({', '.join(names)})"

    @property
    def kinds(self) -> str:
        """As an error message says it: "(series, bars)"."""
        kinds = (p.kind if p.default is None else f"[{p.kind}]" for p in self.params)
        return f"({', '.join(kinds)})"

    @property
    def required(self) -> int:
        """How many arguments must be given."""
        return sum(p.default is None for p in self.params)

    def history_bars(self, bars: tuple[int, ...], numbers: tuple[float, ...] = ()) -> int:
        """Earlier bars that this operator itself needs, given its literal bars and numbers."""
        if self.history is History.NONE:
            return 0
        if self.history is History.LAG:
            return bars[0]
        if self.alpha is not None:
            return exponential_span(bars[0], self.alpha(*bars, *numbers)) - 1
        return sum(bars) - 1


X, Y = Param("x"), Param("y")
COND = Param("cond")
BARS = Param("bars", Kind.BARS, low=1)
BARS2 = Param("bars", Kind.BARS, low=2)
BARS3 = Param("bars", Kind.BARS, low=3)
BARS4 = Param("bars", Kind.BARS, low=4)
LAG = Param("lag", Kind.BARS)
GROUP = Param("group", Kind.GROUP)


def number(name: str, low: float, high: float, default: float | None = None) -> Param:
    """A literal number in a range."""
    return Param(name, Kind.NUMBER, low, high, default)


ANY = (-float("inf"), float("inf"))
"""The range of a number that may be any."""


def bar(
    name: str,
    params: tuple[Param, ...],
    unit: UnitRule,
    meaning: str,
    example: str,
    *aliases: str,
    symbol: str = "",
    commutative: bool = False,
) -> Operator:
    """An operator over one bar of one symbol."""
    return Operator(
        name, params, Family.BAR, unit, meaning, example, History.NONE, aliases, symbol, commutative
    )


def window(
    name: str,
    params: tuple[Param, ...],
    unit: UnitRule,
    meaning: str,
    example: str,
    *aliases: str,
    history: History = History.WINDOW,
    commutative: bool = False,
    alpha: Callable[..., float] | None = None,
) -> Operator:
    """An operator over a window of one symbol."""
    common = (name, params, Family.WINDOW, unit, meaning, example, history, aliases)
    return Operator(*common, commutative=commutative, alpha=alpha)


def cross(
    name: str, params: tuple[Param, ...], unit: UnitRule, meaning: str, example: str, *aliases: str
) -> Operator:
    """An operator over the symbols of a bar, or of a group of them."""
    family = Family.GROUPED if GROUP in params else Family.CROSS
    return Operator(name, params, family, unit, meaning, example, History.NONE, aliases)
