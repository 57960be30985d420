"""What a provider or gateway says is read for its sense, whatever status and code it comes with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alphamill.errors import Misconfigured
from alphamill.llm.endpoint import failures
from alphamill.llm.endpoint.completion import read_completion
from alphamill.llm.endpoint.dialects import Dialect
from alphamill.llm.endpoint.provider_errors import classify, read_error, wait_in_words
from alphamill.llm.messages import ChatRequest, Message

SUFFIX = (
    "\n\nLiteLLM: model group 'first' failed with the error above and no fallback model group was "
    "found for it, so the request was not retried on another model."
)


def said(
    message: Any, kind: str | None = None, code: Any = None, param: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def failure(status: int, body: Any) -> failures.CallFailure:
    return classify(read_error(status, json.dumps(body).encode(), {}, 0), "first", "THE_KEY")


QUOTA = "You exceeded your current quota, please check your plan and billing details."
LITELLM_QUOTA = said(
    f"litellm.RateLimitError: RateLimitError: OpenAIException - {QUOTA}{SUFFIX}",
    "throttling_error",
    "429",
)
NO_DEPLOYMENT = said(
    "litellm.BadRequestError: You passed in model=first. There are no healthy deployments for "
    f"this model{SUFFIX}",
    "invalid_request_error",
    "400",
)
HTML_503 = said(
    "litellm.ServiceUnavailableError: ServiceUnavailableError: OpenAIException - Error code: 503"
    + SUFFIX,
    "internal_server_error",
    "503",
)
TOO_LARGE = said(
    "Request too large for gpt-4.1 in organization org-x on tokens per min (TPM): Limit 10000, "
    "Requested 14500. The input or output tokens must be reduced in order to run successfully.",
    "tokens",
    "rate_limit_exceeded",
)
PASSING = said(
    "Rate limit reached for gpt-4.1 on tokens per min (TPM): Limit 10000, Used 9000, Requested "
    "2000. Please try again in 6s.",
    "tokens",
    "rate_limit_exceeded",
)
REGION = said(
    "Country, region, or territory not supported",
    "request_forbidden",
    "unsupported_country_region_territory",
)
GEMINI_PASSING = said(f"{QUOTA} Quota exceeded for metric: requests. Please retry in 34.5s.")
POOR = said("Your credit balance is too low to access the Anthropic API.", "invalid_request_error")


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (429, LITELLM_QUOTA, failures.QuotaExhausted, "no money left"),
        (429, said(QUOTA, "requests", "429"), failures.QuotaExhausted, "no money left"),
        (400, POOR, failures.QuotaExhausted, "no money left"),
        (429, GEMINI_PASSING, failures.RateLimited, "rate limited"),
        (429, TOO_LARGE, failures.RequestTooLarge, "takes 14500 tokens .* at first is 10000"),
        (413, TOO_LARGE, failures.RequestTooLarge, "lower max_tokens"),
        (429, PASSING, failures.RateLimited, "rate limited"),
        (400, NO_DEPLOYMENT, failures.ModelNotFound, "does not serve 'first'"),
        (404, said("No endpoints found for x/y."), failures.ModelNotFound, "does not serve"),
        (
            400,
            said("The model `x` has been decommissioned and is no longer supported."),
            failures.ModelNotFound,
            "does not serve 'first'",
        ),
        (410, said("model gpt-4.1 has been shut down"), failures.ModelNotFound, "does not serve"),
        (
            404,
            said("This model models/x is no longer available to new users."),
            failures.ModelNotFound,
            "does not serve",
        ),
        (
            400,
            said("No model for you. The `foo` field has been deprecated"),
            failures.RequestRefused,
            "refused the request",
        ),
        (400, said("No connected db.", "no_db_connection", "400"), failures.KeyRefused, "THE_KEY"),
        (403, REGION, failures.RegionBarred, "does not serve this region"),
        (
            400,
            said("User location is not supported for the API use."),
            failures.RegionBarred,
            "does not serve this region",
        ),
        (503, HTML_503, failures.ServerFailed, "the server failed"),
        (503, said("Service Unavailable"), failures.ServerFailed, "the server failed"),
        (
            503,
            said("litellm: <html><h1>503</h1>The server is too busy, try again later</html>"),
            failures.ServerFailed,
            "the server failed",
        ),
        (
            404,
            said("Model x is not available in your region"),
            failures.RegionBarred,
            "does not serve this region",
        ),
        (503, said("The model is overloaded."), failures.Overloaded, "overloaded"),
        (503, said("Loading model", "unavailable_error", 503), failures.Overloaded, "Loading"),
        (
            400,
            {"message": "Either x-portkey-config or x-portkey-provider header is required"},
            failures.RequestRefused,
            r"set it under \[llm\.headers\]",
        ),
    ],
)
def test_words_decide_where_codes_are_lost(
    status: int, body: Any, expected: type[failures.CallFailure], words: str
) -> None:
    with pytest.raises(expected, match=words) as raised:
        raise failure(status, body)
    assert type(raised.value) is expected
    assert type(raised.value)(*raised.value.args).args == raised.value.args


def test_no_money_is_no_limit_that_passes_whatever_wait_a_gateway_adds() -> None:
    body = said(f"litellm.RateLimitError: {{'code': 'insufficient_quota'}} {QUOTA}", "x", "429")
    error = read_error(429, json.dumps(body).encode(), {"retry-after": "5"}, 0)
    assert isinstance(classify(error, "first"), failures.QuotaExhausted)


def test_a_barred_region_is_not_cured_by_a_key() -> None:
    barred = failure(403, REGION)
    assert isinstance(barred, Misconfigured)
    assert not isinstance(barred, failures.KeyRefused)
    assert "key" not in barred.cure
    assert "region" in barred.cure


@pytest.mark.parametrize(
    ("headers", "message", "wait_s"),
    [
        ({"llm_provider-retry-after": "432"}, "slow down", 432),
        ({"llm_provider-retry-after": "432", "Retry-After": "3"}, "slow down", 3),
        ({"llm_provider-x-ratelimit-reset-tokens": "6m0s"}, "slow down", 360),
        ({}, "Rate limit reached. Please try again in 7m12s.", 432),
        ({"Retry-After": "3"}, "Please try again in 7m12s.", 3),
        ({}, "Rate limit reached. Please try again in 7h12m3s.", 3600),  # the most that is waited
        ({}, 'GeminiException - {"retryDelay": "34s"}', 34),
        ({}, "slow down", 5),
    ],
)
def test_a_wait_is_found_wherever_it_stands(
    headers: dict[str, str], message: str, wait_s: float
) -> None:
    body = json.dumps(said(message, "throttling_error", "429")).encode()
    limited = classify(read_error(429, body, headers, 0), "first")
    assert isinstance(limited, failures.RateLimited)
    assert limited.after_s == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("try again in 7h12m3s", 3600),
        ("Please try again in 12ms.", 0.012),
        ("please retry after 20 seconds", 20),
        ("Retry in about 1 minute 30 seconds", 90),
        ("wait 2.5s", 2.5),
        ("try again in 5 milliseconds", 0.005),
        ("try again in 1 day", 3600),
        ("retry in 1d2h.", 3600),
        ("retry in 1 dozen hours", None),
        ("try again later", None),
        ("it took 34s", None),
        ("retry 3 messages", None),
    ],
)
def test_waits_in_words(text: str, wait_s: float | None) -> None:
    assert wait_in_words(text) == (None if wait_s is None else pytest.approx(wait_s))


VLLM_LENGTH = (
    "'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context "
    "length is 2048 tokens and your request has 1500 input tokens (900 > 2048 - 1500)."
)
LLAMA_CPP = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
    "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}"
)
ONLY_DEFAULT = said("Only the default (1) is supported", param="temperature")
RENAMED = (
    "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("status", "body", "learned"),
    [
        (400, said(RENAMED), Dialect(limit_field="max_completion_tokens")),
        (500, said(LLAMA_CPP, "internal_server_error"), Dialect(response_format="json_object")),
        (
            400,
            said("Only the default (1) is supported", param="temperature"),
            Dialect(temperature=False),
        ),
        (400, said("`seed` is not supported"), Dialect(seed=False)),
        (422, {"detail": "Extra inputs are not permitted: seed"}, Dialect(seed=False)),
        (400, said(VLLM_LENGTH, code=400, param="max_tokens"), None),
        (400, said("max_tokens is too large", param="max_tokens"), None),
        (400, said("The prompt was refused by doubao-seed-1-6", "invalid_request_error"), None),
        (400, said("doubao-seed-1-6 is not supported"), None),
        (400, said("the model big-seed is not supported"), None),
        (400, said("Unknown user. Its seed was 7."), None),
        (400, said("this content raised the temperature of the debate"), None),
        (500, said("temperature sensor failed"), None),
        (502, said("upstream closed while response_format was read"), None),
        (401, said("seed is not supported"), None),
    ],
)
def test_a_dialect_is_learned_from_a_refusal_of_its_field_alone(
    status: int, body: Any, learned: Dialect | None
) -> None:
    error = read_error(status, json.dumps(body).encode(), {}, 0)
    assert Dialect().after(error) == learned


def test_a_prompt_too_long_is_no_reason_to_doubt_a_dialect() -> None:
    error = read_error(400, json.dumps(said(VLLM_LENGTH)).encode(), {}, 0)
    assert not Dialect(limit_field="max_completion_tokens").doubted(error)
    assert isinstance(classify(error, "first"), failures.ContextTooLong)


REQUEST = ChatRequest("first", (Message("user", "hello"),), 50)
ANSWER = '{"keep": [1], "veto": []}'


@pytest.mark.parametrize(
    ("message", "finish_reason", "text"),
    [
        (
            {"content": None, "refusal": "I cannot help with that."},
            "stop",
            "I cannot help with that.",
        ),
        ({"content": None, "reasoning_content": ANSWER}, "stop", ANSWER),
        ({"content": "", "reasoning": f"So:\n{ANSWER}\n"}, "stop", f"So:\n{ANSWER}\n"),
        ({"content": None, "reasoning_content": "Perhaps {1}? No."}, "stop", ""),
        ({"content": None, "reasoning_content": f"Perhaps {ANSWER}"}, "length", ""),  # cut off
        ({"content": "yes", "reasoning_content": ANSWER}, "stop", "yes"),
    ],
)
def test_the_text_is_found_where_the_server_put_it(
    message: dict[str, Any], finish_reason: str, text: str
) -> None:
    body = {"choices": [{"message": message, "finish_reason": finish_reason}]}
    assert read_completion(body, REQUEST, 5).text == text
