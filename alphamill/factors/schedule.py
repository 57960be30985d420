"""In which order the parts of one or many factors are computed, and what is worth keeping.

Window operators need whole columns; so do fields, what several nodes read, and, of many factors,
the cross-sections that several of them share. All between them is evaluated in tiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, Field, Group, Node, Number


class Schedule:
    """The whole-column nodes of some trees, in the order of the trees.

    needs: node -> the whole columns that it reads. consumers: the reverse.
    """

    def __init__(self, trees: Sequence[Node]) -> None:
        self.roots = trees
        shared = _shared_windows(trees)
        self.needs: dict[Node, tuple[Node, ...]] = {}
        self.consumers: dict[Node, list[Node]] = {}
        self._places: dict[Node, list[int]] = {}  # ascending positions of the trees that hold it
        for position, tree in enumerate(trees):
            whole = _whole_nodes(tree) | shared
            self._visit(tree, whole, position, set())
        self._root_places: dict[Node, list[int]] = {}
        for position, tree in enumerate(trees):
            self._root_places.setdefault(tree, []).append(position)

    def _visit(self, node: Node, whole: Container[Node], position: int, seen: set[Node]) -> None:
        if node in seen:
            return
        seen.add(node)
        self._places.setdefault(node, []).append(position)
        found: dict[Node, None] = dict.fromkeys(self.needs.get(node, ()))
        _reads(node, whole, found)
        self.needs[node] = tuple(found)
        for need in found:
            consumers = self.consumers.setdefault(need, [])
            if node not in consumers:
                consumers.append(node)
            self._visit(need, whole, position, seen)

    def is_wanted_later(self, node: Node, position: int, ready: Container[Node]) -> bool:
        """Whether a tree after `position` reads the node's column, given those kept in `ready`."""
        return self._root_places.get(node, (-1,))[-1] > position or any(
            consumer not in ready and self._places[consumer][-1] > position
            for consumer in self.consumers.get(node, ())
        )

    def is_due(
        self, node: Node, position: int, ready: Container[Node], done: Container[Node]
    ) -> bool:
        """Whether tree `position` has yet to read it; done: what was computed for that tree."""
        return any(
            consumer not in ready and consumer not in done and position in self._places[consumer]
            for consumer in self.consumers.get(node, ())
        )

    def next_use(self, node: Node, position: int) -> int:
        """The first tree after `position` that holds the node; past the end if none does."""
        later = (place for place in self._places[node] if place > position)
        return next(later, len(self.roots))


def alike_in_turn(trees: Sequence[Node]) -> list[int]:
    """An order of the trees in which each shares what it can with the one before."""
    parts = [frozenset(node for node in _calls(tree) if _is_costly(node)) for tree in trees]
    left = list(range(len(trees)))
    order: list[int] = []
    while left:
        last = parts[order[-1]] if order else frozenset()
        best = max(left, key=lambda index: (len(parts[index] & last), -index))
        left.remove(best)
        order.append(best)
    return order


def _calls(tree: Node) -> set[Call]:
    """Every call of the tree, each once."""
    found: set[Call] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Call) and node not in found:
            found.add(node)
            pending.extend(node.args)
    return found


def _is_costly(node: Call) -> bool:
    return OPERATORS[node.name].family is not Family.BAR


def _shared_windows(trees: Sequence[Node]) -> set[Node]:
    """What several trees hold of windows and cross-sections."""
    uses = Counter(node for tree in trees for node in _calls(tree) if _is_costly(node))
    return {node for node, count in uses.items() if count > 1}


def _whole_nodes(tree: Node) -> set[Node]:
    whole: set[Node] = {tree}
    uses: Counter[Node] = Counter()
    pending, seen = [tree], {tree}
    while pending:
        node = pending.pop()
        if isinstance(node, Field):
            whole.add(node)
        if not isinstance(node, Call):
            continue
        series = [arg for arg in node.args if not isinstance(arg, Number | Group)]
        if OPERATORS[node.name].family is Family.WINDOW:
            whole.update((node, *series))
        uses.update(series)
        pending.extend(arg for arg in series if arg not in seen)
        seen.update(series)
    return whole | {node for node, count in uses.items() if count > 1}


def _reads(node: Node, whole: Container[Node], found: dict[Node, None]) -> None:
    """The nearest whole-column nodes below `node`, into `found`."""
    for arg in node.args if isinstance(node, Call) else ():
        if arg in whole:
            found[arg] = None
        else:
            _reads(arg, whole, found)
