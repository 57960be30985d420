"""Replies that were paid for, and the money of every attempt, changed together in one step.

A call moves open -> settled | unknown | failed; `journal.lua` holds the rules. The order of a call:
`lookup` (a settled reply costs nothing), `reserve`, send, then exactly one of `settle`, `release`,
`lose` or `cancel`. A caller that dies in between leaves its reservation counted; the next `reserve`
of the same call turns it into `unknown` and makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.resources import files
from typing import Any, Protocol

import redis

from alphamill.errors import RetryLater
from alphamill.llm.budget import (
    HOLD_S,
    Account,
    BudgetExhausted,
    BudgetState,
    Fit,
    Reservation,
    refusal,
)
from alphamill.llm.messages import Message
from alphamill.llm.records import CallRecord, CallStatus

HELD_RETRY_S = 2.0
READ_BATCH = 500
LONG_CHARS = 2000
MOST_STORED = 1000


def _nothing() -> None:
    """Nothing else is to be written."""


class Journal(Protocol):
    """Where replies and budgets are kept. Every method may raise RetryLater: no store, no calls."""

    def lookup(self, run: str, call_id: str) -> CallRecord | None:
        """The settled record that answers a call, or None."""

    def look(self, run: str, call_id: str, day: str) -> tuple[CallRecord | None, BudgetState]:
        """`lookup`, and both accounts as they stand, in one step."""

    def reserve(
        self,
        held: Reservation,
        record: CallRecord,
        messages: Sequence[Message],
        run_cap_usd_micros: int,
        day_cap_usd_micros: int,
    ) -> CallRecord | None:
        """Set `held.micros` aside in both budgets; safe to repeat with the same attempt.

        Returns the answer instead, if another caller settled the call meanwhile. Raises
        BudgetExhausted, or RetryLater while calls under way hold what this one needs.
        """

    def settle(
        self, held: Reservation, record: CallRecord, also: Callable[[], object] = _nothing
    ) -> CallRecord:
        """Charge `record.cost_usd_micros` and store the reply, in one step; safe to repeat.

        also: what else is written once this is; it may be in the same trip, and must be safe to
        repeat too.
        Returns the record that answers the call: another's, if that was settled first.
        """

    def release(self, held: Reservation, record: CallRecord) -> None:
        """Give the money back: the attempt failed and was certainly not billed."""

    def lose(self, held: Reservation, record: CallRecord) -> None:
        """Count the money as spent: the attempt failed and may have been billed."""

    def cancel(self, held: Reservation) -> None:
        """Give the money back and forget the attempt: nothing was sent."""

    def state(self, run: str, day: str) -> BudgetState:
        """Both accounts as they stand."""

    def calls(self, run: str) -> Iterator[CallRecord]:
        """Every attempt of a run, by start time."""

    def prompt(self, record: CallRecord) -> tuple[Message, ...]:
        """The messages of an attempt as sent."""


def refuse(verdict: Fit, account: str, micros: int, cap: int, left: int) -> None:
    """Raise what the verdict calls for; FITS passes."""
    if verdict is Fit.EXHAUSTED:
        raise BudgetExhausted(refusal(account, micros, cap, left))
    if verdict is Fit.HELD:
        reason = f"calls under way hold the {account}'s budget"
        raise RetryLater(reason, HELD_RETRY_S, counts=False)


class Trips(Protocol):
    """A client that sends more in one trip; see `alphamill.shared_trips`."""

    def trailing(self, also: Callable[[], object]) -> AbstractContextManager[None]:
        """What `also` writes goes behind the block's first command."""


class RedisJournal:
    """The journal on one Redis server, no cluster. Keys: `alphamill:RUN:llm:*`, a day's account.

    The script runs whole or not at all; persistence is the server's (append-only file).
    trips: `client`, if it can do that.
    """

    def __init__(
        self, client: redis.Redis, hold_s: float = HOLD_S, trips: Trips | None = None
    ) -> None:
        source = files("alphamill.llm").joinpath("journal.lua").read_text(encoding="utf-8")
        self._redis = client
        self._trips = trips
        self._script = client.register_script(source)
        self._hold_ms = round(hold_s * 1000)
        self._stored: set[tuple[str, str]] = set()  # runs and digests of texts in Redis

    def lookup(self, run: str, call_id: str) -> CallRecord | None:
        return self.look(run, call_id, "")[0]

    def look(self, run: str, call_id: str, day: str) -> tuple[CallRecord | None, BudgetState]:
        answer, of_run, of_day = self._run("look", run, day, call_id, "")
        accounts = BudgetState(_account(_pairs(of_run)), _account(_pairs(of_day)))
        known = CallRecord.from_json(_text(answer), CallStatus.SETTLED) if answer else None
        return known, accounts

    def reserve(
        self,
        held: Reservation,
        record: CallRecord,
        messages: Sequence[Message],
        run_cap_usd_micros: int,
        day_cap_usd_micros: int,
    ) -> CallRecord | None:
        digests = [digest for _, digest in record.message_digests]
        contents = [
            "" if (held.run, digest) in self._stored else _storable(message.content)
            for digest, message in zip(digests, messages, strict=True)
        ]
        texts = [part for pair in zip(digests, contents, strict=True) for part in pair]
        verdict, *rest = self._change(
            "reserve", held, held.micros, held.day, run_cap_usd_micros, day_cap_usd_micros,
            self._hold_ms, record.to_json(), *texts,
        )  # fmt: skip
        if verdict == "answered":
            return CallRecord.from_json(rest[0], CallStatus.SETTLED)
        if verdict != Fit.FITS:
            account, cap, left = rest
            refuse(Fit(verdict), account, held.micros, int(cap), int(left))
        self._remember(held.run, digests, contents)
        return None

    def _remember(self, run: str, digests: Sequence[str], contents: Sequence[str]) -> None:
        """Long texts are those that repeat: they are sent once a process and run."""
        for digest, content in zip(digests, contents, strict=True):
            if len(content) >= LONG_CHARS:
                if len(self._stored) >= MOST_STORED:
                    self._stored.clear()
                self._stored.add((run, digest))

    def settle(
        self, held: Reservation, record: CallRecord, also: Callable[[], object] = _nothing
    ) -> CallRecord:
        asked = ("settle", held, record.cost_usd_micros or 0, record.to_json())
        if self._trips is not None:
            with self._trips.trailing(also):
                _, answer = self._change(*asked)
        else:
            _, answer = self._change(*asked)
            also()
        if not answer:  # its own
            return replace(record, status=CallStatus.SETTLED)
        return CallRecord.from_json(answer, CallStatus.SETTLED)

    def release(self, held: Reservation, record: CallRecord) -> None:
        self._change("release", held, record.to_json())

    def lose(self, held: Reservation, record: CallRecord) -> None:
        self._change("lose", held, record.to_json())

    def cancel(self, held: Reservation) -> None:
        self._change("cancel", held)

    def state(self, run: str, day: str) -> BudgetState:
        return self.look(run, "", day)[1]

    def calls(self, run: str) -> Iterator[CallRecord]:
        states = self._ask("hgetall", f"{_prefix(run)}:attempts")
        attempts, found = list(states), []
        for first in range(0, len(attempts), READ_BATCH):
            batch = attempts[first : first + READ_BATCH]
            texts = self._ask("hmget", f"{_prefix(run)}:records", batch)
            for attempt, text in zip(batch, texts, strict=True):
                if text is not None:  # cancelled since
                    status = CallStatus(_text(states[attempt]).split("|", 1)[0])
                    found.append(CallRecord.from_json(_text(text), status))
        yield from sorted(found, key=lambda record: (record.started_ms, record.attempt))

    def prompt(self, record: CallRecord) -> tuple[Message, ...]:
        digests = [digest for _, digest in record.message_digests]
        texts = self._ask("hmget", f"{_prefix(record.run)}:texts", digests) if digests else []
        return tuple(
            Message(role, "" if text is None else _text(text))  # type: ignore[arg-type]
            for (role, _), text in zip(record.message_digests, texts, strict=True)
        )

    def _change(self, op: str, held: Reservation, *args: str | int) -> list[str]:
        reply = self._run(op, held.run, held.day, held.call_id, held.attempt, *args)
        return [_text(part) for part in reply]

    def _run(self, op: str, run: str, day: str, call_id: str, *args: str | int) -> Any:
        prefix = _prefix(run)
        names = ("attempts", "open", "answers", "records", "texts")
        keys = [f"{prefix}:account", _day_key(day), *(f"{prefix}:{name}" for name in names)]
        try:
            return self._script(keys=keys, args=[op, call_id, *args])
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            raise _gone(error) from error

    def _ask(self, command: str, *args: Any) -> Any:
        try:
            return getattr(self._redis, command)(*args)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            raise _gone(error) from error


def _gone(error: Exception) -> RetryLater:
    reason = f"Redis, which keeps the budget, does not answer ({type(error).__name__})"
    return RetryLater(reason, after_s=2.0, counts=False)


def _prefix(run: str) -> str:
    return f"alphamill:{run}:llm"


def _day_key(day: str) -> str:
    return f"alphamill:llm:day:{day}"  # must end in the day: the script replaces it


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is not UTF-8


def _pairs(flat: Sequence[Any]) -> Mapping[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _account(stored: Mapping[Any, Any]) -> Account:
    values = {_text(key): int(_text(value)) for key, value in stored.items()}
    return Account(
        spent_usd_micros=values.get("spent", 0),
        reserved_usd_micros=values.get("reserved", 0),
        unknown_usd_micros=values.get("unknown", 0),
        unknown_calls=values.get("unknown_calls", 0),
        settled_calls=values.get("settled_calls", 0),
        overruns=values.get("overruns", 0),
        cap_usd_micros=values.get("cap", 0),
        held_until_ms=values.get("held_until_ms", 0),
    )
