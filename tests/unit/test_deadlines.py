"""Waiting: what is said when a deadline ends it, deadlines that follow the machine, and turns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import deadlines
from tests.conftest import scope_of
from tests.deadlines import slowness, wait_for, wait_for_all, work_s


def test_what_comes_is_given_back():
    answers = iter([None, "", "here"])
    assert wait_for(lambda: next(answers), "an answer", list, poll_s=0) == "here"


def test_a_late_wait_says_what_for_how_long_and_what_there_was():
    with pytest.raises(pytest.fail.Exception) as failed:
        wait_for(lambda: False, "two jobs done", lambda: {"done": 1}, within_s=0)
    assert failed.value.msg == "waited 0 s for two jobs done; there was: {'done': 1}"


def test_what_is_missing_of_a_set_is_named():
    with pytest.raises(pytest.fail.Exception) as failed:
        wait_for_all(["fetch", "llm", "control"], lambda: ["llm", "x"], "workers", within_s=0)
    assert failed.value.msg == (
        "waited 0 s for workers; there was: ['llm', 'x']; missing: ['control', 'fetch']"
    )
    wait_for_all(["llm"], lambda: ["llm", "x"], "workers", within_s=0)


@pytest.fixture
def afresh(monkeypatch):
    """`afresh(start_s)`: the machine is measured again, and a start-up takes that long."""

    def measure(start_s):
        monkeypatch.setenv("ALPHAMILL_TEST_START_S", "")
        monkeypatch.setattr(deadlines, "_measured_start_s", lambda: start_s)
        slowness.cache_clear()
        return slowness()

    yield measure
    monkeypatch.undo()
    slowness.cache_clear()


@pytest.mark.parametrize(("start_s", "expected"), [(0.2, 1), (1.5, 1), (4.5, 3), (60.0, 5)])
def test_deadlines_follow_a_measured_start_up(afresh, start_s, expected):
    assert afresh(start_s) == expected
    assert work_s() == 300 * expected


def test_the_measurement_is_handed_down_to_other_processes(afresh):
    afresh(3.0)
    code = "from tests.deadlines import slowness; print(slowness())"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=deadlines.REPOSITORY, check=True, capture_output=True)
    assert float(told.stdout) == 2


def test_whole_stacks_are_never_up_side_by_side():
    acceptance = (deadlines.REPOSITORY / "tests" / "acceptance").glob("test_*.py")
    scopes = {path.stem: scope_of(f"tests/acceptance/{path.name}") for path in acceptance}
    together = {name for name, scope in scopes.items() if scope == "stacks"}
    assert {"test_up", "test_demo", "test_demo_faults", "test_compose_services"} <= together
    assert scopes["test_makefile"] == "tests/acceptance/test_makefile.py"
