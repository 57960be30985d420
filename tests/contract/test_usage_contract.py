"""Every Usage keeps the same promises: in memory, and in Redis."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphamill.errors import RetryLater
from alphamill.usage import MemoryUsage, RedisUsage, Usage, UsageEntry
from tests.deadlines import work_s

MEASURES = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "cost_usd_micros",
    "provider_cost_usd_micros",
    "compared_cost_usd_micros",
    "estimated_requests",
    "estimated_cost_usd_micros",
    "doubted_requests",
    "gateway_retries",
)
REPOSITORY = Path(__file__).resolve().parents[2]
Make = Callable[[], Usage]


@pytest.fixture(params=["memory", "fakeredis", "server"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes counters that start empty."""
    if request.param == "memory":
        yield MemoryUsage
        return
    if request.param == "fakeredis":
        client = fakeredis.FakeRedis()
    else:
        client = redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True)

    def build() -> Usage:
        client.flushall()
        return RedisUsage(client)

    yield build
    client.close()


def entry(call_id: str = "c1", **changes: Any) -> UsageEntry:
    plain = UsageEntry(
        call_id=call_id,
        run="run-1",
        day="2026-01-31",
        tier="quick_scan",
        model="vendor/model:free",
        prompt_tokens=1000,
        cached_tokens=200,
        completion_tokens=300,
        cost_usd_micros=875,
        latency_ms=1200,
    )
    return replace(plain, **changes)


def test_an_empty_report_has_the_whole_shape(make: Make) -> None:
    assert make().report() == {
        "totals": dict.fromkeys(MEASURES, 0)
        | {"errors": {}, "latency_ms": {"p50": 0, "p99": 0, "mean": 0}},
        "by": [],
    }


def test_one_call_is_a_row_and_the_totals(make: Make) -> None:
    usage = make()
    more = {
        "provider_cost_usd_micros": 900,
        "compared_cost_usd_micros": 875,
        "estimated_requests": 1,
        "estimated_cost_usd_micros": 875,
        "doubted_requests": 1,
        "gateway_retries": 2,
    }
    assert usage.record(entry(**more)) is True
    measures = {
        "requests": 1,
        "prompt_tokens": 1000,
        "cached_tokens": 200,
        "completion_tokens": 300,
        "cost_usd_micros": 875,
        "errors": {},
    }
    report = json.loads(json.dumps(usage.report()))
    (row,) = report["by"]
    latency_ms = row.pop("latency_ms")
    measures |= more
    assert row == measures | {
        "run": "run-1",
        "day": "2026-01-31",
        "tier": "quick_scan",
        "model": "vendor/model:free",
    }
    assert latency_ms["mean"] == 1200
    assert latency_ms["p50"] == latency_ms["p99"] == pytest.approx(1200, rel=0.025)
    assert report["totals"] == measures | {"latency_ms": latency_ms}


def test_a_call_recorded_twice_counts_once(make: Make) -> None:
    usage = make()
    assert [usage.record(entry()) for _ in range(3)] == [True, False, False]
    assert usage.record(entry(tier="detailed_analysis")) is False
    assert usage.report()["totals"]["requests"] == 1


def test_another_run_may_use_the_same_call_id(make: Make) -> None:
    usage = make()
    assert usage.record(entry())
    assert usage.record(entry(run="run-2"))
    assert usage.report()["totals"]["requests"] == 2
    assert usage.report("run-2")["totals"]["requests"] == 1
    assert [row["run"] for row in usage.report()["by"]] == ["run-1", "run-2"]
    assert usage.report("no such run")["by"] == []


def test_errors_are_counted_by_class_beside_the_calls(make: Make) -> None:
    usage = make()
    where = ("run-1", "2026-01-31", "quick_scan", "vendor/model:free")
    usage.record(entry())
    usage.record_error(*where, "rate_limited")
    usage.record_error(*where, "rate_limited")
    usage.record_error(*where[:3], "other", "timeout: read")
    report = usage.report()
    assert [row["errors"] for row in report["by"]] == [{"timeout: read": 1}, {"rate_limited": 2}]
    assert report["totals"]["errors"] == {"rate_limited": 2, "timeout: read": 1}
    assert report["totals"]["requests"] == 1
    assert report["by"][1]["latency_ms"]["mean"] == 1200  # of calls that were answered


def test_names_that_look_like_keys_stay_apart(make: Make) -> None:
    usage = make()
    usage.record(entry("a", run="x", model='m","2026'))
    usage.record(entry("b", run="x:y", model="m é"))
    assert [(r["run"], r["model"]) for r in usage.report()["by"]] == [
        ("x", 'm","2026'),
        ("x:y", "m é"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"day": "2026-1-31"},
        {"day": "20260131"},
        {"day": "yesterday"},
        {"run": ""},
        {"tier": "a\nb"},
        {"call_id": ""},
        {"prompt_tokens": -1},
        {"cost_usd_micros": 1.5},
        {"completion_tokens": True},
    ],
)
def test_what_is_not_an_entry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        entry(**changes)


def test_a_redis_that_is_gone_asks_for_a_retry() -> None:
    with redis.Redis.from_url("redis://127.0.0.1:1/0", retry=None) as client:
        usage = RedisUsage(client)
        for act in (lambda: usage.record(entry()), usage.report):
            with pytest.raises(RetryLater, match="usage"):
                act()


def test_what_is_not_a_row_takes_no_error(make: Make) -> None:
    usage = make()
    with pytest.raises(ValueError, match="tier"):
        usage.record_error("run-1", "2026-01-31", "", "m", "timeout")
    assert usage.report()["by"] == []


counts = st.integers(0, 10**7)
entries = st.builds(
    UsageEntry,
    call_id=st.sampled_from([f"call-{n}" for n in range(12)]),
    run=st.sampled_from(["r1", "r2"]),
    day=st.sampled_from(["2026-01-31", "2026-02-01"]),
    tier=st.sampled_from(["quick_scan", "final_verification"]),
    model=st.sampled_from(["m", "n"]),
    prompt_tokens=counts,
    cached_tokens=counts,
    completion_tokens=counts,
    cost_usd_micros=counts,
    latency_ms=st.integers(0, 600_000),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(entries, max_size=40))
def test_totals_are_the_rows_sum_and_a_recount(make: Make, calls: list[UsageEntry]) -> None:
    usage = make()
    first: dict[tuple[str, str], UsageEntry] = {}
    for call in calls:
        assert usage.record(call) is ((call.run, call.call_id) not in first)
        first.setdefault((call.run, call.call_id), call)
    report = usage.report()
    for name in MEASURES:
        recount = sum(1 if name == "requests" else getattr(c, name) for c in first.values())
        assert report["totals"][name] == sum(row[name] for row in report["by"]) == recount
    if first:
        exact_ms = sum(call.latency_ms for call in first.values()) / len(first)
        assert report["totals"]["latency_ms"]["mean"] == round(exact_ms)
        ordered = sorted(max(1, call.latency_ms) for call in first.values())
        median_ms = ordered[(len(ordered) + 1) // 2 - 1]
        assert report["totals"]["latency_ms"]["p50"] == pytest.approx(median_ms, rel=0.025)


def test_a_report_never_scans_the_keys(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        usage = RedisUsage(client)
        for n in range(50):
            usage.record(entry(f"c{n}", run=f"r{n % 5}", model=f"m{n}"))
        client.config_resetstat()
        assert len(usage.report()["by"]) == 50
        stats = client.info("commandstats")
    assert set(stats) - {"cmdstat_info", "cmdstat_config|resetstat"} == {
        "cmdstat_smembers",
        "cmdstat_hgetall",
    }
    assert stats["cmdstat_hgetall"]["calls"] == 50


RACER = textwrap.dedent("""
    import sys
    import redis
    from alphamill.usage import RedisUsage, UsageEntry

    usage = RedisUsage(redis.Redis.from_url(sys.argv[1]))
    counted = 0
    for n in range(400):
        row = ("r", "2026-01-31", "t", f"m{n % 7}")
        counted += usage.record(UsageEntry(f"c{n}", *row, n, 1, 2, n * n, n))
    print(counted)
""")


def test_processes_that_race_for_the_same_calls_count_each_once(redis_url: str) -> None:
    command = [sys.executable, "-c", RACER, redis_url]
    racers = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    counted = [int(racer.communicate(timeout=work_s())[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert sum(counted) == 400
    with redis.Redis.from_url(redis_url) as client:
        totals = RedisUsage(client).report("r")["totals"]
    assert totals["requests"] == 400
    assert totals["prompt_tokens"] == sum(range(400))
    assert totals["cost_usd_micros"] == sum(n * n for n in range(400))
    assert totals["cached_tokens"] == 400
    assert totals["latency_ms"]["mean"] == round(sum(range(400)) / 400)
