"""From a provider's completion (any dialect of the OpenAI shape) to a ChatReply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from alphamill.llm.messages import ChatReply, ChatRequest, TokenUsage
from alphamill.llm.tokens import bound_tokens


def read_completion(body: Mapping[str, Any], request: ChatRequest, latency_ms: int) -> ChatReply:
    """The first choice. Raises ValueError, saying why, if the body holds no completion."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("no choices")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ValueError("a choice without a message")
    stated = body.get("usage")
    usage = stated if isinstance(stated, dict) else {}
    return ChatReply(
        text=_content(message.get("content")),
        finish_reason=str(choice.get("finish_reason") or ""),
        model=str(body.get("model") or request.model),
        usage=read_usage(usage, request),
        latency_ms=latency_ms,
        asked_model=request.model,
        provider_cost_usd_micros=_cost_micros(usage.get("cost")),
    )


def read_usage(usage: Mapping[str, Any], request: ChatRequest) -> TokenUsage:
    """Tokens as stated, DeepSeek's spelling included; without usable figures the upper bounds."""
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return TokenUsage(bound_tokens(request.messages), 0, request.max_tokens, estimated=True)
    stated = usage.get("prompt_tokens_details")
    details = stated if isinstance(stated, dict) else {}
    cached = _count(details.get("cached_tokens"))
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens")) or 0
    written = _count(details.get("cache_write_tokens")) or 0
    total = _count(usage.get("total_tokens")) or 0  # may count thinking that completion leaves out
    cached = min(cached, prompt)
    return TokenUsage(
        prompt, cached, max(completion, total - prompt), cache_write=min(written, prompt - cached)
    )


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if usable else None


def _content(content: Any) -> str:
    if isinstance(content, list):  # content parts
        content = "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    text = content if isinstance(content, str) else ""
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is not UTF-8


def _cost_micros(cost: Any) -> int | None:
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
        return None
    exact = Decimal(str(cost)) * 1_000_000
    return int(exact.to_integral_value(rounding=ROUND_CEILING)) if cost >= 0 else None
