"""The latency histogram against the exact percentile."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alphamill.usage.latency import bucket_of, percentile_ms


@given(st.lists(st.integers(1, 10_000_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
@example([41, 42], 0.5)
def test_a_percentile_is_within_its_stated_error(latencies_ms: list[int], frac: float) -> None:
    exact = sorted(latencies_ms)[math.ceil(frac * len(latencies_ms)) - 1]
    told = percentile_ms(Counter(map(bucket_of, latencies_ms)), frac)
    assert abs(told - exact) <= 0.025 * exact


@given(st.integers(0, 40))
def test_short_latencies_are_exact(latency_ms: int) -> None:
    assert percentile_ms({bucket_of(latency_ms): 1}, 0.5) == max(1, latency_ms)


@pytest.mark.parametrize("latency_ms", [0, -5])
def test_nothing_is_below_the_first_bucket(latency_ms: int) -> None:
    assert bucket_of(latency_ms) == 0


def test_an_empty_histogram_has_no_percentile() -> None:
    assert percentile_ms({}, 0.5) == 0
