"""A mining run goes through kills of its LLM workers; the benchmark has more of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "llm_kills.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name in ("HOME", "CONFIG", "REDIS_URL", "BINANCE_URL", "LLM_URL"):
        monkeypatch.setenv(f"ALPHAMILL_{name}", "")  # it sets them; put back afterwards
    spec = importlib.util.spec_from_file_location("llm_kills", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


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
