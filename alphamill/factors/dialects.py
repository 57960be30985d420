"""Other spellings of the language, translated while parsing.

alpha101  Kakushadze, "101 Formulaic Alphas" (2015), appendix A: case does not matter, windows are
          rounded down, min and max with a literal second argument are windows. signedpower is read
          as its name says, sign(x) |x|^a; rank and ts_rank keep this language's range (0, 1].
qlib      Microsoft Qlib's expressions: $close, Ref, Mean, Greater (the larger of two), ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alphamill.errors import FactorError
from alphamill.factors.operators import SPELLINGS
from alphamill.factors.syntax import Node, Number


@dataclass(frozen=True)
class Dialect:
    """How names and windows are spelt.

    operators: spelling -> canonical name; a spelling that is absent is taken as our own.
    fields: names allowed besides the usual ones -> unit.
    """

    name: str
    operators: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    ignores_case: bool = False
    floors_windows: bool = False
    field_prefix: str = ""
    group_prefix: str = ""
    windowed: Mapping[str, str] = field(default_factory=dict)  # by a literal second argument

    def field_name(self, text: str) -> str:
        """Our name of a field or group."""
        text = text.lower() if self.ignores_case else text
        for prefix in (self.field_prefix, self.group_prefix):
            if prefix and text.startswith(prefix):
                return text.removeprefix(prefix)
        return text

    def operator_name(self, text: str) -> str | None:
        """Our canonical name of an operator; None if there is none."""
        text = text.lower() if self.ignores_case else text
        return self.operators.get(text) or SPELLINGS.get(text)

    def resolve(self, operator: str, args: tuple[Node, ...]) -> str:
        """The operator that the arguments show to be meant."""
        if operator in self.windowed and len(args) == 2 and isinstance(args[1], Number):
            return self.windowed[operator]
        return operator

    def spellings(self) -> list[str]:
        """Every operator name that this dialect knows."""
        return [*SPELLINGS, *self.operators]


_ALPHA101 = Dialect(
    "alpha101",
    operators={
        "correlation": "ts_corr",
        "covariance": "ts_cov",
        "stddev": "ts_std",
        "sum": "ts_sum",
        "product": "ts_product",
        "signedpower": "signed_power",
        "indneutralize": "group_neutralize",
    },
    fields={"cap": "quote"},
    ignores_case=True,
    floors_windows=True,
    group_prefix="indclass.",
    windowed={"min": "ts_min", "max": "ts_max"},
)

_QLIB = Dialect(
    "qlib",
    operators={
        "Ref": "delay",
        "Delta": "delta",
        "Mean": "ts_mean",
        "Sum": "ts_sum",
        "Std": "ts_std",
        "Var": "ts_var",
        "Skew": "ts_skew",
        "Kurt": "ts_kurt",
        "Max": "ts_max",
        "Min": "ts_min",
        "IdxMax": "ts_argmax",
        "IdxMin": "ts_argmin",
        "Med": "ts_median",
        "Mad": "ts_mad",
        "Quantile": "ts_quantile",
        "Rank": "ts_rank",
        "Count": "ts_count",
        "EMA": "ema",
        "WMA": "decay_linear",
        "Corr": "ts_corr",
        "Cov": "ts_cov",
        "Slope": "ts_slope",
        "Rsquare": "ts_rsquare",
        "Resi": "ts_resid",
        "Abs": "abs",
        "Sign": "sign",
        "Log": "log",
        "Power": "pow",
        "Add": "add",
        "Sub": "sub",
        "Mul": "mul",
        "Div": "div",
        "Greater": "max",
        "Less": "min",
        "Gt": "gt",
        "Ge": "ge",
        "Lt": "lt",
        "Le": "le",
        "Eq": "eq",
        "Ne": "ne",
        "And": "and",
        "Or": "or",
        "Not": "not",
        "If": "where",
    },
    field_prefix="$",
)

DIALECTS: Mapping[str, Dialect] = {"": Dialect(""), "alpha101": _ALPHA101, "qlib": _QLIB}
"""Dialects by name; "" is our own."""


def dialect_named(name: str) -> Dialect:
    """The dialect, or FactorError naming those that exist."""
    if name not in DIALECTS:
        known = " or ".join(repr(known) for known in DIALECTS if known)
        raise FactorError(f"unknown dialect '{name}'", 0, known)
    return DIALECTS[name]
