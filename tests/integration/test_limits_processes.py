"""Three processes of eight threads against a server that counts for itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.deadlines import wait_for


@pytest.fixture(scope="module")
def bench(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    """The benchmark's exchange and workers, which share nothing with the limiter's own counting."""
    return load_benchmark("limiter_utilisation")


def test_the_measuring_exchange_refuses_and_bans(bench: ModuleType) -> None:
    with bench.Exchange().running() as exchange:
        statuses = [exchange.count(200)[0] for _ in range(12)]
    assert statuses[:3] == [200, 200, 200]
    assert 429 in statuses
    assert statuses[-1] == 418


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("stranger_frac", [0.0, 0.2])
def test_the_limit_is_used_up_and_nobody_is_refused(
    bench: ModuleType, redis_url: str, stranger_frac: float
) -> None:
    seen = []
    for _ in range(3):  # other programs may keep these from sending, or stop one that has its turn
        seen.append(bench.measure(3, stranger_frac, redis_url, windows=1))
        if seen[-1].utilisation_frac >= 0.96 and seen[-1].refused == 0:
            return
    pytest.fail(f"not used up, or refused: {seen}")


def test_nothing_is_sent_once_redis_is_gone(bench: ModuleType) -> None:
    """But for the one request that each thread may have had leave for."""
    with (
        bench.Exchange().running() as exchange,
        bench.redis_server() as (redis_url, process),
        bench.workers(3, exchange.url, redis_url, 30) as workers,
    ):
        arrivals_s = exchange.arrivals_s
        wait_for(lambda: len(arrivals_s) > 40, "requests of three workers", lambda: arrivals_s)
        process.kill()
        process.wait()
        sent_before = len(arrivals_s)
        # Longer than a slot can be booked ahead, and than sending without leave would pause.
        wait_for(
            lambda: time.monotonic() - arrivals_s[-1] > 2.5,
            "silence",
            lambda: arrivals_s[sent_before:],
        )
        assert len(arrivals_s) - sent_before <= 3 * bench.THREADS
        assert [worker.poll() for worker in workers] == [None] * 3
