"""How many tokens a prompt may have, without any provider's tokenizer.

Two answers, because two things hang on them. Money needs a bound that no tokenizer exceeds; pace
needs a figure near the truth, corrected by `settle` when the reply states its usage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from alphamill.llm.messages import Message

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


def _overhead(messages: Sequence[Message]) -> int:
    return MESSAGE_OVERHEAD_TOKENS * len(messages) + REPLY_OVERHEAD_TOKENS


def _pieces(text: str) -> int:
    total = 0
    for piece in _PIECES.findall(text):
        total += (
            -(-len(piece) // 3) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
        )
    return total
