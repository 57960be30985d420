"""The client against a real HTTP server that answers in each shape that providers use."""

from __future__ import annotations

import gc
import json
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from alphamill.errors import GiveUp, Misconfigured, RetryLater
from alphamill.limits import OpenGate
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.breaker.protocol import BreakerTimes
from alphamill.llm.call import Call
from alphamill.llm.endpoint import failures
from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.llm.endpoint.dialects import KEPT_S, Dialect, RedisDialects
from alphamill.llm.endpoint.http import Timeouts
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatRequest, Message, TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.settings import TierSettings
from tests.deadlines import ANSWER_S, slowness
from tests.loopback import Handler, serving

KEY = "sk-planted-0123456789abcdef"
REQUEST = ChatRequest(
    "gpt-4.1-mini",
    (Message("user", "hello"),),
    max_tokens=50,
    temperature=0.9,
    schema={"type": "object"},
    seed=7,
)


UNUSABLE = TokenUsage(21, 0, 50, True, doubt="no token counts are stated")
REST_IS_OUTPUT = "is more than its parts: the rest is taken for output"


def completion(**changes: Any) -> dict[str, Any]:
    body = {
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
    return body | changes


@dataclass
class Script:
    """What the server answers next, and what it was asked."""

    url: str = ""
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def says(self, status: int, body: Any, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, body, named))


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()

    class Provider(Handler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            script.seen.append(json.loads(self.rfile.read(length)))
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            script.headers.append(dict(self.headers))
            script.connections.add(self.client_address)
            status, body, headers = script.answers.pop(0)
            if callable(body):
                body(self)
            else:
                self.reply(status, body, headers)

    with serving(Provider) as (_, url):
        script.url = f"{url}/v1"
        yield script


@pytest.fixture
def chat(server: Script) -> Iterator[OpenAIChat]:
    client = OpenAIChat(server.url, SecretStr(KEY), ANSWER_S)
    yield client
    client.close()


def test_a_reply_is_read_and_the_request_is_as_asked(server: Script, chat: OpenAIChat) -> None:
    server.says(200, completion())
    server.says(200, completion())
    reply = chat.complete(REQUEST)
    chat.complete(REQUEST)
    assert (reply.text, reply.finish_reason) == ("hi", "stop")
    assert reply.usage == TokenUsage(12, 4, 3)
    assert (reply.served_as_asked, reply.provider_cost_usd_micros) == (True, None)
    assert 0 <= reply.latency_ms < 500
    assert server.seen[0] == {
        "model": "gpt-4.1-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 50,
        "stream": False,
        "temperature": 0.9,
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": {"type": "object"}},
        },
    }
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert len(server.connections) == 1  # kept alive


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 5},
            TokenUsage(9, 5, 2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None},
            TokenUsage(9, 0, 2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 31},  # hidden thinking
            TokenUsage(9, 0, 22, doubt=f"the total of 31 {REST_IS_OUTPUT}"),
        ),
        ({"prompt_tokens": "9", "completion_tokens": 2}, UNUSABLE),
        ({"prompt_tokens": 9, "completion_tokens": -2}, UNUSABLE),
        (None, UNUSABLE),
        ([], UNUSABLE),
    ],
)
def test_usage_in_its_dialects(
    server: Script, chat: OpenAIChat, usage: Any, expected: TokenUsage
) -> None:
    server.says(200, completion(usage=usage))
    assert chat.complete(REQUEST).usage == expected


def test_the_providers_own_cost_is_read(server: Script, chat: OpenAIChat) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "cost": 0.00012345}
    server.says(200, completion(usage=usage))
    assert chat.complete(REQUEST).provider_cost_usd_micros == 124


def test_what_a_gateways_headers_tell_is_read(server: Script, chat: OpenAIChat) -> None:
    told = {"x_litellm_response_cost": "0.0032", "x_litellm_attempted_fallbacks": "1"}
    server.says(200, completion(), **told)
    reply = chat.complete(REQUEST)
    assert (reply.provider_cost_usd_micros, reply.upstream_calls) == (3200, 2)


def test_odd_but_paid_replies_are_replies(server: Script, chat: OpenAIChat) -> None:
    cut = [{"message": {"content": '{"a": 1'}, "finish_reason": "length"}]
    refusal = [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": None}]
    halves = [{"message": {"content": "half \ud800 pair"}, "finish_reason": "stop"}]
    for choices in (cut, refusal, halves):
        server.says(200, completion(choices=choices, model="llama-alias"))
    assert chat.complete(REQUEST).finish_reason == "length"
    assert chat.complete(REQUEST).text == "I cannot"
    reply = chat.complete(REQUEST)
    assert reply.text == "half ? pair"
    assert not reply.served_as_asked


QUOTA = {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted", "param": None}}
LIMIT = {"error": {"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}}
GEMINI = [{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}]
GOOGLE_WAIT = [
    {"error": {"code": 429, "details": [{"@type": "x", "retryDelay": "34s"}, "odd", None]}}
]
BAD_KEY_GEMINI = [
    {
        "error": {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
        }
    }
]
CONTEXT_LLAMA = {
    "error": {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "request (9031 tokens) exceeds the available size",
    }
}
CONTEXT_OPENAI = {"error": {"code": "context_length_exceeded", "message": "too long"}}
NO_MODEL = {"error": {"code": "model_not_found", "message": "The model `x` does not exist"}}
NO_MODEL_OLLAMA = {"error": {"message": 'model "x" not found, try pulling it first', "code": None}}
NO_MODEL_DEEPSEEK = {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}
OVERLOADED = {"error": {"code": "server_is_overloaded", "message": "later"}}
WITHIN = {"error": {"code": 429, "message": "upstream"}}
WITHIN_CHOICE = completion(
    choices=[{"error": {"code": 502, "message": "upstream died"}, "finish_reason": "error"}]
)
FAILURES = [
    (429, LIMIT, failures.RateLimited),
    (429, GEMINI, failures.RateLimited),
    (429, b"<html>too many</html>", failures.RateLimited),
    (429, QUOTA, failures.QuotaExhausted),
    (402, {"error": {"message": "Insufficient Balance", "code": None}}, failures.QuotaExhausted),
    (402, b"", failures.QuotaExhausted),
    (401, {"error": {"code": 401, "message": "Invalid API Key"}}, failures.KeyRefused),
    (403, {"message": "forbidden"}, failures.AccessRefused),
    (400, BAD_KEY_GEMINI, failures.KeyRefused),
    (404, NO_MODEL, failures.ModelNotFound),
    (404, NO_MODEL_OLLAMA, failures.ModelNotFound),
    (400, NO_MODEL_DEEPSEEK, failures.ModelNotFound),
    (404, b"nginx", failures.EndpointNotFound),
    (405, {"detail": "Method Not Allowed"}, failures.EndpointNotFound),
    (301, b"", failures.EndpointNotFound),
    (400, CONTEXT_LLAMA, failures.ContextTooLong),
    (400, CONTEXT_OPENAI, failures.ContextTooLong),
    (400, {"error": "just words"}, failures.RequestRefused),
    (422, {"detail": [{"loc": ["body"]}]}, failures.RequestRefused),
    (500, {"error": {"message": None, "code": 500}}, failures.ServerFailed),
    (502, b"<html>bad gateway</html>", failures.ServerFailed),
    (503, OVERLOADED, failures.Overloaded),
    (503, b"upstream connect error or disconnect/reset", failures.ServerFailed),
    (504, b"", failures.ServerFailed),
    (408, b"", failures.ServerFailed),
    (200, WITHIN, failures.RateLimited),
    (200, {"error": {"code": "rate_limit_exceeded"}}, failures.RateLimited),
    (200, {"error": {"type": "insufficient_quota"}}, failures.QuotaExhausted),
    (200, [WITHIN], failures.RateLimited),
    (200, WITHIN_CHOICE, failures.ServerFailed),
    (200, {"error": "just words"}, failures.ServerFailed),
    (200, {"error": {"code": "odd"}}, failures.ServerFailed),
    (200, b"not json", failures.InvalidReply),
    (200, b"[" * 100_000, failures.InvalidReply),
    (200, b"[]", failures.InvalidReply),
    (200, {}, failures.InvalidReply),
    (200, {"choices": []}, failures.InvalidReply),
    (200, {"choices": [{"message": None}]}, failures.InvalidReply),
]


@pytest.mark.parametrize(("status", "body", "expected"), FAILURES)
def test_each_refusal_has_its_class(
    server: Script, chat: OpenAIChat, status: int, body: Any, expected: type[Exception]
) -> None:
    server.says(status, body)
    gc.collect()
    gc.disable()  # a finalizer that runs at the depth of the deepest reply has no stack left
    try:
        with pytest.raises(expected) as raised:
            chat.complete(REQUEST)
    finally:
        gc.enable()
    assert type(raised.value) is expected
    again = expected(*raised.value.args)
    assert str(again) == str(raised.value)
    assert isinstance(raised.value, RetryLater | GiveUp | Misconfigured)


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ({"Retry_After": "3"}, LIMIT, 3.0),
        ({"retry_after_ms": "1500", "Retry_After": "3"}, LIMIT, 1.5),
        ({"x_ratelimit_reset_tokens": "6m0s", "x_ratelimit_remaining_tokens": "0"}, LIMIT, 360.0),
        (
            {
                "x_ratelimit_reset_requests": "12ms",
                "x_ratelimit_remaining_requests": "0",
                "x_ratelimit_reset_tokens": "6m0s",
                "x_ratelimit_remaining_tokens": "900",
            },
            LIMIT,
            0.012,
        ),
        ({"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}, LIMIT, 0.0),
        ({"Retry_After": "soon"}, LIMIT, 5.0),
        ({"Retry_After": "99999999"}, LIMIT, 3600.0),
        ({}, GOOGLE_WAIT, 34.0),
        ({}, LIMIT, 5.0),
    ],
)
def test_how_long_a_rate_limit_asks_to_wait(
    server: Script, chat: OpenAIChat, headers: dict[str, str], body: Any, wait_s: float
) -> None:
    server.says(429, body, **headers)
    with pytest.raises(failures.RateLimited) as raised:
        chat.complete(REQUEST)
    assert raised.value.after_s == pytest.approx(wait_s)
    assert not raised.value.counts  # nobody's failed try


def test_no_credits_with_a_wait_is_a_wait(server: Script, chat: OpenAIChat) -> None:
    server.says(402, {"error": {"message": "Insufficient credits", "code": 402}}, Retry_After="7")
    with pytest.raises(failures.RateLimited) as raised:
        chat.complete(REQUEST)
    assert (raised.value.after_s, raised.value.counts) == (7.0, False)


LLAMA = {  # as llama.cpp's server says it
    "choices": [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "hi"}}
    ],
    "created": 1_763_800_000,
    "id": "chatcmpl-x",
    "model": "an-alias",
    "object": "chat.completion",
    "system_fingerprint": "b0-unknown",
    "timings": {"prompt_ms": 3.1, "predicted_n": 8},
    "usage": {
        "completion_tokens": 8,
        "prompt_tokens": 39,
        "total_tokens": 47,
        "prompt_tokens_details": {"cached_tokens": 38},
    },
}
REASONING = completion(
    usage={
        "prompt_tokens": 2000,
        "completion_tokens": 700,
        "total_tokens": 2700,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512},
        "completion_tokens_details": {"reasoning_tokens": 640, "rejected_prediction_tokens": 0},
    }
)
DEEPSEEK = completion(
    model="deepseek-flash",
    usage={
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36,
        "prompt_tokens_details": None,
    },
)
OPENROUTER = completion(
    usage={
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "cost": 0.0000125,
        "cost_details": {"upstream_inference_cost": None},
    }
)
OLLAMA = completion(
    model="llama3.2", usage={"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35}
)
THOUGHTS_AS_OUTPUT = TokenUsage(10, 0, 140, doubt=f"the total of 150 {REST_IS_OUTPUT}")
GEMINI_THINKING = completion(  # its thoughts are in the total alone
    model="gemini-2.5-flash",
    usage={"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 150},
)


@pytest.mark.parametrize(
    ("body", "usage", "cost", "as_asked"),
    [
        (LLAMA, TokenUsage(39, 38, 8), None, False),
        (REASONING, TokenUsage(2000, 1024, 700, cache_write=512), None, True),
        (DEEPSEEK, TokenUsage(100, 64, 20), None, False),
        (OPENROUTER, TokenUsage(10, 0, 5), 13, True),
        (OLLAMA, TokenUsage(26, 0, 9), None, False),
        (
            GEMINI_THINKING,
            TokenUsage(10, 0, 140, doubt=f"the total of 150 {REST_IS_OUTPUT}"),
            None,
            False,
        ),
    ],
)
def test_each_providers_reply_is_read(
    server: Script, chat: OpenAIChat, body: Any, usage: TokenUsage, cost: int | None, as_asked: bool
) -> None:
    server.says(200, body)
    reply = chat.complete(REQUEST)
    assert (reply.text, reply.usage) == ("hi", usage)
    assert (reply.provider_cost_usd_micros, reply.served_as_asked) == (cost, as_asked)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b"<html><title>Sign in to the hotel</title>" + b"x" * 9000,
            "not JSON: '<html><title>Sign in",
        ),
        (
            b'data: {"choices": [{"delta": {}}]}\n\n',
            "a stream, although none was asked for: 'data:",
        ),
        ({"html-message": "<p>hello"}, r"without a completion \(no choices\): '.*html-message"),
        (b"[3]", r"no object: '\[3\]'"),
        (f"<p>{KEY}".encode(), r"<p>\[key\]"),
    ],
)
def test_what_came_instead_of_a_completion_is_quoted(
    server: Script, chat: OpenAIChat, body: Any, words: str
) -> None:
    server.says(200, body)
    with pytest.raises(failures.InvalidReply, match=words) as raised:
        chat.complete(REQUEST)
    assert len(str(raised.value)) < 200


def test_comments_while_a_request_is_queued_are_no_part_of_the_reply(
    server: Script, chat: OpenAIChat
) -> None:
    waiting = b": OPENROUTER PROCESSING\n\n" * 3
    server.says(200, waiting + json.dumps(completion()).encode())
    assert chat.complete(REQUEST).text == "hi"


def test_a_schema_refused_as_a_failure_of_the_server_is_learned_and_costs_nothing(
    server: Script, chat: OpenAIChat
) -> None:
    told = (
        "1 validation error:\n {'loc': ('response_format',), 'msg': 'Input should be json_object'}"
    )
    server.says(500, {"error": {"message": told, "type": "internal_server_error"}})
    server.says(200, completion())
    assert chat.complete(REQUEST).text == "hi"
    assert [seen["response_format"]["type"] for seen in server.seen] == [
        "json_schema",
        "json_object",
    ]


def test_headers_of_an_endpoint_are_sent_and_stay_secret(server: Script) -> None:
    secret = "pk-planted-9876543210"
    headers = {"x-portkey-provider": SecretStr("openai"), "x-portkey-api-key": SecretStr(secret)}
    chat = OpenAIChat(server.url, SecretStr(KEY), ANSWER_S, headers=headers)
    server.says(200, completion(choices=[{"message": {"content": f"openai {secret}"}}]))
    server.says(400, {"error": {"message": f"bad {secret}"}})
    assert chat.complete(REQUEST).text == "openai [key]"
    with pytest.raises(failures.RequestRefused) as raised:
        chat.complete(REQUEST)
    for sent in server.headers:
        assert sent["x-portkey-provider"] == "openai"
        assert sent["x-portkey-api-key"] == secret
        assert sent["Authorization"] == f"Bearer {KEY}"
    assert secret not in str(raised.value) + repr(chat) + repr(vars(chat))
    chat.close()


def test_blank_lines_while_a_request_is_queued_are_no_part_of_the_reply(
    server: Script, chat: OpenAIChat
) -> None:
    server.says(200, b"\n\n\n" + json.dumps(DEEPSEEK).encode())
    assert chat.complete(REQUEST).text == "hi"


def impatient_s() -> float:
    """A wait that a healthy reply over loopback stays within."""
    return 0.5 * slowness()


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A whole reply in ten parts, which takes longer than `impatient_s`."""
    raw = json.dumps(completion()).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    step = len(raw) // 10 + 1
    for at in range(0, len(raw), step):
        time.sleep(impatient_s() / 5)
        handler.wfile.write(raw[at : at + step])
        handler.wfile.flush()


def test_the_first_byte_and_the_whole_reply_have_times_of_their_own(server: Script) -> None:
    slow_start = OpenAIChat(server.url, None, Timeouts(ANSWER_S, impatient_s(), ANSWER_S))
    server.says(200, say_nothing)
    with pytest.raises(failures.TimedOut):
        slow_start.complete(REQUEST)
    server.says(200, drip)
    assert slow_start.complete(REQUEST).text == "hi"
    slow_start.close()


def test_what_an_endpoint_refuses_is_learned_once(server: Script, chat: OpenAIChat) -> None:
    for message in (
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "This response_format type json_schema is unavailable now",
        "Unsupported value: 'temperature' does not support 0.9",
    ):
        server.says(400, {"error": {"message": message, "code": "unsupported_parameter"}})
    server.says(200, completion())
    server.says(200, completion())
    chat.complete(REQUEST)
    chat.complete(REQUEST)
    assert len(server.seen) == 5
    assert server.seen[3] == server.seen[4]
    assert "max_tokens" not in server.seen[4]
    assert server.seen[4]["max_completion_tokens"] == 50
    assert server.seen[4]["response_format"] == {"type": "json_object"}
    assert "temperature" not in server.seen[4]


REASONING = replace(REQUEST, model="gpt-6-luna", reasoning_effort="none")


def test_a_model_of_the_defaults_is_asked_in_its_own_form(server: Script, chat: OpenAIChat) -> None:
    """As OpenAI words it: two fields have other names and rules in the gpt-6 line."""
    told = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead."
    )
    refusal = {"message": told, "param": "max_tokens", "code": "unsupported_parameter"}
    server.says(400, {"error": refusal})
    for _ in range(2):
        server.says(200, completion())
    chat.complete(REASONING)
    chat.complete(REASONING)
    assert [seen["reasoning_effort"] for seen in server.seen] == ["none"] * 3
    assert [seen.get("max_completion_tokens") for seen in server.seen] == [None, 50, 50]
    assert server.seen[2]["temperature"] == 0.9  # taken by a model that does not think


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (  # gpt-6.1-sol cannot do without thinking
            "Unsupported value: 'none' is not supported with this model. Supported values are: "
            "'low', 'medium', 'high', 'xhigh' and 'max'.",
            "reasoning_effort",
        ),
        ("Unrecognized request argument supplied: reasoning_effort", ""),
    ],
)
def test_an_effort_that_is_not_known_there_is_left_out(
    server: Script, chat: OpenAIChat, message: str, param: str
) -> None:
    server.says(400, {"error": {"message": message, "param": param}})
    told = "Unsupported value: 'temperature' does not support 0.9 with this model."
    server.says(400, {"error": {"message": told, "param": "temperature"}})
    server.says(200, completion())
    chat.complete(REASONING)
    assert ["reasoning_effort" in seen for seen in server.seen] == [True, False, False]
    assert ["temperature" in seen for seen in server.seen] == [True, True, False]


def test_no_effort_is_sent_where_none_is_named(server: Script, chat: OpenAIChat) -> None:
    server.says(200, completion())
    chat.complete(REQUEST)
    assert "reasoning_effort" not in server.seen[0]


def test_a_providers_switch_of_thinking_is_sent_as_it_is(server: Script, chat: OpenAIChat) -> None:
    server.says(200, completion())
    chat.complete(replace(REQUEST, extra_body={"thinking": {"type": "disabled"}}))
    assert server.seen[0]["thinking"] == {"type": "disabled"}
    assert server.seen[0]["model"] == REQUEST.model


def test_what_one_worker_learned_the_next_knows(server: Script, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        workers = [
            OpenAIChat(server.url, None, 5.0, dialects=RedisDialects(client, server.url))
            for _ in range(3)
        ]
        told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        server.says(400, {"error": {"message": told}})
        for _ in range(2):
            server.says(200, completion())
        workers[0].complete(REQUEST)
        workers[1].complete(REQUEST)
        assert ["max_completion_tokens" in seen for seen in server.seen] == [False, True, True]
        (key,) = client.scan_iter("alphamill:llm:dialect:*")
        assert 0 < client.ttl(key) <= KEPT_S

        server.says(400, {"error": {"message": "Unknown field max_completion_tokens"}})
        for _ in range(2):
            server.says(200, completion())
        workers[2].complete(REQUEST)  # its endpoint was replaced by another since
        forgetful = OpenAIChat(server.url, None, 5.0, dialects=RedisDialects(client, server.url))
        forgetful.complete(REQUEST)
        assert ["max_tokens" in seen for seen in server.seen[3:]] == [False, True, True]

        client.set(key, b'{"limit_field": "max_fun"}')
        assert RedisDialects(client, server.url).recall(REQUEST.model) == Dialect()
        for each in (*workers, forgetful):
            each.close()


def test_without_redis_a_worker_learns_for_itself(server: Script) -> None:
    client = redis.Redis(port=1)
    chat = OpenAIChat(server.url, None, 5.0, dialects=RedisDialects(client, server.url))
    server.says(400, {"error": {"message": "seed is not supported"}})
    for _ in range(2):
        server.says(200, completion())
    chat.complete(REQUEST)
    chat.complete(REQUEST)
    assert ["seed" in seen for seen in server.seen] == [True, False, False]
    chat.close()


def test_a_refusal_about_something_else_is_no_reason_to_doubt(
    server: Script, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        known = RedisDialects(client, server.url)
        known.learn(REQUEST.model, Dialect(limit_field="max_completion_tokens"))
        chat = OpenAIChat(server.url, None, 5.0, dialects=known)
        server.says(400, {"error": {"message": "no such user"}})
        with pytest.raises(failures.RequestRefused):
            chat.complete(REQUEST)
        assert len(server.seen) == 1
        chat.close()


def test_an_endpoint_that_refuses_every_format_is_not_asked_for_ever(
    server: Script, chat: OpenAIChat
) -> None:
    for _ in range(3):
        server.says(400, {"error": {"message": "response_format is not supported"}})
    with pytest.raises(failures.RequestRefused):
        chat.complete(REQUEST)
    assert [seen.get("response_format", {}).get("type") for seen in server.seen] == [
        "json_schema",
        "json_object",
        None,
    ]


def test_no_server_no_charge() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = OpenAIChat(f"http://127.0.0.1:{port}/v1", None, 0.5)
    with pytest.raises(failures.NotConnected, match="connection refused"):
        client.complete(REQUEST)
    client.close()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.close_connection = True


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    assert handler.rfile.read(1) == b"", "until the other side has gone"
    handler.close_connection = True


def keep_alive_lines(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:  # until the other side has gone
            handler.wfile.write(b"\n")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (hang_up, failures.ConnectionLost),
        (cut_short, failures.ConnectionLost),
        (say_nothing, failures.TimedOut),
        (keep_alive_lines, failures.TimedOut),
    ],
)
def test_broken_exchanges(server: Script, behaviour: Any, expected: type[Exception]) -> None:
    server.says(200, behaviour)
    chat = OpenAIChat(server.url, SecretStr(KEY), impatient_s())
    with pytest.raises(expected) as raised:
        chat.complete(REQUEST)
    chat.close()
    assert type(raised.value) is expected


def test_models_are_listed(server: Script, chat: OpenAIChat) -> None:
    server.says(200, {"data": [{"id": "b"}, {"id": "a", "meta": {}}, {"id": 3}, "odd"]})
    server.says(401, {"error": {"code": 401, "message": "Invalid API Key"}})
    assert chat.models() == ["a", "b"]
    with pytest.raises(failures.KeyRefused):
        chat.models()


@pytest.mark.parametrize("url", ["", "api.openai.com/v1", "ftp://host/v1", "http://", "http://[x"])
def test_a_bad_address_is_named(url: str) -> None:
    with pytest.raises(Misconfigured, match="ALPHAMILL_LLM_URL"):
        OpenAIChat(url, None, 1.0)


@pytest.mark.parametrize("key", ["sk-two\nlines-0123456", "sk-ünï-0123456", "Bearer sk-01234567"])
def test_a_key_that_cannot_be_sent_is_not_quoted(key: str) -> None:
    with pytest.raises(Misconfigured, match="ALPHAMILL_LLM_API_KEY") as raised:
        OpenAIChat("http://127.0.0.1:1/v1", SecretStr(key), 1.0)
    assert key not in str(raised.value)


class NoUsage:
    def record(self, entry: Any) -> None: ...
    def record_error(self, *args: str) -> None: ...


def test_the_key_is_nowhere_but_in_its_header(
    server: Script, chat: OpenAIChat, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = MemoryBreaker(times=BreakerTimes(first_open_ms=0))
    call = Call(
        "run",
        "call",
        "quick_scan",
        TierSettings(model="gpt-4.1-mini"),
        REQUEST.messages,
        Caps(10**6, 10**6),
    )
    echo = {"message": f"Incorrect API key provided: {KEY}", "code": KEY, "type": KEY}
    server.says(401, {"error": echo})
    server.says(500, f"<html>{KEY}</html>".encode())
    server.says(400, hang_up)
    server.says(200, completion(choices=[{"message": {"content": f"your key is {KEY}"}}]))
    with redis.Redis.from_url(redis_url) as client, caplog.at_level(logging.DEBUG):
        prices = PriceTable.shipped()
        routes = OneEndpoint(chat, prices, {"quick_scan": OpenGate()}, breaker)
        gateway = Gateway(routes, prices, RedisJournal(client), NoUsage())
        seen = [repr(chat), repr(vars(chat))]
        for _ in range(3):
            with pytest.raises((RetryLater, Misconfigured)) as raised:
                gateway.ask(call)
            error: BaseException | None = raised.value
            while error is not None:
                seen += [str(error), repr(error)]
                error = error.__cause__
        seen.append(repr(gateway.ask(call)))
        stored = [
            client.hgetall(key) for key in client.scan_iter("*") if client.type(key) == b"hash"
        ]
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert "[key]" in repr(stored)  # the reply was stored, with the key blotted out
    for text in (*seen, repr(stored), caplog.text):
        assert KEY not in text
