"""How factors are weighed: a method, its parameters, and both spelt in one line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Literal, get_args

Method = Literal["equal", "ic", "icir_shrunk", "ridge", "lasso", "lightgbm"]
METHODS: tuple[str, ...] = get_args(Method)

_OWN = {  # what each method reads, beside its name
    "equal": (),
    "ic": ("half_life_bars",),
    "icir_shrunk": ("prior_labels", "half_life_bars"),
    "ridge": ("penalty", "turnover_bps", "half_life_bars"),
    "lasso": ("penalty", "half_life_bars"),
    "lightgbm": ("trees", "leaves", "seed"),
}
_RANGES = {
    "penalty": (0.0, math.inf),
    "turnover_bps": (0.0, 10_000.0),
    "prior_labels": (0.0, math.inf),
    "half_life_bars": (1.0, math.inf),
    "trees": (1, 10_000),
    "leaves": (2, 1_000),
    "seed": (0, 2**31 - 1),
}
_SPELLING = re.compile(r"\s*([a-z_]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Combiner:
    """One way to weigh factors; a parameter that the method does not read must stay as it is.

    method:
        "equal": the same weight for each, in the direction that discovery gave it.
        "ic": by the mean RankIC of the labels that had matured.
        "icir_shrunk": by RankIC over its standard deviation, shrunk to equal weights: n / (n + n0)
            of the one, n0 / (n + n0) of the other.
        "ridge": least squares of demeaned forward returns on the factors' ranks, with what it
            costs to follow the signal in its objective; see `weights.ridge_coefficients`.
        "lasso": the same least squares with a penalty on the sum of magnitudes, without costs.
        "lightgbm": regression trees, of the extra `combine`; no formula can say what they do.
    penalty: of ridge, as a share of the mean diagonal of the normal matrix; of lasso, as a share
        of the penalty from which every weight is 0.
    turnover_bps: what it costs to trade one unit, one way, as a share of it, as labels are returns
        and so shares of the price; 0 leaves costs out.
    prior_labels: n0, in labels that do not overlap.
    half_life_bars: after so many bars a label counts half; infinite: all count the same.
    trees, leaves, seed: of lightgbm.
    Raises ValueError, with cause and cure.
    """

    method: Method
    penalty: float = 0.1
    turnover_bps: float = 10.0
    prior_labels: float = 500.0
    half_life_bars: float = math.inf
    trees: int = 100
    leaves: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"there is no way to combine called {self.method!r}; one of {', '.join(METHODS)}"
            )
        for entry in fields(self)[1:]:
            value = getattr(self, entry.name)
            if entry.name not in _OWN[self.method] and value != entry.default:
                own = ", ".join(_OWN[self.method]) or "no parameter"
                raise ValueError(
                    f"{self.method} does not read {entry.name}; leave it out ({self.method} reads "
                    f"{own})"
                )
            low, high = _RANGES[entry.name]
            if not low <= value <= high:  # NaN too
                raise ValueError(f"{entry.name} is {value:g}; give {_range(low, high)}")

    @property
    def text(self) -> str:
        """In one line, as `parse_combiner` reads it: ridge(penalty=0.1, turnover_bps=10)."""
        given = [
            f"{entry.name}={_plain(getattr(self, entry.name))}"
            for entry in fields(self)
            if entry.name in _OWN[self.method] and getattr(self, entry.name) != entry.default
        ]
        return f"{self.method}({', '.join(given)})" if given else self.method

    @property
    def linear(self) -> bool:
        """Whether its signal is a weighted sum of ranks, and so a formula."""
        return self.method != "lightgbm"

    @property
    def reads_products(self) -> bool:
        """Whether it needs to know how factors go together, beyond each one's RankIC."""
        return self.method in ("ridge", "lasso")


def parse_combiner(text: str) -> Combiner:
    """`method` or `method(parameter=number, ...)`. Raises ValueError, with cause and cure."""
    found = _SPELLING.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no way to combine; write a method, or a method with parameters: "
            "ridge(penalty=0.1, turnover_bps=10)"
        )
    method, inside = found[1], (found[2] or "").strip()
    if method not in METHODS:
        raise ValueError(
            f"there is no way to combine called {method!r}; one of {', '.join(METHODS)}"
        )
    given: dict[str, float | int] = {}
    for part in inside.split(",") if inside else ():
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or name not in _OWN[method]:
            own = ", ".join(f"{own}=NUMBER" for own in _OWN[method]) or "nothing in brackets"
            raise ValueError(f"{method} does not read {part.strip()!r}; it reads {own}")
        if name in given:
            raise ValueError(f"{name} is given twice to {method}; give it once")
        given[name] = _number(name, number)
    return Combiner(method, **given)  # type: ignore[arg-type]


def _number(name: str, text: str) -> float | int:
    whole = name in ("trees", "leaves", "seed")
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} is {text!r}; give {kind}") from None


def _plain(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _range(low: float, high: float) -> str:
    return f"{low:g} or more" if math.isinf(high) else f"a number from {low:g} to {high:g}"
