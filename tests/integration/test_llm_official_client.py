"""The official openai client against the simulated LLM: what it accepts, we may call compatible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from alphamill.llm.replies import Proposal
from alphamill.sim.llm.proposer import NAME
from alphamill.sim.llm.server import LLMConfig
from tests.serving import serving

KEY = "sk-simulated-0123456789"
ASK: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You propose factors. " * 300},
    {"role": "user", "content": "## Task\nPropose 3 candidates that are not listed above."},
]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        serving(LLMConfig(api_key=KEY, latency_ms=0)) as url,
        openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as made,
    ):
        yield made


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gpt-9")
    assert raised.value.code == "model_not_found"


def test_a_completion_has_usage_and_the_second_time_its_prefix_is_cached(
    client: openai.OpenAI,
) -> None:
    replies = [
        client.chat.completions.create(model=NAME, messages=ASK, max_tokens=500) for _ in range(2)
    ]
    first, second = (reply.usage for reply in replies)
    assert first is not None
    assert second is not None
    assert first.total_tokens == first.prompt_tokens + first.completion_tokens
    assert second.prompt_tokens_details is not None
    assert 0 < (second.prompt_tokens_details.cached_tokens or 0) < second.prompt_tokens
    assert replies[0].choices[0].finish_reason == "stop"
    assert replies[0].choices[0].message.content == replies[1].choices[0].message.content


def test_a_reply_parses_into_the_schema_asked_for(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(model=NAME, messages=ASK, response_format=Proposal)
    proposal = reply.choices[0].message.parsed
    assert proposal is not None
    assert len(proposal.candidates) == 3


def test_a_stream_says_the_same_and_ends_with_the_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=NAME, messages=ASK)
    stream = client.chat.completions.create(
        model=NAME, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    parts = list(stream)
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == whole.choices[0].message.content
    assert len(json.loads(text)["candidates"]) == 3
    assert parts[-1].usage is not None
    assert [p.choices[0].finish_reason for p in parts if p.choices][-1] == "stop"


def test_a_short_allowance_cuts(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=NAME, messages=ASK, max_completion_tokens=5)
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("ask", "error", "code"),
    [
        (lambda c: c.create(model="gpt-9", messages=ASK), openai.NotFoundError, "model_not_found"),
        (lambda c: c.create(model=NAME, messages=[]), openai.BadRequestError, "invalid_value"),
        (
            lambda c: c.create(model=NAME, messages=ASK, n=2),
            openai.BadRequestError,
            "invalid_value",
        ),
        (
            lambda c: c.create(model=NAME, messages=ASK, max_tokens="x"),
            openai.BadRequestError,
            "invalid_value",
        ),
    ],
)
def test_refusals_have_the_types_that_the_client_knows(
    client: openai.OpenAI,
    ask: Callable[[object], object],
    error: type[openai.APIStatusError],
    code: str,
) -> None:
    with pytest.raises(error) as raised:
        ask(client.chat.completions)
    assert raised.value.code == code
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["type"] == "invalid_request_error"


def test_a_wrong_key_and_a_wrong_address(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        client.with_options(api_key="sk-other").models.list()
    assert raised.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=NAME, input="x")


def test_a_full_minute_is_told_with_a_wait() -> None:
    config = LLMConfig(requests_per_minute=1, latency_ms=0)
    with (
        serving(config) as url,
        openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        raw = client.chat.completions.with_raw_response.create(model=NAME, messages=ASK)
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model=NAME, messages=ASK)
    assert raised.value.code == "rate_limit_exceeded"
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 61
