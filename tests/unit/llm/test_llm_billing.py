"""What is charged is never below the price of the text that came, whatever the provider states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alphamill.clock import ManualClock
from alphamill.limits import OpenGate
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.call import Call
from alphamill.llm.charges import charge
from alphamill.llm.endpoint.billing import read_cost_micros, read_upstream_calls, read_usage
from alphamill.llm.endpoint.completion import read_completion
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import BudgetExhausted, Caps
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.llm.scripted import ScriptedChat
from alphamill.llm.tokens import are_too_few, bound_tokens, estimate_tokens, least_tokens
from alphamill.settings import Price, TierSettings
from alphamill.usage import MemoryUsage

PROMPT = "rank(close) is a factor that orders coins by price. " * 60  # 3,120 characters
REQUEST = ChatRequest("gpt-4.1-mini", (Message("user", PROMPT),), 900)
TEXT = '{"candidates": [{"expression": "-ts_zscore(close, 24)", "hypothesis": "it reverts"}]}' * 10
TABLE = PriceTable.shipped()
NOW = (1_795_392_000_000, 1_795_392_000_000)
BOUNDS = (bound_tokens(REQUEST.messages), 0, 900, True)


def answered(usage: Any, text: str = TEXT, model: str = "gpt-4.1-mini", **message: Any) -> Any:
    choice = {"message": {"content": text, **message}, "finish_reason": "stop"}
    return {"model": model, "choices": [choice], "usage": usage}


def charged(reply: ChatReply, prices: PriceTable = TABLE) -> int:
    price = prices[reply.asked_model]
    reserved = price.worst_case_micros(bound_tokens(REQUEST.messages), REQUEST.max_tokens, NOW[0])
    return charge(reply, price, prices, reserved, NOW).micros


RESERVED = TABLE["gpt-4.1-mini"].worst_case_micros(BOUNDS[0], 900, NOW[0])


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, "0 prompt tokens"),
        ({"prompt_tokens": 0, "completion_tokens": 350}, "0 prompt tokens"),
        ({"prompt_tokens": 1200, "completion_tokens": 0}, "0 output tokens"),
        ({"prompt_tokens": 40, "completion_tokens": 350}, "40 prompt tokens"),
        ({"prompt_tokens": 1200, "completion_tokens": 9}, "9 output tokens"),
        ({"total_tokens": 4000}, "no token counts"),
        ({}, "no token counts"),
        (None, "no token counts"),
    ],
)
def test_usage_that_cannot_be_true_is_none(usage: Any, why: str) -> None:
    reply = read_completion(answered(usage), REQUEST, 5)
    read = reply.usage
    assert (read.prompt, read.cached, read.completion, read.estimated) == BOUNDS
    assert why in read.doubt
    assert charged(reply) == RESERVED


def test_without_usage_the_dearest_that_it_can_have_been_is_charged() -> None:
    """Writing to the cache is dearer than input there, which the token bounds alone do not say."""
    prices = PriceTable.shipped({"mine": Price(input=1, output=1, cache_write=1.25)})
    reply = read_completion(answered(None, model="mine"), replace(REQUEST, model="mine"), 5)
    assert charged(reply, prices) == -(-(BOUNDS[0] * 125 + 900 * 100) // 100)


def test_thoughts_that_came_are_paid_for_too() -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 100, "total_tokens": 1300}
    assert not read_completion(answered(usage), REQUEST, 5).usage.estimated
    for name in ("reasoning_content", "reasoning"):
        reply = read_completion(
            answered(usage, **{name: "Perhaps volume leads. " * 900}), REQUEST, 5
        )
        assert reply.usage.estimated
        assert reply.usage.completion > 900  # more than the limit came, so the limit is no bound


@pytest.mark.parametrize(
    ("usage", "expected", "micros", "why"),
    [
        (  # a relay of Anthropic: 120 + 317 + 204.8 micro-dollars
            {
                "prompt_tokens": 300,
                "completion_tokens": 128,
                "total_tokens": 428,
                "prompt_tokens_details": {"cached_tokens": 3170},
            },
            (3470, 3170, 128, 0),
            642,
            "3170 cached tokens beside 300 of the prompt",
        ),
        (  # the same, added up in the total alone
            {
                "prompt_tokens": 300,
                "completion_tokens": 128,
                "total_tokens": 3598,
                "prompt_tokens_details": {"cached_tokens": 3170},
            },
            (3470, 3170, 128, 0),
            642,
            "beside 300",
        ),
        (  # Anthropic's own names
            {
                "prompt_tokens": 300,
                "completion_tokens": 128,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 500,
            },
            (1800, 1000, 128, 500),
            625,  # 800 * 0.40 (writing has no price of its own) + 100 + 204.8
            "1500 cached tokens beside",
        ),
        (  # cached and written fit one by one, but not together
            {
                "prompt_tokens": 1200,
                "completion_tokens": 128,
                "prompt_tokens_details": {"cached_tokens": 800, "cache_write_tokens": 800},
            },
            (2800, 800, 128, 800),
            1085,
            "1600 cached tokens beside 1200",
        ),
        (
            {"prompt_tokens": 1200, "completion_tokens": 128, "total_tokens": 2328},
            (1200, 0, 1128, 0),
            2285,
            "more than its parts",
        ),
        (
            {"prompt_tokens": 1200, "completion_tokens": 128, "total_tokens": 1000},
            (1200, 0, 128, 0),
            685,
            "less than its parts",
        ),
        (  # thoughts beside the output, as at xAI
            {
                "prompt_tokens": 1200,
                "completion_tokens": 128,
                "completion_tokens_details": {"reasoning_tokens": 700},
            },
            (1200, 0, 828, 0),
            1805,
            "700 tokens of thought",
        ),
        (
            {
                "prompt_tokens": 1200,
                "completion_tokens": 128,
                "prompt_cache_hit_tokens": 1100,
                "prompt_tokens_details": {"cached_tokens": 64},
            },
            (1200, 64, 128, 0),
            666,  # 1136 * 0.40 + 64 * 0.10 + 204.8
            "the lower, 64",
        ),
    ],
)
def test_contradictions_are_settled_the_dearer_way(
    usage: dict[str, Any], expected: tuple[int, ...], micros: int, why: str
) -> None:
    reply = read_completion(answered(usage), REQUEST, 5)
    read = reply.usage
    assert (read.prompt, read.cached, read.completion, read.cache_write) == expected
    assert not read.estimated
    assert why in read.doubt
    assert charged(reply) == micros


ANY_FIGURE = st.one_of(
    st.integers(-3, 6000), st.just(0), st.integers(), st.floats(), st.text(max_size=4), st.none()
)
ANY_DETAILS = st.one_of(
    ANY_FIGURE,
    st.dictionaries(
        st.sampled_from(
            ["cached_tokens", "cache_write_tokens", "cache_creation_tokens", "reasoning_tokens"]
        ),
        ANY_FIGURE,
    ),
)
ANY_USAGE = st.one_of(
    st.none(),
    st.lists(st.integers()),
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": ANY_FIGURE,
            "completion_tokens": ANY_FIGURE,
            "total_tokens": ANY_FIGURE,
            "prompt_cache_hit_tokens": ANY_FIGURE,
            "cache_read_input_tokens": ANY_FIGURE,
            "cache_creation_input_tokens": ANY_FIGURE,
            "prompt_tokens_details": ANY_DETAILS,
            "completion_tokens_details": ANY_DETAILS,
            "cost": ANY_FIGURE,
        },
    ),
)
WORDS = st.lists(
    st.sampled_from(["rank(close)", '{"keep": [1]}', "volatility", " ", "\n", "é", "价格", "12"])
).map(" ".join)


@given(ANY_USAGE, st.one_of(WORDS, st.text(), WORDS.map(lambda text: text * 300)))
@example({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, TEXT)
@example({"prompt_tokens": 4000, "completion_tokens": 0}, TEXT)
@example({"prompt_tokens": 9, "completion_tokens": 400}, TEXT)
@example({"prompt_tokens": 300, "completion_tokens": 400, "cache_read_input_tokens": 900}, TEXT)
@example(None, TEXT * 300)
def test_the_charge_is_never_below_the_price_of_the_text(usage: Any, text: str) -> None:
    reply = read_completion(answered(usage, text), REQUEST, 5)
    sent = sum(least_tokens(message.content) for message in REQUEST.messages)
    read = reply.usage
    # The prompt as it is charged, and on top of it the text at the price of output.
    floor = TABLE["gpt-4.1-mini"].cost_micros(replace(read, completion=least_tokens(text)))
    assert charged(reply) >= floor
    assert read.prompt >= sent
    assert read.completion >= least_tokens(text)
    if reply.usage.estimated:
        assert charged(reply) >= RESERVED
        assert reply.usage.doubt
    stated = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if isinstance(stated, int) and 0 <= stated < 10**9:
        assert reply.usage.completion >= stated


@given(
    prompt=st.integers(900, 4000),
    cached_frac=st.floats(0, 1),
    completion=st.integers(300, 5000),
    with_total=st.booleans(),
)
def test_sound_usage_is_taken_as_it_stands(
    prompt: int, cached_frac: float, completion: int, with_total: bool
) -> None:
    cached = int(prompt * cached_frac)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": completion // 2},
    }
    if with_total:
        usage["total_tokens"] = prompt + completion
    assert read_usage(usage, REQUEST, TEXT) == TokenUsage(prompt, cached, completion)


@given(st.text())
def test_the_least_never_passes_the_estimate(text: str) -> None:
    assert least_tokens(text) <= estimate_tokens((Message("user", text),))


def test_the_least_is_below_one_token_a_word() -> None:
    assert least_tokens("The quick brown fox jumps over the lazy dog again.") == 3
    assert least_tokens('{"expression": "-ts_zscore(close, 24)", "horizon_bars": 6}') == 3
    assert least_tokens("responsibility") == 1
    assert least_tokens(" " * 128) == 1
    assert least_tokens("=" * 64) == 1
    assert least_tokens("") == 0


@pytest.mark.parametrize(
    ("asked", "served", "micros"),
    [
        ("gpt-4.1-mini", "gpt-4.1-mini", 640),
        ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", 640),
        ("gpt-4.1-mini", "openai/gpt-4.1-mini", 640),
        ("gpt-4.1-mini", "gpt-4.1", 3200),
        ("gpt-4.1-mini", "gpt-4.1-2025-04-14", 3200),
        ("gpt-4.1-mini", "openai/gpt-4.1@latest", 3200),
        ("gpt-4.1", "gpt-4.1-mini", 3200),  # the cheaper one is not believed
        ("gpt-4.1-mini", "nobody-knows-it", RESERVED),
        ("gpt-4.1-mini", "gpt-4.1-nano", RESERVED),
    ],
)
def test_what_was_served_has_its_price(asked: str, served: str, micros: int) -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 100, "total_tokens": 1300}
    text = "a short reply of some words"
    body = answered(usage, text, served)
    reply = read_completion(body, replace(REQUEST, model=asked), 5)
    assert charged(reply) == micros
    doubt = charge(reply, TABLE[asked], TABLE, RESERVED, NOW).doubt
    assert bool(doubt) is (micros == RESERVED)
    assert served in doubt or not doubt


def test_a_dated_name_with_a_price_of_its_own_is_charged_at_it() -> None:
    prices = PriceTable.shipped({"gpt-4.1-mini-2025-01-01": Price(input=9, output=9)})
    usage = TokenUsage(1000, 0, 100)
    reply = ChatReply("x", "stop", "gpt-4.1-mini-2025-01-01", usage, 5, "gpt-4.1-mini")
    assert charged(reply, prices) == 9900


def test_a_model_renamed_by_its_price_is_known() -> None:
    reply = ChatReply("x", "stop", "gpt-5-own-2025-08-07", TokenUsage(1000, 0, 100), 5, "deployed")
    prices = PriceTable.shipped({"openai/gpt-5-own": Price(input=1, output=1)})
    assert charge(reply, prices["openai/gpt-5-own"], prices, 10**6, NOW).micros == 1100


@pytest.mark.parametrize(
    ("cost", "header", "micros"),
    [
        (None, "0.0031999999999999997", 3200),
        (0.0001, "0.0032", 3200),
        (0.004, "0.0032", 4000),
        ({"total_cost": 0.005, "output_tokens_cost": 0.001}, None, 5000),
        (None, "3.2e-3", 3200),
        (None, "None", None),
        (None, "nan", None),
        (None, "-1", None),
        ({"total_cost": "x"}, "", None),
        (True, None, None),
    ],
)
def test_a_cost_is_read_wherever_it_stands(
    cost: Any, header: str | None, micros: int | None
) -> None:
    headers = {} if header is None else {"X-LiteLLM-Response-Cost": header}
    assert read_cost_micros({"cost": cost}, headers) == micros


def test_a_cost_in_a_header_is_charged_where_it_is_dearer() -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 100, "total_tokens": 1300}
    headers = {"x-litellm-response-cost": "0.0031999999999999997"}
    reply = read_completion(answered(usage, "short"), REQUEST, 5, headers)
    assert (reply.provider_cost_usd_micros, charged(reply)) == (3200, 3200)
    beyond = {"x-litellm-response-cost": "0.9"}  # without usage, but beyond the reservation
    assert charged(read_completion(answered(None), REQUEST, 5, beyond)) == 900_000


@pytest.mark.parametrize(
    ("headers", "calls"),
    [
        ({}, 1),
        ({"x-litellm-attempted-fallbacks": "1"}, 2),
        ({"X-LiteLLM-Attempted-Retries": "2", "x-litellm-attempted-fallbacks": "1"}, 4),
        ({"x-portkey-retry-attempt-count": "3"}, 4),
        ({"x-portkey-retry-attempt-count": "-1"}, 1),
        ({"x-litellm-attempted-retries": "many"}, 1),
    ],
)
def test_how_many_calls_a_gateway_made_of_one(headers: dict[str, str], calls: int) -> None:
    assert read_upstream_calls(headers) == calls


def test_calls_without_usable_usage_fill_the_budget_and_are_shown_as_estimated() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    headers = {"x-litellm-attempted-retries": "2"}
    reply = read_completion(answered(zeros), REQUEST, 5, headers)
    contradictory = read_completion(
        answered({"prompt_tokens": 300, "completion_tokens": 128, "cache_read_input_tokens": 900}),
        REQUEST,
        5,
    )
    clock, counters = ManualClock(), MemoryUsage()
    chat = ScriptedChat([contradictory, *[reply] * 20])
    routes = OneEndpoint(chat, TABLE, {"quick_scan": OpenGate()}, MemoryBreaker(clock))
    journal = MemoryJournal(clock)
    gateway = Gateway(routes, TABLE, journal, counters, clock)
    tier = TierSettings(model="gpt-4.1-mini", max_tokens=900)
    cap = 5 * RESERVED
    first = Call("run", "c0", "quick_scan", tier, REQUEST.messages, Caps(cap, 10 * cap))
    for number in range(5):
        gateway.ask(replace(first, call_id=f"c{number}"))
    with pytest.raises(BudgetExhausted):
        gateway.ask(replace(first, call_id="c5"))
    totals = counters.report("run")["totals"]
    assert totals["estimated_requests"] == 4
    assert totals["estimated_cost_usd_micros"] == 4 * RESERVED
    assert totals["doubted_requests"] == 1
    assert totals["gateway_retries"] == 8
    records = list(journal.calls("run"))
    assert [record.estimated for record in records].count(True) == 4
    assert all(record.usage_doubt for record in records)
    again = gateway.ask(replace(first, call_id="c1"))
    assert (again.replayed, again.reply) == (True, reply)


def test_a_call_whose_served_model_has_no_price_is_shown_as_estimated() -> None:
    usage = {"prompt_tokens": 1200, "completion_tokens": 400, "total_tokens": 1600}
    reply = read_completion(answered(usage, model="nobody-knows-it"), REQUEST, 5)
    clock, counters = ManualClock(), MemoryUsage()
    chat = ScriptedChat([reply])
    routes = OneEndpoint(chat, TABLE, {"quick_scan": OpenGate()}, MemoryBreaker(clock))
    journal = MemoryJournal(clock)
    gateway = Gateway(routes, TABLE, journal, counters, clock)
    tier = TierSettings(model="gpt-4.1-mini", max_tokens=900)
    call = Call("run", "c", "quick_scan", tier, REQUEST.messages, Caps(10**6, 10**6))
    assert gateway.ask(call).cost_usd_micros == RESERVED
    (record,) = journal.calls("run")
    assert "nobody-knows-it was served" in record.cost_doubt
    assert not record.usage_estimated  # the tokens are as stated
    totals = counters.report("run")["totals"]
    assert (totals["estimated_requests"], totals["doubted_requests"]) == (1, 0)
    assert (totals["estimated_cost_usd_micros"], totals["prompt_tokens"]) == (RESERVED, 1200)
    assert gateway.ask(call).reply == reply


# As providers and gateways word 1,200 and 400 tokens, and what is due for them by hand.
PLAIN = {"prompt_tokens": 1200, "completion_tokens": 400, "total_tokens": 1600}
SOUND = [
    ("OpenAI", PLAIN | {"prompt_tokens_details": {"cached_tokens": 1024}}, "gpt-4.1-mini", 813),
    (
        "OpenAI, thinking",
        PLAIN | {"completion_tokens_details": {"reasoning_tokens": 300}},
        "gpt-4.1-mini",
        1120,
    ),
    (
        "DeepSeek",
        PLAIN | {"prompt_cache_hit_tokens": 1024, "prompt_cache_miss_tokens": 176},
        "deepseek-flash",
        270,
    ),
    (
        "OpenRouter",
        PLAIN | {"prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 512}},
        "gpt-4.1-mini",
        1120,
    ),
    ("Ollama", PLAIN, "gpt-4.1-mini", 1120),
    (
        "LiteLLM before Anthropic",
        PLAIN
        | {
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 100},
        },
        "gpt-4.1-mini",
        820,
    ),
]


@pytest.mark.parametrize(("whose", "usage", "model", "due"), SOUND)
def test_what_is_stated_soundly_is_charged_to_the_micro_dollar(
    whose: str, usage: dict[str, Any], model: str, due: int
) -> None:
    reply = read_completion(answered(usage, model=model), replace(REQUEST, model=model), 5)
    assert charged(reply) == due
    assert (reply.usage.estimated, reply.usage.doubt) == (False, "")


@given(st.lists(st.text(), max_size=4), st.integers(0, 40))
def test_too_few_tokens_are_those_below_the_lower_bounds(texts: list[str], stated: int) -> None:
    assert are_too_few(stated, *texts) == (stated < sum(map(least_tokens, texts)))
