"""When a run will have ended: by what was watched, stage by stage."""

from __future__ import annotations

import pytest

from alphamill.ledger import RunRecord, RunState
from alphamill.runs.pace import Pace


class Watch:
    """A run whose counts change by hand, and a clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.pace = Pace(lambda: self.now_s)

    def left_s(self, state=RunState.RUNNING, after_s=0.0, **done_of):
        self.now_s += after_s
        counts = {
            stage: {name: n for name, n in (("done", done), ("waiting", total - done)) if n}
            for stage, (done, total) in done_of.items()
        }
        run = RunRecord("mine-1", "mine", {}, state, 0, 0, counts=counts)
        return self.pace.left_s(run)


@pytest.fixture
def watch():
    return Watch()


def test_nothing_is_told_before_a_job_was_seen_to_settle(watch):
    assert watch.left_s(fetch=(0, 10)) is None
    assert watch.left_s(after_s=5.0, fetch=(0, 10)) is None


def test_what_settled_before_is_no_pace(watch):
    """A run that is joined half way, or resumed after a week."""
    assert watch.left_s(fetch=(900, 1000)) is None
    assert watch.left_s(after_s=10.0, fetch=(910, 1000)) == pytest.approx(90.0)


def test_the_stages_to_come_count_too(watch):
    watch.left_s(fetch=(0, 10), evaluate=(0, 30))
    # A job took a second: none of fetch is left, and 30 that nobody has seen at work.
    assert watch.left_s(after_s=10.0, fetch=(10, 10), evaluate=(0, 30)) == pytest.approx(30.0)


def test_each_stage_has_its_own_pace_once_it_was_seen_at_work(watch):
    watch.left_s(fetch=(0, 10), evaluate=(0, 30))
    watch.left_s(after_s=10.0, fetch=(10, 10), evaluate=(0, 30))
    assert watch.left_s(after_s=10.0, fetch=(10, 10), evaluate=(2, 30)) == pytest.approx(140.0)


def test_stages_side_by_side_share_the_time(watch):
    watch.left_s(fetch=(1, 11), features=(1, 11))
    # 20 jobs in 20 s: of either stage ten, in ten of the seconds; nothing is left, then 5 of each.
    assert watch.left_s(after_s=10.0, fetch=(6, 11), features=(6, 11)) == pytest.approx(10.0)


def test_a_run_that_has_ended_has_no_time_left(watch):
    watch.left_s(fetch=(0, 10))
    assert watch.left_s(RunState.CANCELLED, after_s=10.0, fetch=(5, 10)) is None
