"""Packages that load what they export when it is asked for."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

import alphamill
import producers
from alphamill.on_demand import OnDemand

PLACES = [Path(next(iter(package.__path__))) for package in (alphamill, producers)]
PACKAGES = sorted(
    ".".join(path.parent.relative_to(place.parent).parts)
    for place in PLACES
    for path in place.rglob("__init__.py")
    if "alphamill.on_demand" in path.read_text()
)


def test_there_are_such_packages():
    assert {"alphamill.evaluation", "alphamill.frames", "producers.submit"} <= set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_what_it_states_for_type_checkers(name):
    package = importlib.import_module(name)
    assert isinstance(package, OnDemand)
    source = ast.parse(Path(package.__file__).read_text())
    (stated,) = [node for node in source.body if isinstance(node, ast.If)]
    origins = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in stated.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(package.__all__) == sorted(origins)
    assert set(package.__all__) <= set(dir(package))
    for exported, (module, original) in origins.items():
        assert getattr(package, exported) is getattr(importlib.import_module(module), original)


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    importlib.import_module("alphamill.factors.check")
    from alphamill.factors import check

    assert check is sys.modules["alphamill.factors.check"].check


def test_what_is_not_exported_is_no_attribute():
    with pytest.raises(AttributeError, match=r"'alphamill\.lake' has no attribute 'fetch_all'"):
        importlib.import_module("alphamill.lake").fetch_all  # noqa: B018  the asking is the test
