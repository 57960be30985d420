"""Prompts that a server cut to its context without a word, told from the tokens that it states.

Ollama answers 200 and a prompt of 3,450 tokens has become one of 2,050. The manual of the language
stands first, and is what is cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.prompts import PROMPT_VERSION
from alphamill.llm.tokens import text_tokens

MIN_EQUAL = 4  # different prompts that are said to be equally long, to the token
CURE = "raise the server's context (Ollama: OLLAMA_CONTEXT_LENGTH=16384)"


@dataclass(frozen=True, slots=True)
class CutPrompts:
    """A model whose server states too few tokens for what it was sent."""

    model: str
    endpoint: str  # its host; "" where it is not on record
    read_tokens: int  # the most that it states for one prompt
    prompts: int  # different ones that it cut

    def __str__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        prompts = "one prompt" if self.prompts == 1 else f"{self.prompts:,} different prompts"
        return (
            f"{self.model}{where} read no more than {self.read_tokens:,} tokens of {prompts}: "
            "it cuts them, and the manual of the language goes first"
        )


def cut_prompts(calls: Iterable[CallRecord]) -> list[CutPrompts]:
    """The models that read less than they were sent, by name; none where nothing says so.

    Two things say so: most different prompts of a model have the same number of tokens and none has
    more, or the longest has fewer than half of what the manual alone is thought to have.
    """
    read: dict[tuple[str, str], dict[str, CallRecord]] = defaultdict(dict)
    for call in calls:
        if call.status is CallStatus.SETTLED and call.prompt_tokens and not call.usage_estimated:
            read[call.model, call.endpoint][call.prompt_hash] = call
    found = []
    for (model, endpoint), own in sorted(read.items()):
        most = max(call.prompt_tokens for call in own.values())
        equal = sum(call.prompt_tokens == most for call in own.values())
        known = all(call.prompt_version == PROMPT_VERSION for call in own.values())
        if known and most < least_prompt_tokens():
            found.append(CutPrompts(model, endpoint, most, len(own)))
        elif equal >= MIN_EQUAL and 2 * equal >= len(own):
            found.append(CutPrompts(model, endpoint, most, equal))
    return found


@cache
def least_prompt_tokens() -> int:
    """Fewer tokens than this no prompt can have: real tokenizers are within a third of ours."""
    from alphamill.language import language_manual  # all operators and indicators

    return text_tokens(language_manual()) // 2
