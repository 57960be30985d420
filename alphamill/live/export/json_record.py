"""A factor as JSON: its tree, and what is known of it. Read back, it is the same factor.

The object has the keys of FORMAT. A node of `tree` is {"field": NAME}, {"number": NUMBER},
{"group": NAME} or {"operator": NAME, "arguments": [NODE, ...]}, the operators being those of
`alphamill operators` by their own names, with defaults left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import alphamill
from alphamill.errors import FactorError
from alphamill.factors import OPERATORS, Factor
from alphamill.factors.factor import factor_of
from alphamill.factors.syntax import Call, Field, Group, Node, Number
from alphamill.factors.vocabulary import GIVEN_FIELDS
from alphamill.live.export.pandas_module import columns_read, given_columns
from alphamill.live.export.what import Exported

SCHEMA = "alphamill-factor-1"

FORMAT: Mapping[str, str] = {
    "schema": f"{SCHEMA!r}",
    "expression": "in the language's canonical spelling",
    "hash": "16 hex digits of the expression's SHA-256",
    "tree": "the expression as nodes",
    "fields": "names in the expression",
    "columns": "columns of klines, and indicators, that it is computed from",
    "indicators": "those among the columns that no kline holds",
    "lookback_bars": "earlier bars that a value needs",
    "unit": "of the values: ratio, price, ...",
    "orientation": "'high' if a high value is to be held; 'as written' if nobody judged it",
    "horizon_bars": "bars that a signal is held for",
    "interval": "1h, ...; null if nobody said",
    "market": "spot, um or cm; null if nobody said",
    "weighting": "how values become weights, as in [portfolio]",
    "quantiles": "of the weighting by quantile",
    "band": "no trade within so many average positions of the target, as in [portfolio]",
    "live": "the live's id, or null",
    "run": "the run's id, or null",
    "verdict": "the run's, or null",
    "alphamill": "the version that wrote it",
}


def json_text(exported: Exported) -> str:
    """The object as text, keys as in FORMAT."""
    factor = exported.factor
    said = {
        "schema": SCHEMA,
        "expression": factor.text,
        "hash": factor.hash,
        "tree": _described(factor.tree),
        "fields": list(factor.fields),
        "columns": list(columns_read(exported)),
        "indicators": list(given_columns(exported)),
        "lookback_bars": factor.lookback_bars,
        "unit": factor.unit,
        "orientation": "high" if exported.live or exported.run else "as written",
        "horizon_bars": exported.horizon_bars,
        "interval": exported.interval.value if exported.interval else None,
        "market": exported.market.value if exported.market else None,
        "weighting": exported.weighting,
        "quantiles": exported.quantiles,
        "band": exported.band,
        "live": exported.live or None,
        "run": exported.run or None,
        "verdict": exported.verdict or None,
        "alphamill": alphamill.__version__,
    }
    return json.dumps(said, indent=2, allow_nan=False) + "\n"


def factor_in(text: str) -> Factor:
    """The factor of an exported object, made from its tree. FactorError if it is not whole."""
    try:
        said = json.loads(text)
        if said["schema"] != SCHEMA:
            raise FactorError(f"the schema is {said['schema']!r}", 0, SCHEMA)
        factor = factor_of(_node(said["tree"]), GIVEN_FIELDS)
        stated = said["hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise FactorError(f"no exported factor: {error!r}") from error
    if factor.hash != stated:
        raise FactorError(f"the tree is of {factor.hash}, the hash says {stated}")
    return factor


def _described(node: Node) -> dict[str, Any]:
    if isinstance(node, Field):
        return {"field": node.name}
    if isinstance(node, Group):
        return {"group": node.name}
    if isinstance(node, Number):
        return {"number": node.value}
    return {"operator": node.name, "arguments": [_described(arg) for arg in node.args]}


def _node(said: Mapping[str, Any]) -> Node:
    if "field" in said:
        return Field(str(said["field"]))
    if "group" in said:
        return Group(str(said["group"]))
    if "number" in said:
        return Number(float(said["number"]))
    name = str(said["operator"])
    if name not in OPERATORS:
        raise FactorError(f"unknown operator {name!r}")
    return Call(name, tuple(_node(arg) for arg in said["arguments"]))
