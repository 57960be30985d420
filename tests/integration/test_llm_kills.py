"""A mining run goes through kills of its LLM workers; the benchmark has more of them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, load_benchmark: Callable[[str], ModuleType]
) -> ModuleType:
    for name in ("HOME", "CONFIG", "REDIS_URL", "BINANCE_URL", "LLM_URL"):
        monkeypatch.setenv(f"ALPHAMILL_{name}", "")  # it sets them; put back afterwards
    return load_benchmark("llm_kills")


def test_killed_workers_cost_their_calls_under_way_and_no_settled_one(bench: ModuleType) -> None:
    measured = bench.measure(kills=3, symbols=12, rounds=4)
    assert measured.state == "done"
    assert measured.kills > 0
    assert measured.paid_again == 0
    assert measured.asked_on_resuming == 0
    assert measured.unknown_calls == sum(measured.in_flight)
    assert max(measured.in_flight) <= bench.THREADS
    assert measured.accounts_add_up
    assert measured.settled_calls >= 12 * 4  # a call a symbol and round, whatever was killed
