"""How long a worker's thread waits for its turn at the exchange."""

import pytest

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.limits.memory import MemoryLimiter
from alphamill.settings import BinanceSettings, Settings
from workers.resources import Resources

WINDOW_STARTS_MS = 1_700_000_040_000


def gate_of(clock, **binance):
    """The gate of a worker's exchange client, over a limiter that moves time in place of sleep."""
    tools = Resources(Settings(binance=BinanceSettings(**binance)))
    tools.__dict__["limiter"] = MemoryLimiter(clock)  # in the place of the cached property's value
    return tools.exchange(Market.SPOT)._gate


@pytest.mark.parametrize("begun_ms", [0, 20_000, 59_000])
@pytest.mark.parametrize("requests_per_minute", [1200, 6000])
def test_a_job_of_many_pages_outlasts_the_end_of_a_window(begun_ms, requests_per_minute):
    clock = ManualClock(WINDOW_STARTS_MS + begun_ms)
    gate = gate_of(clock, requests_per_minute=requests_per_minute)
    started_s = clock.monotonic_s()
    while clock.monotonic_s() - started_s < 200:
        gate.reserve(2)  # RetryLater here would cost the job all its pages


def test_a_ban_is_not_slept_through():
    clock = ManualClock(WINDOW_STARTS_MS)
    gate = gate_of(clock)
    gate.pause(120, "banned")
    with pytest.raises(RetryLater) as caught:
        gate.reserve(2)
    assert caught.value.counts is False
    assert 110 < caught.value.after_s < 125


def test_cutoffs_of_the_settings_are_what_a_run_is_published_with():
    known = Resources(Settings.model_validate({"llm": {"cutoffs": {"mine": "2025-03-31"}}})).cutoffs
    assert known.of("mine").until == "2025-03-31"
    assert known.of("offline-proposer").until == "untrained"
