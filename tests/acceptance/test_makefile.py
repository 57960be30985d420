"""What `make` says on a machine that lacks something, with stand-ins for its Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deadlines import start_s

REPOSITORY = Path(__file__).resolve().parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

OLD = '#!/bin/sh\ncase "$*" in *--version*) echo "Python 3.9.2";; *) exit 1;; esac\n'
NO_VENV = """#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin; echo "No module named venv"; echo "a traceback" >&2; exit 1;;
esac
"""
BROKEN_INDEX = """#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *pip*) echo "ERROR: Could not find a version" >&2; exit 1;;
esac
"""
GOOD = """#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;
          printf '#!/bin/sh\\necho "ran $*"\\n' > .venv/bin/alphamill
          chmod +x .venv/bin/alphamill;;
  *"pip install"*) echo installed >> pip.log;;
  *pytest*) echo "ran pytest$PYTHONDONTWRITEBYTECODE";;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@pytest.fixture
def make(tmp_path):
    """`make(target, python)`: in an empty checkout, with this script as the only python3."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh", "grep", "sed", "expand", "rm", "touch", "mkdir", "cp", "chmod"):
        (programs / name).symlink_to(shutil.which(name))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)

    def run(target: str, python: str = "") -> subprocess.CompletedProcess[str]:
        if python:
            (programs / "python3").write_text(python)
            (programs / "python3").chmod(0o755)
        bare = {"PATH": str(programs), "HOME": str(tmp_path), "LANG": "C"}
        bare["PYTHONDONTWRITEBYTECODE"] = "1"  # is not passed on, or "ran pytest1" is said
        return subprocess.run(
            ["make", target],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=start_s(),
            env=bare,
        )

    return run


@pytest.mark.parametrize("target", ["demo", "test", "check"])
@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("", "alphamill needs Python 3.11 or newer; there is no python3 here: install it, or"),
        (OLD, "alphamill needs Python 3.11 or newer; python3 is Python 3.9.2: try make PYTHON="),
        (NO_VENV, "python3 cannot make a virtual environment: install its venv module (apt"),
    ],
    ids=["no Python", "an old Python", "no venv module"],
)
def test_what_is_missing_is_said_in_one_line(make, tmp_path, target, python, expected):
    told = make(target, python)
    assert told.returncode != 0
    ours = [line for line in told.stderr.splitlines() if not line.startswith("make: ")]
    assert len(ours) == 1
    assert ours[0].startswith(expected)
    assert not (tmp_path / ".venv").exists(), "nothing half-made is left"


def test_an_install_that_fails_is_tried_again_next_time(make, tmp_path):
    told = make("demo", BROKEN_INDEX)
    assert told.returncode != 0
    assert "not installed: see pip's words above, then run make again" in told.stderr
    assert make("demo", GOOD).stdout.splitlines()[-1] == "ran demo"


def test_demo_and_test_install_once_each(make, tmp_path):
    assert make("demo", GOOD).stdout.splitlines()[-1] == "ran demo"
    assert make("demo").stdout == "ran demo\n"
    assert make("test").stdout.splitlines()[-1] == "ran pytest"
    phases = make("test").stdout.splitlines()
    assert phases[1::2] == ["ran pytest"] * 3
    assert [line.split(":")[0] for line in phases[::2]] == ["1 of 3", "2 of 3", "3 of 3"]
    assert len((tmp_path / "pip.log").read_text().splitlines()) == 2


def test_tests_first_install_once_and_demo_nothing_more(make, tmp_path):
    assert make("test", GOOD).stdout.splitlines()[-1] == "ran pytest"
    assert make("demo").stdout == "ran demo\n"
    assert (tmp_path / "pip.log").read_text() == "installed\n"


def test_help_lists_every_target(make):
    told = make("help")
    assert told.returncode == 0
    listed = {line.split()[0] for line in told.stdout.splitlines()[1:]}
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert listed == targets
    assert all(len(line) <= 80 for line in told.stdout.splitlines())


def test_ci_runs_what_people_run():
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = script.read_text(encoding="utf-8").splitlines()
    at = commands.index("make check")
    assert commands[at : at + 2] == ["make check", "make test"]
    assert "set -euo pipefail" in commands
