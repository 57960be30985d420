"""From a provider's completion (any dialect of the OpenAI shape) to a ChatReply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alphamill.llm.endpoint.billing import read_cost_micros, read_upstream_calls, read_usage
from alphamill.llm.messages import ChatReply, ChatRequest

_ENDS_IN_JSON = re.compile(r"[}\]]\s*(```)?\s*$")


def read_completion(
    body: Mapping[str, Any],
    request: ChatRequest,
    latency_ms: int,
    headers: Mapping[str, str] | None = None,
) -> ChatReply:
    """The first choice. Raises ValueError, saying why, if the body holds no completion.

    headers: those of the answer, where gateways state what a call cost.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("no choices")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ValueError("a choice without a message")
    stated = body.get("usage")
    usage = stated if isinstance(stated, dict) else {}
    content, thoughts = _content(message.get("content")), _thoughts(message)
    finish_reason = str(choice.get("finish_reason") or "")
    text = content or _content(message.get("refusal"))
    if not text and finish_reason != "length" and _ENDS_IN_JSON.search(thoughts):
        text = thoughts  # the answer of a server that takes all for thoughts
    written = text if text == thoughts else text + thoughts
    return ChatReply(
        text=text,
        finish_reason=finish_reason,
        model=str(body.get("model") or request.model),
        usage=read_usage(usage, request, written),
        latency_ms=latency_ms,
        asked_model=request.model,
        provider_cost_usd_micros=read_cost_micros(usage, headers or {}),
        upstream_calls=read_upstream_calls(headers or {}),
    )


def _thoughts(message: Mapping[str, Any]) -> str:
    """What was written beside the answer: DeepSeek's name for it, else OpenRouter's."""
    return _content(message.get("reasoning_content")) or _content(message.get("reasoning"))


def _content(content: Any) -> str:
    if isinstance(content, list):  # content parts
        content = "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    text = content if isinstance(content, str) else ""
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is not UTF-8
