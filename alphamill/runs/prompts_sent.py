"""The messages of a run's model calls, word for word, once it is published.

runs/run=ID/prompts.parquet    a row a message; calls.parquet names a prompt's messages by digest
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import Message

PROMPTS = pa.schema([pa.field(name, pa.string()) for name in ("digest", "role", "content")])


def keep_prompts(
    lake: Lake,
    run_id: str,
    calls: Iterable[CallRecord],
    prompt: Callable[[CallRecord], Sequence[Message]],
) -> None:
    """Write each message once. prompt: as the journal has it; a text that it lost is left out."""
    rows: dict[str, dict[str, str]] = {}
    for call in calls:
        if all(digest in rows for _, digest in call.message_digests):
            continue
        for (_, digest), message in zip(call.message_digests, prompt(call), strict=False):
            content = message.content.encode("utf-8", "replace").decode()
            if content:
                rows[digest] = {"digest": digest, "role": message.role, "content": content}
    table = pa.Table.from_pylist([*rows.values()], schema=PROMPTS)
    lake.write(run_key(run_id, "prompts.parquet"), table, {})


def kept_prompt(lake: Lake, call: CallRecord) -> tuple[Message, ...]:
    """The messages of a call in their order. Raises GiveUp where an older version kept none."""
    key = run_key(call.run, "prompts.parquet")
    try:
        rows = lake.read(key).to_pylist()
    except FileNotFoundError as error:
        raise GiveUp(
            f"{lake.uri} has no prompts of {call.run}: an older version left them in Redis alone"
        ) from error
    texts = {row["digest"]: Message(row["role"], row["content"]) for row in rows}
    lost = Message("user", "")
    return tuple(texts.get(digest, lost) for _, digest in call.message_digests)
