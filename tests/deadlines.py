"""Every deadline of the tests, and the one way to wait.

A deadline ends a wait that would never end; it asserts nothing about speed. So each is many times
what the wait takes on an idle machine of two cores, and longer where `slowness` finds that programs
start more slowly. A time that a test asserts is no deadline and stands in that test.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent
# A reply over loopback takes milliseconds; this is for the machine that stalls meanwhile.
ANSWER_S = 60.0
USUAL_START_S = 1.5  # of a program that imports Celery and the product, on an idle machine
MOST_SLOWNESS = 5.0
_MEASURED = "ALPHAMILL_TEST_START_S"


def start_s() -> float:
    """For one program, from its start until it is ready."""
    return 60 * slowness()


def stack_s() -> float:
    """For a whole stack: Redis, five workers, beat, Flower, simulators."""
    return 180 * slowness()


def work_s() -> float:
    """For what a stack or a few workers were asked to do; kernels may be compiled first."""
    return 300 * slowness()


def end_s() -> float:
    """For a program that was told to stop, and all that it started.

    A child of a prefork pool may wait 30 s (billiard) for its parent to have read a result.
    """
    return 90 * slowness()


@functools.cache
def slowness() -> float:
    """A worker's start-up here and now over USUAL_START_S: 1 to MOST_SLOWNESS.

    Measured once a session: what pytest-xdist starts inherits it.
    """
    measured = os.environ.get(_MEASURED) or str(_measured_start_s())
    os.environ[_MEASURED] = measured
    return min(max(float(measured) / USUAL_START_S, 1.0), MOST_SLOWNESS)


def _measured_start_s() -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import workers.app"], cwd=REPOSITORY, check=True)
    return time.monotonic() - began_s


def wait_for(
    condition: Callable[[], T],
    what: str,
    seen: Callable[[], object],
    *,
    within_s: float | None = None,
    poll_s: float = 0.05,
) -> T:
    """What `condition` says once that is true; late, the test fails with `what` and `seen()`.

    within_s: `work_s()` unless given.
    """
    __tracebackhide__ = True
    allowed_s = work_s() if within_s is None else within_s
    began_s = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - began_s > allowed_s:
            pytest.fail(f"waited {allowed_s:.0f} s for {what}; there was: {seen()}")
        time.sleep(poll_s)
    return found


def wait_for_all(
    wanted: Collection[str],
    here: Callable[[], Collection[str]],
    what: str,
    *,
    within_s: float | None = None,
) -> None:
    """Until everything wanted is here; late, the test fails with what is and what is not."""
    __tracebackhide__ = True

    def seen() -> str:
        now = set(here())
        return f"{sorted(now) or 'nothing'}; missing: {sorted(set(wanted) - now)}"

    wait_for(lambda: set(wanted) <= set(here()), what, seen, within_s=within_s)
