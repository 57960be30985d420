from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.llm.messages import Message, TokenUsage, same_model
from alphamill.llm.prices import PriceTable
from alphamill.llm.tokens import bound_tokens, estimate_tokens
from alphamill.settings import LLMSettings, Price

TABLE = PriceTable.shipped()


@pytest.mark.parametrize(
    ("model", "usage", "micros"),
    [
        ("gpt-4.1", TokenUsage(1000, 0, 100), 2800),  # 1000 * 2 + 100 * 8
        ("gpt-4.1", TokenUsage(1000, 800, 100), 1600),  # 200 * 2 + 800 * 0.5 + 100 * 8
        ("gpt-4.1-mini", TokenUsage(1, 0, 0), 1),  # 0.4, rounded up
        ("gpt-4o-mini", TokenUsage(20, 0, 5), 6),  # 3 + 3 exactly: no rounding
        ("offline-proposer", TokenUsage(10_000, 0, 1_000), 1_500),
    ],
)
def test_cost_by_hand(model: str, usage: TokenUsage, micros: int) -> None:
    assert TABLE[model].cost_micros(usage) == micros


def test_every_default_tier_has_a_price_and_every_price_a_date_and_a_source() -> None:
    for tier in LLMSettings().tiers.values():
        assert tier.model in TABLE
    for row in TABLE:
        assert date.fromisoformat(row.price.as_of)
        assert row.source
        if row.retires:
            assert date.fromisoformat(row.retires)
            assert re.search(r"20\d\d-\d\d-\d\d", row.retires_source)  # when that was read
            assert row.successor


def test_a_users_price_wins_and_without_a_cached_price_nothing_is_discounted() -> None:
    table = PriceTable.shipped(
        {"gpt-4.1": Price(input=1, output=1), "mine": Price(input=0, output=0)}
    )
    assert table["gpt-4.1"].cost_micros(TokenUsage(10, 10, 10)) == 20
    assert table["mine"].worst_case_micros(10, 10, 0) == 0


def test_an_unknown_model_is_named_with_the_cure() -> None:
    for name in ("gpt-9", "gpt-4.1-2025-04-14"):  # a dated version may cost something else
        with pytest.raises(Misconfigured) as raised:
            _ = TABLE[name]
        assert name in str(raised.value)
        assert f'[llm.prices."{name}"]' in raised.value.cure
        assert "ALPHAMILL_CONFIG" in raised.value.cure


@given(
    prompt=st.integers(0, 10**6),
    cached_frac=st.floats(0, 1),
    completion=st.integers(0, 10**5),
    dear_cache=st.floats(0, 9),
)
def test_no_cost_passes_the_worst_case(
    prompt: int, cached_frac: float, completion: int, dear_cache: float
) -> None:
    table = PriceTable.shipped({"mine": Price(input=1, output=3, cached_input=dear_cache)})
    usage = TokenUsage(prompt, int(prompt * cached_frac), completion)
    now_ms = SystemClock().now_ms()
    for row in table:
        worst = row.worst_case_micros(prompt, completion, now_ms)
        assert row.cost_micros(usage) <= worst


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-4.1", "gpt-4.1", True),
        ("gpt-4.1", "gpt-4.1-2025-04-14", True),
        ("gpt-4.1", "gpt-4.1-mini", False),
        ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False),
        ("openai/gpt-4.1", "gpt-4.1", True),
        ("gemini-2.5-flash", "models/gemini-2.5-flash", True),
        ("claude-sonnet-4.5", "claude-sonnet-4.5@20250929", True),
        ("some-model-latest", "some-model-20250929", True),
        ("deepseek-flash", "DeepSeek-Flash", True),
        ("gpt-4.1", "llama-alias", False),
        ("a.c", "abc", False),
    ],
)
def test_which_served_names_are_the_asked_one(asked: str, served: str, same: bool) -> None:
    assert same_model(asked, served) is same


def test_the_bound_counts_bytes_and_the_estimate_stays_below_it() -> None:
    one = (Message("user", "héllo wörld 43521.5"),)
    assert bound_tokens(one) == len("héllo wörld 43521.5".encode()) + 16
    # h(1) é(2) llo(1) w(1) ö(2) rld(1) and seven digits and signs
    assert estimate_tokens(one) == 15 + 16


@given(st.text())
def test_the_estimate_never_passes_the_bound(text: str) -> None:
    messages = (Message("user", text),)
    assert 16 <= estimate_tokens(messages) <= bound_tokens(messages)


HOUR_MS = 3_600_000
MONDAY_MS = 1_795_392_000_000 // 86_400_000 * 86_400_000  # 2026-11-23 00:00 UTC
DEEPSEEK = TokenUsage(1_000_000, 400_000, 100_000)
OFF_PEAK = 90_000 + 1_200 + 60_000  # 600k * 0.15 + 400k * 0.003 + 100k * 0.60


@pytest.mark.parametrize(
    ("day", "hour", "times"),
    [
        (0, 0.99, 1),
        (0, 1, 2),
        (0, 3.99, 2),
        (0, 4, 1),
        (0, 6, 2),
        (0, 9.99, 2),
        (0, 10, 1),
        (4, 2, 2),
        (5, 2, 1),
        (6, 7, 1),
    ],
)
def test_the_hour_and_the_day_of_the_week_decide(day: int, hour: float, times: int) -> None:
    moment = MONDAY_MS + round((24 * day + hour) * HOUR_MS)
    during = (moment, moment)
    assert TABLE["deepseek-flash"].cost_micros(DEEPSEEK, during) == times * OFF_PEAK


def test_a_call_across_the_turn_is_charged_the_dearer_rate() -> None:
    before, after = MONDAY_MS + HOUR_MS - 1, MONDAY_MS + HOUR_MS + 1
    assert TABLE["deepseek-flash"].cost_micros(DEEPSEEK, (before, after)) == 2 * OFF_PEAK
    assert TABLE["deepseek-flash"].cost_micros(DEEPSEEK) == 2 * OFF_PEAK  # time unknown


def test_the_worst_case_is_dear_at_any_hour() -> None:
    worst = TABLE["deepseek-flash"].worst_case_micros(1_000_000, 100_000, MONDAY_MS + 12 * HOUR_MS)
    assert worst == 300_000 + 120_000


def test_written_cache_has_its_price() -> None:
    price = Price(input=1, output=0, cached_input=0.1, cache_write=1.25)
    table = PriceTable.shipped({"m": price})
    assert table["m"].cost_micros(TokenUsage(1000, 300, 0, cache_write=400)) == 300 + 30 + 500
    assert table["m"].worst_case_micros(1000, 0, 0) == 1250


def test_a_price_holds_from_its_day_and_a_budget_expects_it() -> None:
    settings = LLMSettings.model_validate(
        {
            "prices": {
                "m": [
                    {"input": 1, "output": 0},
                    {"input": 3, "output": 0, "effective_from": "2026-11-24"},
                ]
            }
        }
    )
    table = PriceTable.shipped(settings.prices)
    usage, last = TokenUsage(100, 0, 0), MONDAY_MS + 24 * HOUR_MS - 1
    assert table["m"].cost_micros(usage, (last, last)) == 100
    assert table["m"].cost_micros(usage, (last + 1, last + 1)) == 300
    assert table["m"].worst_case_micros(100, 0, MONDAY_MS) == 100
    assert table["m"].worst_case_micros(100, 0, last) == 300  # it may be billed after midnight


@pytest.mark.parametrize("hours", ["1-4", "01-25", "25-26", "01:00-04:00"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match="hours_utc"):
        Price.model_validate(
            {"input": 1, "output": 1, "peak": {"hours_utc": [hours], "input": 1, "output": 1}}
        )
