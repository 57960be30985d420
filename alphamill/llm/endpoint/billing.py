"""What a provider says that a completion took and cost, and how far it can be believed.

Gateways fill in zeros where the upstream said nothing, and relays add up what others list apart.
Figures below what surely was sent or received are none: then the upper bounds stand in for them.
Figures that contradict each other are read the dearer way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from alphamill.llm.messages import ChatRequest, TokenUsage
from alphamill.llm.tokens import are_too_few, bound_tokens, least_tokens, text_tokens

_MOST_TOKENS = 10**9
# One figure under the names that it has at OpenAI, DeepSeek, Anthropic's relays and OpenRouter.
_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),
    ("", "prompt_cache_hit_tokens"),
    ("", "cache_read_input_tokens"),
)
_WRITTEN = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
    ("", "cache_creation_input_tokens"),
)
_THOUGHT = (("completion_tokens_details", "reasoning_tokens"),)
_COST_HEADERS = ("x-litellm-response-cost",)
_AGAIN_HEADERS = (
    "x-litellm-attempted-retries",
    "x-litellm-attempted-fallbacks",
    "x-portkey-retry-attempt-count",
)


def read_usage(usage: Mapping[str, Any], request: ChatRequest, text: str = "") -> TokenUsage:
    """Tokens as stated, or the upper bounds where that cannot be; `doubt` says what was changed.

    text: all that the model wrote, thoughts included.
    """
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return _bounds(request, text, "no token counts are stated", prompt or 0, completion or 0)
    prompt, cached, written, notes = _settle_prompt(usage, prompt)
    completion, more_notes = _settle_completion(usage, prompt, completion)
    sent = [message.content for message in request.messages]
    if are_too_few(prompt, *sent):
        least = sum(map(least_tokens, sent))
        why = f"{prompt} prompt tokens are stated for a prompt of at least {least}"
        return _bounds(request, text, why, prompt, completion)
    if are_too_few(completion, text):
        why = f"{completion} output tokens are stated beside a text of {least_tokens(text)} or more"
        return _bounds(request, text, why, prompt, completion)
    doubt = "; ".join([*notes, *more_notes])
    return TokenUsage(prompt, cached, completion, cache_write=written, doubt=doubt)


def read_cost_micros(usage: Mapping[str, Any], headers: Mapping[str, str]) -> int | None:
    """The provider's own figure, from the body or from a gateway's header: the dearer of them."""
    stated = usage.get("cost")
    if isinstance(stated, Mapping):  # Perplexity lists its parts
        stated = stated.get("total_cost")
    lower = {name.lower(): value for name, value in headers.items()}
    figures = [_micros(stated), *(_micros_of(lower.get(name)) for name in _COST_HEADERS)]
    return max((figure for figure in figures if figure is not None), default=None)


def read_upstream_calls(headers: Mapping[str, str]) -> int:
    """How many calls a gateway made of this one, as far as its headers tell."""
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    told = [lower.get(name, "") for name in _AGAIN_HEADERS]
    return 1 + sum(int(count) for count in told if count.isascii() and count.isdigit())


def _settle_prompt(usage: Mapping[str, Any], prompt: int) -> tuple[int, int, int, list[str]]:
    """All prompt tokens, those of them from the cache and into it, and what was changed."""
    cached, written = _figures(usage, _CACHED), _figures(usage, _WRITTEN)
    most = max(cached, default=0) + max(written, default=0)
    if most > prompt:
        # Parts cannot be more than the whole: they stand beside it, as at Anthropic.
        note = f"{most} cached tokens beside {prompt} of the prompt are added up"
        return prompt + most, max(cached, default=0), max(written, default=0), [note]
    notes = []
    if len(set(cached)) > 1:
        notes.append(f"of two counts of cached tokens the lower, {min(cached)}, is taken")
    return prompt, min(cached, default=0), max(written, default=0), notes


def _settle_completion(
    usage: Mapping[str, Any], prompt: int, completion: int
) -> tuple[int, list[str]]:
    """Output tokens with the thoughts that `completion` may leave out, and what was changed."""
    thought = max(_figures(usage, _THOUGHT), default=0)
    total, stated = _count(usage.get("total_tokens")) or 0, usage["prompt_tokens"] + completion
    notes = []
    if thought > completion:
        notes.append(f"{thought} tokens of thought beside {completion} of output are added up")
        completion += thought
    if total > prompt + completion:
        notes.append(f"the total of {total} is more than its parts: the rest is taken for output")
        completion = total - prompt
    elif 0 < total < stated:
        notes.append(f"the total of {total} is less than its parts, {stated}: the parts are taken")
    return completion, notes


def _bounds(
    request: ChatRequest, text: str, doubt: str, prompt: int, completion: int
) -> TokenUsage:
    """The most that it can have been; never less than what is stated or has certainly come."""
    most = request.max_tokens
    if least_tokens(text) > most:  # the endpoint ignores the limit
        most = max(text_tokens(text), least_tokens(text))
    return TokenUsage(
        max(bound_tokens(request.messages), prompt),
        0,
        max(most, completion),
        estimated=True,
        doubt=doubt,
    )


def _figures(usage: Mapping[str, Any], names: tuple[tuple[str, str], ...]) -> list[int]:
    """One figure as each of its names states it."""
    places = [(usage.get(part) if part else usage, name) for part, name in names]
    found = [_count(where.get(name)) for where, name in places if isinstance(where, Mapping)]
    return [figure for figure in found if figure is not None]


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS
    return value if usable else None


def _micros(cost: Any) -> int | None:
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
        return None
    return _micros_of(str(cost))


def _micros_of(text: str | None) -> int | None:
    """Micro-dollars of an amount in dollars, rounded up; None if it is none."""
    try:
        exact = Decimal((text or "").strip()) * 1_000_000
    except InvalidOperation:
        return None
    usable = exact.is_finite() and exact >= 0
    return int(exact.to_integral_value(rounding=ROUND_CEILING)) if usable else None
