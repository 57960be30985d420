"""A factor: what an expression says, in canonical form, with what it needs and its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from alphamill.errors import FactorError
from alphamill.factors.bounds import Bounds
from alphamill.factors.canonical import canonical
from alphamill.factors.dialects import dialect_named
from alphamill.factors.fields import columns_of, history_bars
from alphamill.factors.operators import OPERATORS, Kind
from alphamill.factors.parser import read_tree
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, Field, Node, Number, depth, has_field, walk
from alphamill.factors.unit_inference import unit_name


@dataclass(frozen=True, slots=True)
class Factor:
    """A parsed expression in canonical form.

    text: canonical; parses back to the same factor.
    hash: 16 hex digits of its SHA-256; equal for expressions that differ only in spelling.
    lookback_bars: earlier bars that a value needs, and all that it depends on: with them it has
        the same bits wherever history starts. The first so many bars are NaN.
    fields: names in the expression, sorted; `columns`: what the panel must hold for them (vwap
        does with fewer, see compute).
    unit: "ratio", "price", ...; "unknown" if faulty or made of fields of unknown unit.
    units: units of the fields named to `parse`, for `check`.
    """

    text: str
    hash: str
    lookback_bars: int
    fields: tuple[str, ...]
    columns: tuple[str, ...]
    unit: str
    tree: Node
    units: Mapping[str, str]

    def __str__(self) -> str:
        return self.text


def parse(
    text: str,
    dialect: str = "",
    fields: Collection[str] | None = None,
    bounds: Bounds | None = None,
    groups: Collection[str] | None = None,
) -> Factor:
    """The factor that `text` says.

    dialect: "" (our own), "alpha101" or "qlib".
    fields: names beside the bars' own; a mapping also gives their units ("ratio", "price",
        "volume", "quote", "count"). Default: every indicator (rsi_14), as `alphamill evaluate`
        reads them; (): none. `compute` takes their values from the panel.
    groups: names of the group tables there are (default: any name will do).
    Raises FactorError with the position, what was expected and the nearest valid form.
    """
    bounds = bounds or Bounds()
    speech = dialect_named(dialect)
    if fields is None:
        from alphamill.factors.vocabulary import GIVEN_FIELDS  # loads every indicator's record

        fields = GIVEN_FIELDS
    units = dict(fields) if isinstance(fields, Mapping) else dict.fromkeys(fields, "")
    tree = read_tree(text, speech, {**units, **speech.fields}, bounds, groups)
    return factor_of(canonical(tree), {**units, **speech.fields}, bounds)


def factor_of(
    tree: Node, units: Mapping[str, str] | None = None, bounds: Bounds | None = None
) -> Factor:
    """The factor of a canonical tree. Raises FactorError if it is out of bounds."""
    bounds = bounds or Bounds()
    if not has_field(tree):
        raise FactorError("a factor needs at least one field", 0, "a field such as close")
    lookback_bars = _lookback_bars(tree)
    _within("levels deep", depth(tree), bounds.max_depth)
    _within("nodes", sum(1 for _ in walk(tree)), bounds.max_nodes)
    _within("bars of history", lookback_bars, bounds.max_lookback_bars)
    for node in walk(tree):
        if isinstance(node, Number):
            bounds.check_constant(node.value, 0)
    text = to_text(tree)
    names = sorted({node.name for node in walk(tree) if isinstance(node, Field)})
    known = {name: unit for name, unit in (units or {}).items() if name in names}
    return Factor(
        text=text,
        hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        lookback_bars=lookback_bars,
        fields=tuple(names),
        columns=tuple(sorted({column for name in names for column in columns_of(name)})),
        unit=unit_name(tree, known),
        tree=tree,
        units=MappingProxyType(known),
    )


def _within(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise FactorError(f"the expression is {value} {what}; at most {limit} are allowed")


def _lookback_bars(node: Node) -> int:
    if isinstance(node, Field):
        return history_bars(node.name)
    if not isinstance(node, Call):
        return 0
    return own_history_bars(node) + max(_lookback_bars(arg) for arg in node.args)


def own_history_bars(node: Call) -> int:
    """Earlier bars of its arguments that one value of the node needs."""
    operator = OPERATORS[node.name]
    literals: dict[Kind, list[float]] = {Kind.BARS: [], Kind.NUMBER: []}
    for param, arg in zip(operator.params, node.args, strict=False):
        if param.kind in literals and isinstance(arg, Number):
            literals[param.kind].append(arg.value)
    bars = tuple(map(int, literals[Kind.BARS]))
    return operator.history_bars(bars, tuple(literals[Kind.NUMBER]))
