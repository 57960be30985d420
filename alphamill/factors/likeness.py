"""How much of one expression is written in another, and how large it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from alphamill.factors.factor import Factor
from alphamill.factors.syntax import Call, Node, has_field, walk


def complexity_nodes(factor: Factor) -> int:
    """Operators, fields and literals of the canonical expression."""
    return sum(1 for _ in walk(factor.tree))


def shared_subtree_frac(factor: Factor, others: Iterable[Factor]) -> float:
    """The largest part that also stands in another factor, as a share of the factor's nodes.

    0 to 1; 1 if the whole expression stands in one of them. A part is an operator with all of its
    arguments, literals included; a bare field is none. Source: the common subtree of Alpha Jungle
    (2025), on canonical trees.
    """
    parts = {part for other in others for part in _parts(other.tree)}
    largest = max((size for part, size in _parts(factor.tree).items() if part in parts), default=0)
    return largest / complexity_nodes(factor)


def _parts(tree: Node) -> Counter[Node]:
    """Subtrees with their sizes in nodes."""
    return Counter(
        {
            node: sum(1 for _ in walk(node))
            for node in walk(tree)
            if isinstance(node, Call) and has_field(node)
        }
    )
