"""The offline LLM: it answers what a prompt asks, the same every time, within its limits."""

import json
import re
from random import Random

import pytest

from alphamill.language import language_manual, read_expression
from alphamill.llm.prompts import (
    Failed,
    Feedback,
    Setting,
    TooFast,
    Tried,
    detailed_analysis_prompt,
    final_verification_prompt,
    quick_scan_prompt,
)
from alphamill.llm.replies import read_proposal, read_review
from alphamill.sim.llm.proposer import NAME, refine, scan
from alphamill.sim.llm.server import Endpoint, LLMConfig

SETTING = Setting("1h")
WORKED = (
    Tried("-ts_zscore(close, 24)", 0.05, 8.1, 0.1, "reversal"),
    Tried("ts_mean(taker_buy_base / volume, 12)", 0.04, 6.0, 0.05, "flow"),
)


class Now:
    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


def body(messages, **more):
    return {
        "model": NAME,
        "messages": [{"role": m.role, "content": m.content} for m in messages],
        "max_tokens": 2000,
        **more,
    }


def scan_body(feedback=Feedback(), count=8, **more):  # noqa: B008  frozen
    bars = [{"open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}]
    prompt = quick_scan_prompt("MANUAL", SETTING, feedback, "BTCUSDT", bars, {}, count)
    return body(prompt, **more)


def text_of(reply):
    return reply["choices"][0]["message"]["content"]


def test_it_proposes_as_many_as_asked_and_all_of_them_parse():
    status, reply, _ = Endpoint(LLMConfig()).complete(scan_body(count=8))
    assert status == 200
    candidates, problems = read_proposal(text_of(reply))
    assert len(candidates) == 8
    assert not problems
    for candidate in candidates:
        read_expression(candidate.expression)


def test_equal_prompts_have_equal_answers_and_another_seed_another():
    first = Endpoint(LLMConfig(seed=1)).complete(scan_body())[1]
    again = Endpoint(LLMConfig(seed=1)).complete(scan_body())[1]
    other = Endpoint(LLMConfig(seed=2)).complete(scan_body())[1]
    assert text_of(first) == text_of(again) != text_of(other)


def test_told_that_its_best_cost_too_much_it_slows_down():
    told = Feedback(worked=WORKED, too_fast=TooFast(2, 2, 11.0))
    said = [
        [c.expression for c in read_proposal(text_of(Endpoint(LLMConfig()).complete(one)[1]))[0]]
        for one in (scan_body(Feedback(worked=WORKED), 16), scan_body(told, 16))
    ]
    plain, slow = ([_longest(text) for text in texts] for texts in said)
    assert len(slow) == len(plain) == 16
    assert sum(slow) / 16 > 1.3 * sum(plain) / 16
    slowed = [text for text in said[1] if any(f"({one.expression}, " in text for one in WORKED)]
    assert slowed
    assert min(map(_longest, slowed)) >= 12
    for text in said[1]:
        read_expression(text)


def _longest(text):
    """Bars of the longest window in an expression; 0 without one."""
    return max(map(int, re.findall(r", (\d+)\)", text)), default=0)


def test_it_varies_what_worked_and_does_not_repeat_what_was_tried():
    feedback = Feedback(worked=WORKED, failed=(Failed("weak", 1, "-ts_rank(volume, 12)"),))
    reply = Endpoint(LLMConfig()).complete(scan_body(feedback, count=16))[1]
    expressions = [c.expression for c in read_proposal(text_of(reply)).candidates]
    assert not {tried.expression for tried in WORKED} & set(expressions)
    assert any("ts_zscore(close" in text or "taker_buy_base" in text for text in expressions)


def test_detailed_analysis_refines_the_best():
    prompt = detailed_analysis_prompt("MANUAL", SETTING, Feedback(tuple(WORKED)), 6)
    reply = Endpoint(LLMConfig()).complete(body(prompt))[1]
    expressions = [c.expression for c in read_proposal(text_of(reply)).candidates]
    assert len(expressions) == 6
    assert all("ts_zscore(close" in text or "taker_buy_base" in text for text in expressions)


def test_the_review_keeps_three_and_stops_the_disguised():
    factors = [*WORKED, Tried("rank(-ts_zscore(close, 24))"), Tried("-ts_std(returns, 6)")]
    reply = Endpoint(LLMConfig()).complete(body(final_verification_prompt("M", SETTING, factors)))[
        1
    ]
    review = read_review(text_of(reply), "stop", len(factors))
    assert review.keep == (0, 1, 3)
    assert set(review.veto) == {2}


def test_usage_is_stated_and_a_known_prefix_is_cached():
    endpoint = Endpoint(LLMConfig())
    long = quick_scan_prompt(language_manual() * 2, SETTING, Feedback(), "A", [], {}, 2)
    first, second = (endpoint.complete(body(long))[1]["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert 1024 <= second["prompt_tokens_details"]["cached_tokens"] < second["prompt_tokens"]
    assert first["total_tokens"] == first["prompt_tokens"] + first["completion_tokens"]


def test_a_reply_past_max_tokens_is_cut_and_says_so():
    reply = Endpoint(LLMConfig()).complete(scan_body(count=20) | {"max_tokens": 50})[1]
    assert reply["choices"][0]["finish_reason"] == "length"
    assert len(text_of(reply)) == 200
    with pytest.raises(ValueError, match=r"Unterminated|delimiter|Expecting"):
        json.loads(text_of(reply))


def test_past_its_limit_it_refuses_and_says_when_to_come_back():
    now = Now()
    endpoint = Endpoint(LLMConfig(requests_per_minute=2), now)
    assert [endpoint.complete(scan_body())[0] for _ in range(3)] == [200, 200, 429]
    _, error, headers = endpoint.complete(scan_body())
    assert error["error"]["code"] == "rate_limit_exceeded"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    now.s += int(headers["Retry-After"])
    assert endpoint.complete(scan_body())[0] == 200


def test_tokens_are_limited_by_what_a_call_may_take():
    endpoint = Endpoint(LLMConfig(tokens_per_minute=2100), Now())
    assert endpoint.complete(scan_body())[0] == 429
    assert endpoint.complete(scan_body() | {"max_tokens": 100})[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found"),
        ({"messages": []}, 400, "invalid_value"),
        ({"messages": "hello"}, 400, "invalid_value"),
    ],
)
def test_bad_requests_are_refused_as_openai_does(change, status, code):
    got, error, _ = Endpoint(LLMConfig()).complete(scan_body() | change)
    assert got == status
    assert error["error"]["code"] == code


def test_only_the_configured_key_is_accepted():
    endpoint = Endpoint(LLMConfig(api_key="right"))
    assert endpoint.refuses("Bearer wrong")
    assert not endpoint.refuses("Bearer right")
    assert not Endpoint(LLMConfig()).refuses("")


def test_the_grammar_never_repeats_itself_and_always_parses():
    ideas = scan(Random(3), 60, [], [])
    ideas += refine(Random(4), 30, [idea.expression for idea in ideas[:10]])
    texts = [idea.expression for idea in ideas]
    assert len(set(texts[:60])) == 60
    for text in texts:
        read_expression(text)
