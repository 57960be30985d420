"""How many tokens a prompt may have, without any provider's tokenizer.

Three answers, because three things hang on them. Money needs a bound that no tokenizer exceeds;
pace needs a figure near the truth, corrected by `settle` when the reply states its usage; and what
a provider states is believed only from a count that no tokenizer goes below.
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

_LONGEST_PIECE = 12  # characters of a word that one token may hold, on the average over its words
_WORD = re.compile(r"[^\W_]+")
_PIECES = re.compile(r"[A-Za-z]+|[^A-Za-z ]")


def bound_tokens(messages: Sequence[Message]) -> int:
    """Upper bound: byte-level tokenizers emit at most one token a UTF-8 byte."""
    return _overhead(messages) + sum(
        len(message.content.encode("utf-8", "surrogatepass")) for message in messages
    )


def least_tokens(text: str) -> int:
    """Lower bound: a token for each dozen letters and digits, a word of more counting as a dozen.

    Real text has four to five characters a token. Spaces, signs and their repetitions, of which
    some tokenizers hold a hundred in one token, count for nothing.
    """
    letters = sum(min(len(word), _LONGEST_PIECE) for word in _WORD.findall(text))
    return max(letters // _LONGEST_PIECE, 1) if text else 0


def are_too_few(stated: int, *texts: str) -> bool:
    """Whether the texts have more tokens than are stated, by their lower bounds.

    A text's length alone bounds its lower bound, so that an honest figure costs no look at it.
    """
    if stated >= sum(max(len(text) // _LONGEST_PIECE, 1) for text in texts if text):
        return False
    return stated < sum(map(least_tokens, texts))


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
    prompt = estimate_tokens(messages) if usage.estimated else usage.prompt
    if allowed_tokens is None:
        return prompt + usage.completion
    chars = len(_FRAME) + _json_chars(schema) + sum(map(_message_chars, messages))
    guessed = chars // 4 + _overhead(messages)
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
