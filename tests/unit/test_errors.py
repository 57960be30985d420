"""The tree of errors as its module draws it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import alphamill
from alphamill import errors


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def test_the_tree_names_every_public_error_and_no_other() -> None:
    for module in pkgutil.walk_packages(alphamill.__path__, "alphamill."):
        importlib.import_module(module.name)
    tree = errors.__doc__.split("Retry policy")[0].partition("AlphamillError")[2]
    drawn = set(re.findall(r"\b[A-Z][a-z]+[A-Z]?\w*\b", tree))
    ours = {
        kind.__name__
        for kind in below(errors.AlphamillError)
        if kind.__module__.startswith("alphamill.") and not kind.__name__.startswith("_")
    }
    assert drawn == ours
