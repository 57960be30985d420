"""The limits of fundingRate and of /futures/data, beside the weight that all requests share."""

from collections import deque

import pytest

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.limits import ExchangeGate, MemoryLimiter, binance_pool, data_pool, funding_pool
from alphamill.limits.gates import DATA_REQUESTS, FUNDING_REQUESTS
from alphamill.settings import BinanceSettings

SETTINGS = BinanceSettings()
FIVE_MINUTES_MS = 300_000
PATIENT_S = 400.0


def gates(clock, limiter=None):
    limiter = limiter or MemoryLimiter(clock)
    klines = binance_pool(SETTINGS, Market.USD_M, 2400)
    funding = funding_pool(SETTINGS, Market.USD_M, 2400)
    return (
        ExchangeGate(limiter, klines, max_wait_s=PATIENT_S),
        ExchangeGate(limiter, funding, max_wait_s=PATIENT_S),
    )


def test_no_five_minutes_hold_more_than_the_margin_wherever_they_begin():
    clock = ManualClock(1_700_000_123_456)
    _, funding = gates(clock)
    sent, most = deque(), 0
    ended_ms = clock.now_ms() + 4 * FIVE_MINUTES_MS
    total = 0
    while clock.now_ms() < ended_ms:
        funding.reserve(1)
        now_ms = clock.now_ms()
        sent.append(now_ms)
        total += 1
        while sent[0] <= now_ms - FIVE_MINUTES_MS:
            sent.popleft()
        most = max(most, len(sent))
    assert most <= SETTINGS.weight_frac * FUNDING_REQUESTS
    # Three quarters of it steadily, the last quarter at once after idling.
    assert total >= 4 * 0.75 * 0.97 * SETTINGS.weight_frac * FUNDING_REQUESTS


def test_other_requests_never_wait_for_it():
    clock = ManualClock(1_700_000_000_000)
    klines, funding = gates(clock)
    waited_s = 0.0
    for _ in range(200):  # past the burst
        waited_s = funding.reserve(1).waited_s
    assert waited_s > 0.5
    assert klines.reserve(2).waited_s < 0.5


def test_both_count_weight_in_one_place_and_stop_together():
    clock = ManualClock(1_700_000_000_000)
    limiter = MemoryLimiter(clock)
    klines, funding = gates(clock, limiter)
    klines.reserve(10)
    slot = funding.reserve(1)
    pool = binance_pool(SETTINGS, Market.USD_M, 2400)
    assert [d.issued for d in limiter.state(pool).dimensions] == [11, 2]
    funding.observe(slot, 500)
    assert limiter.state(pool).dimensions[0].external > 0
    funding.pause(600, "HTTP 429")
    with pytest.raises(RetryLater, match="HTTP 429"):
        klines.reserve(1)


def test_the_stated_weight_limit_leaves_it_as_it_is():
    clock = ManualClock(1_700_000_000_000)
    _, funding = gates(clock)
    funding.configure(1200)
    assert set(funding.reserve(1).costs) == {"weight", "requests", "funding"}


def test_requests_without_weight_have_their_own_limit_and_nobody_elses():
    clock = ManualClock(1_700_000_123_456)
    limiter = MemoryLimiter(clock)
    klines, funding = gates(clock, limiter)
    own = ExchangeGate(limiter, data_pool(SETTINGS, Market.USD_M, 2400), max_wait_s=PATIENT_S)
    sent: deque[int] = deque()
    most, ended_ms = 0, clock.now_ms() + 2 * FIVE_MINUTES_MS
    while clock.now_ms() < ended_ms:
        own.reserve(0)
        sent.append(clock.now_ms())
        while sent[0] <= clock.now_ms() - FIVE_MINUTES_MS:
            sent.popleft()
        most = max(most, len(sent))
    assert 0.7 * DATA_REQUESTS < most <= SETTINGS.weight_frac * DATA_REQUESTS
    pool = binance_pool(SETTINGS, Market.USD_M, 2400)
    assert limiter.state(pool).dimensions[0].issued == 0
    assert klines.reserve(2).waited_s < 0.5
    assert funding.reserve(1).waited_s < 0.5
