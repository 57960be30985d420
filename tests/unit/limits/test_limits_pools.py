"""Pools, their checks, and the gates that clients hold."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
import redis

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, Misconfigured, RetryLater
from alphamill.frames import Market
from alphamill.limits import (
    Concurrent,
    ExchangeGate,
    FixedWindow,
    MemoryLimiter,
    Pool,
    RedisLimiter,
    Slot,
    SteadyRate,
    TierGate,
    binance_pool,
    data_pool,
    funding_pool,
    shown_pool,
    tier_pool,
)
from alphamill.settings import BinanceSettings, TierSettings


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a|b"},
        {"limit": 0},
        {"limit": float("inf")},
        {"limit": float("nan")},
        {"guard_ms": -1},
        {"guard_ms": 1501},
        {"pace": 0.9},
    ],
)
def test_a_fixed_window_must_make_sense(changes: dict[str, Any]) -> None:
    FixedWindow("weight", 10, 6000, 1500)
    with pytest.raises(ValueError, match=r".+"):
        FixedWindow(**{"name": "weight", "limit": 10, "window_ms": 6000, "guard_ms": 100} | changes)


@pytest.mark.parametrize("changes", [{"limit": 0}, {"burst": 0}, {"window_ms": 0}, {"name": "{"}])
def test_a_steady_rate_must_make_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SteadyRate(**{"name": "tokens", "limit": 10, "window_ms": 60_000, "burst": 1} | changes)


def test_a_pool_names_each_dimension_once() -> None:
    rate = SteadyRate("tokens", 10, 60_000, 1)
    for dimensions in ((), (rate, rate)):
        with pytest.raises(ValueError, match="each once"):
            Pool("tier", dimensions)


def test_the_exchanges_pool_follows_the_settings() -> None:
    settings = BinanceSettings(
        spot_url="https://api.binance.com", weight_frac=0.5, requests_per_minute=700, egress="nat-2"
    )
    pool = binance_pool(settings, Market.SPOT, 6000)
    assert pool.name == "binance:nat-2:api.binance.com"
    assert pool.dimensions == (
        FixedWindow("weight", 3000, 60_000, 100),
        FixedWindow("requests", 700, 60_000, 100),
    )
    assert binance_pool(settings, Market.USD_M, 2400).name == "binance:nat-2:fapi.binance.com"


def names(**urls: str) -> tuple[str, ...]:
    settings = BinanceSettings(**{f"{market}_url": url for market, url in urls.items()})
    return tuple(binance_pool(settings, Market(m), 2400).name for m in ("spot", "um", "cm"))


def test_both_futures_markets_are_one_pool_and_spot_is_another() -> None:
    spot, um, cm = names()
    assert spot == "binance:default:api.binance.com"
    assert um == cm == "binance:default:fapi.binance.com"
    funding = [funding_pool(BinanceSettings(), m, 2400).name for m in (Market.USD_M, Market.COIN_M)]
    assert funding == [um, cm]


def test_what_is_shown_of_futures_has_the_limits_of_single_endpoints_too() -> None:
    settings = BinanceSettings()
    assert shown_pool(settings, Market.SPOT, 6000) == binance_pool(settings, Market.SPOT, 6000)
    shown = shown_pool(settings, Market.COIN_M, 2400)
    assert shown.name == binance_pool(settings, Market.COIN_M, 2400).name
    assert [one.name for one in shown.dimensions] == ["weight", "requests", "funding", "data"]
    assert set(data_pool(settings, Market.COIN_M, 2400).dimensions) < set(shown.dimensions)


def test_one_server_is_one_pool_however_its_url_is_spelled() -> None:
    spelled = (
        "https://FAPI.binance.com:443/",
        "https://dapi.Binance.com",
        "https://api.binance.com/",
    )
    assert names(um=spelled[0], cm=spelled[1], spot=spelled[2]) == names()


def test_behind_other_hosts_one_server_is_one_pool_of_futures() -> None:
    sim = "http://127.0.0.1:8080"
    spot, um, cm = names(spot=sim, um=sim, cm=sim)
    assert spot == "binance:default:127.0.0.1:8080"
    assert um == cm != spot
    apart = names(um="https://proxy-1.example", cm="https://proxy-2.example")
    assert apart[1] != apart[2]
    assert names(um="https://proxy-1.example")[2] == names()[2]


def test_runs_on_both_futures_markets_stay_within_the_one_limit() -> None:
    clock = ManualClock(1_700_000_010_000)  # ten seconds before a minute ends
    limiter, weight = MemoryLimiter(clock), {"weight": 2.0}
    ample = BinanceSettings(requests_per_minute=1_000_000)
    pools = [binance_pool(ample, market, 2400) for market in (Market.USD_M, Market.COIN_M)]
    booked: Counter[int] = Counter()
    while clock.now_ms() < 1_700_000_220_000:
        for pool in pools:
            booked[limiter.reserve(pool, weight, 120.0).windows["weight"]] += 2
    full = sorted(booked.values())[-3:]  # windows from their beginning to their end
    assert max(booked.values()) <= 2352
    assert min(full) >= 0.98 * 2352


def test_a_guard_too_wide_for_the_window_names_its_setting() -> None:
    with pytest.raises(Misconfigured, match=r"binance\.guard_ms"):
        binance_pool(BinanceSettings(window_s=0.2), Market.SPOT, 600)


@pytest.mark.parametrize("tokens", [2_000, 10_000, 100_000, 5_000_000])
@pytest.mark.parametrize("requests", [1, 3, 30, 60, 5000])
def test_a_tiers_rate_and_burst_stay_within_its_cap(requests: int, tokens: int) -> None:
    tier = TierSettings(model="m", requests_per_minute=requests, tokens_per_minute=tokens)
    pool = tier_pool("quick_scan", "http://127.0.0.1:9/v1", tier)
    assert pool.name == "llm:quick_scan:127.0.0.1:9"
    calls, used, at_once = pool.dimensions
    assert at_once == Concurrent("calls", 64, 300_000)
    assert isinstance(calls, SteadyRate)
    assert isinstance(used, SteadyRate)
    assert used.limit + used.burst == pytest.approx(tokens)
    assert used.limit >= 0.9 * tokens
    # A minute that begins with a full burst: whole requests only.
    assert int(calls.limit + calls.burst + 1e-9) <= max(requests, 2)
    assert calls.limit >= 0.98 * requests


def test_the_exchange_gate_books_weight_and_one_request() -> None:
    clock = ManualClock(1_700_000_010_000)
    limiter, pool = MemoryLimiter(clock), binance_pool(BinanceSettings(), Market.SPOT, 6000)
    gate = ExchangeGate(limiter, pool)
    slot = gate.reserve(20)
    assert slot.costs == {"weight": 20, "requests": 1}
    gate.observe(slot, 100)
    assert limiter.state(pool).dimensions[0].external == 80
    with pytest.raises(TypeError, match="not a slot"):
        gate.observe("slot", 100)
    gate.pause(60, "HTTP 429")
    with pytest.raises(RetryLater, match="HTTP 429"):
        gate.reserve(2)


def test_the_exchange_gate_takes_over_the_stated_limit() -> None:
    limiter = MemoryLimiter(ManualClock())
    gate = ExchangeGate(limiter, binance_pool(BinanceSettings(), Market.SPOT, 6000))
    gate.configure(100)
    assert isinstance(gate.reserve(98), Slot)
    with pytest.raises(GiveUp):
        gate.reserve(99)


def test_the_tier_gate_books_and_settles_tokens() -> None:
    limiter = MemoryLimiter(ManualClock())
    pool = tier_pool("quick_scan", "https://api.openai.com/v1", TierSettings(model="m"))
    gate = TierGate(limiter, pool)
    slot = gate.reserve(3000)
    gate.settle(slot, 1000)
    requests, tokens, calls = limiter.state(pool).dimensions
    assert requests.issued == pytest.approx(1)
    assert calls.issued == 0
    assert tokens.issued == pytest.approx(1000)
    gate.pause(90, "HTTP 503")
    with pytest.raises(RetryLater, match="HTTP 503"):
        gate.reserve(1)


def test_settling_gives_an_overestimate_back() -> None:
    clock = ManualClock()
    tier = TierSettings(model="m", requests_per_minute=600, tokens_per_minute=100_000)
    gate = TierGate(MemoryLimiter(clock), tier_pool("quick_scan", "http://host/v1", tier), 120)
    started_ms, used = clock.now_ms(), 0
    while clock.now_ms() - started_ms < 3_600_000:
        slot = gate.reserve(3_000)
        gate.settle(slot, 2_000)
        used += 2_000
    assert 0.95 * 60 * 100_000 < used <= 60 * 100_000


@pytest.fixture
def unreachable() -> redis.Redis:
    return redis.Redis.from_url("redis://127.0.0.1:1/0", retry=None)


def test_without_redis_there_is_no_slot_and_no_pause(unreachable: redis.Redis) -> None:
    pool = binance_pool(BinanceSettings(), Market.SPOT, 6000)
    limiter = RedisLimiter(unreachable, ManualClock())
    for act in (
        lambda: limiter.reserve(pool, {"weight": 1}),
        lambda: limiter.pause(pool, 60, "HTTP 418"),
        lambda: limiter.state(pool),
    ):
        with pytest.raises(RetryLater, match="without Redis") as raised:
            act()
        assert raised.value.counts is False


def test_a_correction_that_is_lost_is_logged(
    unreachable: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    pool = binance_pool(BinanceSettings(), Market.SPOT, 6000)
    slot = Slot(pool, {"weight": 1.0}, {"weight": 1, "requests": 1}, 0.0, 0.0, "t")
    with caplog.at_level(logging.WARNING):
        RedisLimiter(unreachable, ManualClock()).observe(slot, 10)
    assert "observe lost" in caplog.text


def test_a_call_whose_tokens_nobody_told_ends_its_slot_and_keeps_its_booking() -> None:
    limiter = MemoryLimiter(ManualClock())
    pool = tier_pool("quick_scan", "http://host/v1", TierSettings(model="m", concurrency=1))
    gate = TierGate(limiter, pool)
    gate.settle(gate.reserve(3000), None)
    _, tokens, calls = limiter.state(pool).dimensions
    assert (calls.issued, tokens.issued) == (0, pytest.approx(3000))
