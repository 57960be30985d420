"""Which code did a run's jobs, as the run tells it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from alphamill.ledger import RunRecord, RunState
from alphamill.llm.endpoint.provider_errors import ProviderError, classify
from alphamill.runs.builds import Share, builds_line, shares
from alphamill.runs.failures import KEY_REFUSED

OURS = {"version": "0.2.0", "code": "aaaaaaaa", "libraries": {"numpy": "2.1.0", "python": "3.12.1"}}
OLDER = {"version": "0.1.0", "code": "bbbbbbbb", "libraries": {"numpy": "1.26.4"}}


def run_of(done: int, **builds: int) -> RunRecord:
    named = {name.replace("_", "+"): jobs for name, jobs in builds.items()}
    counts = {"fetch": {"done": done, "dead": 3}}
    return RunRecord("r", "fetch", {}, RunState.RUNNING, 0, 0, None, counts, named)


def test_one_build_is_no_news():
    found = shares(run_of(5, new_1=5), {"new+1": OURS}, also="new+1")
    assert found == [Share("new+1", 6, "0.2.0", "aaaaaaaa", OURS["libraries"])]
    assert builds_line(found) == ""


def test_a_run_of_before_says_nothing():
    assert shares(run_of(5), {}) == []
    assert builds_line([]) == ""


def test_different_builds_are_told_with_what_differs():
    found = shares(run_of(7, new_1=5, old_1=2), {"new+1": OURS, "old+1": OLDER})
    line = builds_line(found)
    assert line.startswith(
        "Computed by workers of different code or libraries: new+1 (5 jobs), old+1 (2 jobs: "
        "alphamill 0.1.0 instead of 0.2.0, numpy 1.26.4 instead of 2.1.0). "
    )
    assert line.endswith("run it with --again.")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**OURS, "code": "cccccccc"}, "(1 job: other source files)"),
        ({**OURS, "libraries": {**OURS["libraries"], "numpy": "2.2.0"}}, "numpy 2.2.0 instead"),
        (None, "x (1 job)"),
    ],
)
def test_what_is_behind_a_build(other, words):
    known = {"new+1": OURS} | ({"x": other} if other else {})
    assert words in builds_line(shares(run_of(6, new_1=5, x=1), known))


def test_jobs_by_code_that_did_not_say_are_counted():
    found = shares(run_of(7, new_1=5), {"new+1": OURS})
    assert [(share.build, share.jobs) for share in found] == [("new+1", 5), ("", 2)]
    assert "code that did not say which it is (2 jobs)" in builds_line(found)


def test_a_share_goes_through_json():
    [share] = shares(run_of(5, new_1=5), {"new+1": OURS})
    assert Share(**asdict(share)) == share


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_known_by_its_reason(status):
    failure = classify(ProviderError(status, message="no", structured=True), "m")
    assert KEY_REFUSED in str(failure)
