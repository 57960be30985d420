"""What a command loads before it answers: the libraries that its answer needs, and no others.

Their loading is most of what a command that reads or prints help costs; benchmarks/command_start.py
has the seconds. Each test is one process, in which commands run one after another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from producers.cli import COMMANDS, main

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "runs_of_2026_11.tar.xz"
# Never wanted by who only reads, whatever is read.
COMPUTE = {"pandas", "numba", "scipy", "talib", "celery", "kombu", "botocore", "flower", "jinja2"}
LAKE = {"numpy", "pyarrow"}
NETWORK = {"redis", "requests", "urllib3"}
SCRIPT = """
import json, sys
from click.testing import CliRunner
from producers.cli import main
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, words)
    modules = [name for name in sys.modules if "." not in name]
    print(json.dumps([words, done.exit_code, modules]))
"""


def loaded(*commands: str, **environment: str) -> Mapping[str, set[str]]:
    """Of each command, run in this order: all top-level modules that are loaded by then."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([command.split() for command in commands])],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(words, code) for words, code, _ in answers] == [(one.split(), 0) for one in commands]
    return {" ".join(words): set(modules) for words, _, modules in answers}


def helps(*names: str) -> list[str]:
    """The help of commands and, behind a group, of each of its own."""
    context, found = click.Context(main), []
    for name in names:
        command = main.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        found += [f"{name} --help", *(f"{name} {one} --help" for one in inner)]
    return found


def test_help_loads_neither_what_computes_nor_what_calls():
    submitting = helps("cost", "fetch", "bars", "features", "mine", "evaluate", "combine")
    others = [text for text in helps(*COMMANDS) if text not in submitting and "doctor" not in text]
    seen = loaded("--help", *submitting, *others)
    assert not seen["--help"] & (COMPUTE | LAKE | NETWORK | {"pydantic", "rich"})
    for text in submitting:
        assert not seen[text] & (COMPUTE | NETWORK | {"pyarrow"}), text
    assert not seen["mine --help"] & LAKE
    assert not seen[others[-1]] & (COMPUTE - {"jinja2"})  # which `report` shows its page with


@pytest.fixture(scope="module")
def old_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "lake"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_what_lies_in_the_lake_is_read_without_a_client_of_anything(old_lake, tmp_path):
    seen = loaded(
        *("library list", "factors", "factors 1", "factors --json", "funnel"),
        ALPHAMILL_LAKE=str(old_lake),
        ALPHAMILL_HOME=str(tmp_path),
        ALPHAMILL_REDIS_URL="redis://127.0.0.1:1/0",
    )
    assert not seen["funnel"] & (COMPUTE | NETWORK)


def test_what_the_ledger_has_is_read_without_numpy_and_parquet(redis_url, tmp_path):
    seen = loaded(
        *("cost", "status", "status --json", "top --once", "usage", "operators"),
        ALPHAMILL_HOME=str(tmp_path),
        ALPHAMILL_REDIS_URL=redis_url,
    )
    assert not seen["cost"] & (COMPUTE | NETWORK | LAKE)
    assert not seen["usage"] & (COMPUTE | LAKE | {"requests", "urllib3"})
    assert not seen["operators"] & (COMPUTE | {"pyarrow"})
