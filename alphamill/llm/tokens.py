"""How many tokens a prompt may have, without any provider's tokenizer.

Two answers, because two things hang on them. Money needs a bound that no tokenizer exceeds; pace
needs a figure near the truth, corrected by `settle` when the reply states its usage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from alphamill.llm.messages import Message, TokenUsage

MESSAGE_OVERHEAD_TOKENS = 8  # role and delimiters; OpenAI documents 3, other templates use more
REPLY_OVERHEAD_TOKENS = 8  # the primed reply, begin and end marks

_PIECES = re.compile(r"[A-Za-z]+|[^A-Za-z ]")


def bound_tokens(messages: Sequence[Message]) -> int:
    """Upper bound: byte-level tokenizers emit at most one token a UTF-8 byte."""
    return _overhead(messages) + sum(
        len(message.content.encode("utf-8", "surrogatepass")) for message in messages
    )


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Likely count, on the high side: a token for three letters, each digit and each other sign.

    Some tokenizers (Gemini's) give every digit its own token, and prompts here are full of digits.
    """
    return _overhead(messages) + sum(_pieces(message.content) for message in messages)


def debited_tokens(
    messages: Sequence[Message],
    schema: Mapping[str, Any] | None,
    usage: TokenUsage,
    allowed_tokens: int | None,
) -> int:
    """What a provider takes off its tokens per minute for an answered call.

    allowed_tokens: max_tokens, where the whole allowance is taken together with the larger of the
    prompt's tokens and a quarter of the request's characters (OpenAI, and who copies it); None
    where only what was used counts.
    """
    if allowed_tokens is None:
        return usage.prompt + usage.completion
    chars = len(_FRAME) + _json_chars(schema) + sum(map(_message_chars, messages))
    guessed = chars // 4 + _overhead(messages)
    prompt = estimate_tokens(messages) if usage.estimated else usage.prompt
    return max(prompt, guessed) + allowed_tokens


_FRAME = '{"messages": [], "schema": }'
_MESSAGE = '{"role": "", "content": }, '


def _message_chars(message: Message) -> int:
    return len(_MESSAGE) + len(message.role) + _text_chars(message.content)


@lru_cache(maxsize=64)
def _text_chars(text: str) -> int:
    return len(json.dumps(text))


def _json_chars(schema: Mapping[str, Any] | None) -> int:
    return len(json.dumps(schema))


def _overhead(messages: Sequence[Message]) -> int:
    return MESSAGE_OVERHEAD_TOKENS * len(messages) + REPLY_OVERHEAD_TOKENS


@lru_cache(maxsize=64)  # the system prompt is the same for every call of a tier
def _pieces(text: str) -> int:
    return text_tokens(text)


def text_tokens(text: str) -> int:
    """Likely count for a text alone, on the high side."""
    total = 0
    for piece in _PIECES.findall(text):
        total += (
            -(-len(piece) // 3) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
        )
    return total
