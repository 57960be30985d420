"""The tree of an expression: immutable, hashable, equal by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the panel, or one derived from it (`vwap`, `returns`, `adv20`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A literal; always finite. Windows and lags are whole numbers."""

    value: float


@dataclass(frozen=True, slots=True)
class Group:
    """The name of a group table: one label a symbol, given to `compute`."""

    name: str


class Call:
    """An operator applied to arguments; `name` is a canonical operator name.

    The hash is computed once: shared subtrees are looked up often.
    """

    __slots__ = ("_hash", "args", "name")

    def __init__(self, name: str, args: tuple[Node, ...]) -> None:
        self.name = name
        self.args = args
        self._hash = hash((name, args))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Call):
            return NotImplemented
        return self._hash == other._hash and (self.name, self.args) == (other.name, other.args)

    def __repr__(self) -> str:
        return f"Call({self.name!r}, {self.args!r})"


Node = Field | Number | Group | Call


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree, parents first; a shared subtree comes once for each use."""
    stack: list[Node] = [node]
    while stack:
        here = stack.pop()
        yield here
        if isinstance(here, Call):
            stack.extend(reversed(here.args))


def depth(node: Node) -> int:
    """Levels of the tree; a leaf is 1."""
    if isinstance(node, Call) and node.args:
        return 1 + max(depth(arg) for arg in node.args)
    return 1


def has_field(node: Node) -> bool:
    """Whether the value can differ from bar to bar."""
    return any(isinstance(here, Field) for here in walk(node))
