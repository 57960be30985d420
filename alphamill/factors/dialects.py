"""Other spellings of the language, translated while parsing.

A dialect changes how things are written; what an operator computes stays ours, and
`DIFFERENCES` (see `alphamill operators --dialects`) says where that is not what the other does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from alphamill.errors import FactorError
from alphamill.factors.operators import SPELLINGS
from alphamill.factors.spellings import LOOSE, loose, refusal
from alphamill.factors.syntax import Call, Node, Number


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
    rewrites: Mapping[str, Callable[[Call], Node]] = field(default_factory=dict)  # by spelling
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # why not, what to write

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
        known = self.operators.get(text) or SPELLINGS.get(text)
        if known or self.refusal(text):
            return known
        return LOOSE.get(loose(text))

    def refusal(self, text: str) -> tuple[str, str] | None:
        """Why a name is not taken and what to write instead, if it is known for another sense."""
        return self.refused.get(text) or refusal(text)

    def rewritten(self, text: str, call: Call) -> Node:
        """The call, where this dialect counts otherwise turned into what it means."""
        rewrite = self.rewrites.get(text)
        return rewrite(call) if rewrite else call

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
    operators={"sum": "ts_sum", "product": "ts_product", "indneutralize": "group_neutralize"},
    fields={"cap": "quote"},
    ignores_case=True,
    floors_windows=True,
    group_prefix="indclass.",
    windowed={"min": "ts_min", "max": "ts_max"},
)


def _from_oldest(call: Call) -> Node:
    """Bars ago to the place in the window, 1 for its oldest bar."""
    return Call("sub", (call.args[1], call))


_QLIB = Dialect(
    "qlib",
    operators={
        "Max": "ts_max",
        "Min": "ts_min",
        "IdxMax": "ts_argmax",
        "IdxMin": "ts_argmin",
        "Mad": "ts_mad",
        "Quantile": "ts_quantile",
        "Rank": "ts_rank",
        "WMA": "decay_linear",
        "Slope": "ts_slope",
        "Rsquare": "ts_rsquare",
        "Resi": "ts_resid",
        "Greater": "max",
        "Less": "min",
    },
    field_prefix="$",
    rewrites={"IdxMax": _from_oldest, "IdxMin": _from_oldest},
    refused={
        "Count": (
            "counts the bars that are not NaN: a full window has them all",
            "ts_count(cond, bars)",
        ),
        "Mask": ("takes another instrument's series", "mask(x, cond)"),
    },
)

DIALECTS: Mapping[str, Dialect] = {"": Dialect(""), "alpha101": _ALPHA101, "qlib": _QLIB}
"""Dialects by name; "" is our own."""


def dialect_named(name: str) -> Dialect:
    """The dialect, or FactorError naming those that exist."""
    if name not in DIALECTS:
        known = " or ".join(repr(known) for known in DIALECTS if known)
        raise FactorError(f"unknown dialect '{name}'", 0, known)
    return DIALECTS[name]


@dataclass(frozen=True, slots=True)
class Difference:
    """A point on which dialects compute different numbers from one formula."""

    point: str
    ours: str
    alpha101: str
    qlib: str


# fmt: off
DIFFERENCES = (
    Difference("first bars", "NaN until the window is full", "not said",
               "partial windows (min_periods=1)"),
    Difference("NaN in the window", "NaN", "not said", "left out"),
    Difference("std, var", "divisor n - 1; ts_std0 has n", "not said; BRAIN has n", "n - 1"),
    Difference("ts_rank", "average rank / n, in (0, 1]", "not said; BRAIN (r - 1) / (n - 1)",
               "average rank / n"),
    Difference("rank over symbols", "average rank / n, in (0, 1]",
               "not said; BRAIN (r - 1) / (n - 1)", "none; Rank is a window"),
    Difference("ts_argmax, ts_argmin", "bars ago, most recent wins a tie", "the day it occurred on",
               "IdxMax: place in the window from 1, translated; the oldest wins a tie"),
    Difference("decay_linear", "newest weighs most", "weights d ... 1, order not said", "none"),
    Difference("WMA", "weights 1 ... n over their sum", "none",
               "the weighted sum over n twice (0.73 for 1 ... 5, not 3.67)"),
    Difference("EMA", "of bars that weigh over 1e-4", "none",
               "ewm(span), adjusted; a fraction is an alpha (refused here)"),
    Difference("correlation with a constant", "NaN, by a relative tolerance", "not said",
               "NaN below a std of 2e-5: a coin at 0.000012 is a constant"),
    Difference("division by zero", "NaN", "not said", "infinite"),
    Difference("negative lag", "cannot be written", "none", "reads the future (refused here)"),
    Difference("window", "a literal whole number, at least 1", "a fraction is rounded down",
               "0 is all of the past (refused here)"),
    Difference("min, max", "two series; ts_min, ts_max are windows",
               "a literal second argument makes a window", "Min, Max: windows; Less, Greater: two"),
    Difference("signedpower", "sign(x) |x|^a", "x^a in the text; read as its name says", "none"),
    Difference("adv{d}", "mean quote volume of d bars", "mean daily dollar volume", "none"),
    Difference("indneutralize", "group_demean; labels come with the call", "industry classes",
               "none"),
    Difference("median deviation", "ts_medad; ts_mad is of the mean", "none", "Mad: of the mean"),
)
# fmt: on
"""What the manual's table says."""
