"""The fields an expression may name, their units, and how derived ones follow from columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

from alphamill.factors.syntax import Call, Field, Node, Number
from alphamill.factors.units import UNITS, Unit

BASE_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "open": "price",
        "high": "price",
        "low": "price",
        "close": "price",
        "volume": "volume",
        "quote_volume": "quote",
        "trades": "count",
        "taker_buy_base": "volume",
        "taker_buy_quote": "quote",
        "vwap": "price",
        "returns": "ratio",
    }
)
"""Names that are always allowed -> their units."""

AS_SENT = frozenset(BASE_FIELDS) - {"vwap", "returns"}
"""Columns that hold the exchange's own decimals, each as the double next to it."""

_SELECTING = frozenset({"neg", "abs", "min", "max", "delay", "ts_min", "ts_max"})

_ADV = re.compile(r"adv([1-9][0-9]{0,4})")


def adv_bars(name: str) -> int | None:
    """20 for "adv20"; None if `name` is not an average of quote volume."""
    match = _ADV.fullmatch(name)
    return int(match.group(1)) if match else None


def is_field(name: str, extra: Collection[str]) -> bool:
    """Whether an expression may name it."""
    return name in BASE_FIELDS or name in extra or adv_bars(name) is not None


def unit_of(name: str, extra: Mapping[str, str]) -> Unit | None:
    """The field's unit; None if nobody said."""
    named = BASE_FIELDS.get(name) or extra.get(name) or ("quote" if adv_bars(name) else None)
    return UNITS.get(named) if named else None


def is_as_sent(node: Node) -> bool:
    """Whether its values are the exchange's decimals, picked or turned in sign but never rounded.

    Such values tie where they are equal; whatever is computed ties within its rounding.
    """
    if isinstance(node, Call):
        return node.name in _SELECTING and all(map(is_as_sent, node.args))
    return isinstance(node, Number) or (isinstance(node, Field) and node.name in AS_SENT)


def history_bars(name: str) -> int:
    """Earlier bars that a derived field needs."""
    bars = adv_bars(name)
    if bars is not None:
        return bars - 1
    return 1 if name == "returns" else 0


def columns_of(name: str) -> tuple[str, ...]:
    """Columns of the panel that the field is read or derived from."""
    if adv_bars(name) is not None:
        return ("quote_volume",)
    if name == "returns":
        return ("close",)
    if name == "vwap":
        return ("close", "high", "low", "quote_volume", "volume")
    return (name,)


def definition(name: str) -> Node | None:
    """A derived field as an expression; None for a column (and for vwap, see compute)."""
    bars = adv_bars(name)
    if bars is not None:
        return Call("ts_mean", (Field("quote_volume"), Number(float(bars))))
    if name == "returns":
        return Call("pct_change", (Field("close"), Number(1.0)))
    return None
