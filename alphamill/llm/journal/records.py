"""One attempt at one model call, as remembered and as written to calls.parquet."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

import msgspec

from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import utc_day
from alphamill.llm.messages import ChatReply, ChatRequest, TokenUsage, prompt_digest
from alphamill.usage.protocol import UsageEntry


class CallStatus(StrEnum):
    """What became of an attempt."""

    OPEN = "open"  # under way, or its caller died and nobody has retried yet
    SETTLED = "settled"  # paid; its reply is the call's answer
    DUPLICATE = "duplicate"  # paid too, because two callers were at it; its reply is not used
    UNKNOWN = "unknown"  # may have been billed: counted as spent
    FAILED = "failed"  # refused, and certainly not billed


@dataclass(frozen=True, slots=True)
class CallRecord:
    """Everything about one attempt; money in integer micro-dollars, times in UTC epoch ms.

    attempt: unique over the run. day: the UTC day that is charged, even if it settles tomorrow.
    reserved_usd_micros: what is set aside for it until it ends.
    message_digests: (role, digest of the text) of the prompt as sent; the journal keeps the texts.
    cost_usd_micros: what was charged to the budget; None unless settled.
    table_cost_usd_micros: what the price table says; provider_cost_usd_micros: what the provider
        says, where it does. The budget is charged the dearer.
    usage_estimated: the tokens are upper bounds. usage_doubt: why they are not as stated.
    cost_doubt: why the cost is not known although the tokens are. upstream_calls: as its gateway
        tells.
    """

    run: str  # its id
    call_id: str  # one for all attempts at a call
    attempt: str
    day: str
    tier: str
    model: str  # as asked for
    prompt_version: str  # of the template
    prompt_hash: str  # of all messages
    message_digests: tuple[tuple[str, str], ...]
    max_tokens: int  # of completion, as allowed
    temperature: float  # as the settings have it
    started_ms: int  # when it was sent
    reserved_usd_micros: int
    status: CallStatus = CallStatus.OPEN
    finished_ms: int | None = None  # None while it is open
    error_class: str = ""  # as usage counts it; "" without an error
    error: str = ""  # its first 500 characters
    served_model: str = ""  # as the reply states it
    reply_text: str = ""  # word for word
    finish_reason: str = ""  # as the reply states it
    prompt_tokens: int = 0  # all of them, cached and written ones too
    cached_tokens: int = 0  # of them, read from the provider's cache
    completion_tokens: int = 0  # thinking is part of them
    usage_estimated: bool = False
    latency_ms: int = 0  # from sending to the whole reply
    provider_cost_usd_micros: int | None = None
    cost_usd_micros: int | None = None
    cache_write_tokens: int = 0  # of the prompt's, written to the provider's cache
    table_cost_usd_micros: int | None = None
    endpoint: str = ""  # its host
    usage_doubt: str = ""
    cost_doubt: str = ""
    upstream_calls: int = 1

    @classmethod
    def begin(
        cls,
        run: str,
        call_id: str,
        tier: str,
        request: ChatRequest,
        *,
        prompt_version: str,
        started_ms: int,
        reserved_usd_micros: int,
        endpoint: str = "",
    ) -> CallRecord:
        """An attempt about to be sent."""
        roles = [message.role for message in request.messages]
        digests = [message.digest for message in request.messages]
        return cls(
            run=run,
            call_id=call_id,
            attempt=secrets.token_hex(8),
            day=utc_day(started_ms),
            tier=tier,
            model=request.model,
            prompt_version=prompt_version,
            prompt_hash=prompt_digest(digests),
            message_digests=tuple(zip(roles, digests, strict=True)),
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            started_ms=started_ms,
            reserved_usd_micros=reserved_usd_micros,
            endpoint=endpoint,
        )

    def settled(self, reply: ChatReply, due: Charge, finished_ms: int) -> CallRecord:
        """With the reply and what it cost."""
        return replace(
            self,
            status=CallStatus.SETTLED,
            finished_ms=finished_ms,
            served_model=reply.model,
            reply_text=reply.text,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.usage.prompt,
            cached_tokens=reply.usage.cached,
            completion_tokens=reply.usage.completion,
            usage_estimated=reply.usage.estimated,
            latency_ms=reply.latency_ms,
            provider_cost_usd_micros=reply.provider_cost_usd_micros,
            cost_usd_micros=due.micros,
            cache_write_tokens=reply.usage.cache_write,
            table_cost_usd_micros=due.table_micros,
            usage_doubt=reply.usage.doubt,
            cost_doubt=due.doubt,
            upstream_calls=reply.upstream_calls,
        )

    def failed(self, error_class: str, error: str, finished_ms: int) -> CallRecord:
        """With why there is no reply."""
        return replace(self, error_class=error_class, error=error[:500], finished_ms=finished_ms)

    @property
    def reply(self) -> ChatReply:
        """The reply of a settled call, as the client returned it."""
        return ChatReply(
            text=self.reply_text,
            finish_reason=self.finish_reason,
            model=self.served_model,
            usage=TokenUsage(
                self.prompt_tokens,
                self.cached_tokens,
                self.completion_tokens,
                self.usage_estimated,
                self.cache_write_tokens,
                self.usage_doubt,
            ),
            latency_ms=self.latency_ms,
            asked_model=self.model,
            provider_cost_usd_micros=self.provider_cost_usd_micros,
            upstream_calls=self.upstream_calls,
        )

    @property
    def paid(self) -> bool:
        """Whether there is a reply that was paid for, used or not."""
        return self.status in (CallStatus.SETTLED, CallStatus.DUPLICATE)

    @property
    def usage(self) -> UsageEntry:
        """What a paid attempt adds to the counters."""
        charged = self.cost_usd_micros or 0
        priced = self.provider_cost_usd_micros is not None
        return UsageEntry(
            call_id=f"{self.call_id}#{self.attempt}",  # a second paid reply counts too
            run=self.run,
            day=self.day,
            tier=self.tier,
            model=self.model,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd_micros=charged,
            latency_ms=self.latency_ms,
            provider_cost_usd_micros=self.provider_cost_usd_micros or 0,
            compared_cost_usd_micros=(self.table_cost_usd_micros or 0) if priced else 0,
            estimated_requests=int(self.estimated),
            estimated_cost_usd_micros=charged if self.estimated else 0,
            doubted_requests=int(bool(self.usage_doubt) and not self.estimated),
            gateway_retries=self.upstream_calls - 1,
        )

    @property
    def estimated(self) -> bool:
        """Whether what was charged is no more than estimated; of records of any age."""
        return self.usage_estimated or bool(self.cost_doubt)

    @property
    def cost_difference_usd_micros(self) -> int | None:
        """How much more the provider says than our table; None where it does not say."""
        theirs, ours = self.provider_cost_usd_micros, self.table_cost_usd_micros
        return None if theirs is None or ours is None else theirs - ours

    def to_row(self) -> dict[str, Any]:
        """Plain values for a table; the prompt's digests as one string."""
        row = asdict(self)
        row["cost_difference_usd_micros"] = self.cost_difference_usd_micros
        row["status"] = self.status.value
        row["message_digests"] = " ".join(digest for _, digest in self.message_digests)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The reverse of `to_row`, but for the roles of the prompt's messages, which it leaves out.

        A field that an old table lacks is the default.
        """
        names = [name for name in cls.__dataclass_fields__ if row.get(name) is not None]
        digests = tuple(("", digest) for digest in (row["message_digests"] or "").split())
        known = {name: row[name] for name in names}
        return cls(**known | {"message_digests": digests, "status": CallStatus(row["status"])})

    def to_json(self) -> str:
        """The reverse of `from_json`."""
        return _ENCODER.encode(self).decode()

    @classmethod
    def from_json(cls, text: str, status: CallStatus | None = None) -> Self:
        """A record as stored; `status` is the journal's own word, which is newer than the text."""
        record = _DECODER.decode(text)
        return record if status is None else replace(record, status=status)  # type: ignore[return-value]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(CallRecord)
