"""The journal on Redis: `journal.lua` holds the rules, and changes replies and money together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import redis
from redis.commands.core import Script

from alphamill.llm.journal.budget import HOLD_S, Account, BudgetState, Caps, Fit
from alphamill.llm.journal.protocol import Turn, nothing, refuse
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.messages import Message
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.redis_store import ScriptCall, as_text, reached, script

READ_BATCH = 500
LONG_CHARS = 2000
MOST_STORED = 1000
_reached = partial(reached, "Redis, which keeps the budget, does not answer")
_TABLES = ("attempts", "open", "answers", "records", "texts")


class RedisJournal:
    """The journal on one Redis server, no cluster. Keys: `alphamill:RUN:llm:*`, a day's account.

    The script runs whole or not at all; persistence is the server's (append-only file).
    """

    def __init__(self, client: redis.Redis, hold_s: float = HOLD_S) -> None:
        self._redis = client
        self._script = client.register_script(script(__package__, "journal"))
        self._admits: dict[str, Script] = {}  # by the text that books the turn
        self._hold_ms = round(hold_s * 1000)
        self._stored: set[tuple[str, str]] = set()  # runs and digests of texts in Redis

    def lookup(self, run: str, call_id: str) -> CallRecord | None:
        return self.look(run, call_id, "")[0]

    def look(self, run: str, call_id: str, day: str) -> tuple[CallRecord | None, BudgetState]:
        answer, of_run, of_day = self._run("look", run, day, call_id, "")
        accounts = BudgetState(_account(_pairs(of_run)), _account(_pairs(of_day)))
        known = CallRecord.from_json(as_text(answer), CallStatus.SETTLED) if answer else None
        return known, accounts

    def admit(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps, turn: Turn
    ) -> CallRecord | None:
        texts = self._texts(record, messages)
        slot, known = self._at_once(record, turn.at_once(), self._arguments(record, texts, caps))
        if known:
            return known
        if slot is None:
            turn.wait()
            return self.reserve(record, messages, caps)
        turn.take(slot)
        self._remember(record.run, texts)
        return None

    def _at_once(
        self, record: CallRecord, turn: ScriptCall[Any] | None, arguments: Sequence[str | int]
    ) -> tuple[Any, CallRecord | None]:
        """The slot, if there is one to be had, and then the money; or what answers the call."""
        if turn is None:
            return None, _granted(record, self._change("check", record, *arguments))
        whole = self._admits.get(turn.source)
        if whole is None:
            whole = self._redis.register_script(_admit(turn.source))
            self._admits[turn.source] = whole
        keys = [*self._keys(record.run, record.day), *turn.keys]
        args = [len(turn.args), *turn.args, "reserve", record.call_id, record.attempt, *arguments]
        with _reached():
            booked, *verdict = whole(keys=keys, args=args)
        known = _granted(record, [as_text(part) for part in verdict])
        return (turn.read(booked) if booked else None), known

    def reserve(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps
    ) -> CallRecord | None:
        texts = self._texts(record, messages)
        arguments = self._arguments(record, texts, caps)
        known = _granted(record, self._change("reserve", record, *arguments))
        if known is None:
            self._remember(record.run, texts)
        return known

    def _arguments(
        self, record: CallRecord, texts: Sequence[tuple[str, str]], caps: Caps
    ) -> list[str | int]:
        """What `check` and `reserve` are told of a call."""
        money = (record.reserved_usd_micros, record.day, caps.run_usd_micros, caps.day_usd_micros)
        return [*money, self._hold_ms, record.to_json(), *chain.from_iterable(texts)]

    def _texts(self, record: CallRecord, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Digest and text of each message; no text where Redis has it."""
        digests = [digest for _, digest in record.message_digests]
        return [
            (digest, "" if (record.run, digest) in self._stored else _storable(message.content))
            for digest, message in zip(digests, messages, strict=True)
        ]

    def _remember(self, run: str, texts: Sequence[tuple[str, str]]) -> None:
        """Long texts are those that repeat: they are sent once a process and run."""
        for digest, content in texts:
            if len(content) >= LONG_CHARS:
                if len(self._stored) >= MOST_STORED:
                    self._stored.clear()
                self._stored.add((run, digest))

    def settle(self, record: CallRecord, also: Callable[[], object] = nothing) -> CallRecord:
        arguments = ("settle", record, record.cost_usd_micros or 0, record.to_json())
        if isinstance(self._redis, PipelinedRedis):
            with self._redis.after_next(also):
                _, answer = self._change(*arguments)
        else:
            _, answer = self._change(*arguments)
            also()
        if not answer:  # its own
            settled = record.status is CallStatus.SETTLED
            return record if settled else replace(record, status=CallStatus.SETTLED)
        return CallRecord.from_json(answer, CallStatus.SETTLED)

    def release(self, record: CallRecord) -> None:
        self._change("release", record, record.to_json())

    def lose(self, record: CallRecord) -> None:
        self._change("lose", record, record.to_json())

    def cancel(self, record: CallRecord) -> None:
        self._change("cancel", record)

    def state(self, run: str, day: str) -> BudgetState:
        return self.look(run, "", day)[1]

    def accounts(self, runs: Sequence[str], day: str) -> tuple[dict[str, Account], Account]:
        """The accounts of some runs, and of a UTC day, in one trip."""
        with _reached(), self._redis.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hgetall(f"{_prefix(run)}:account")
            pipe.hgetall(_day_key(day))
            *of_runs, of_day = map(_account, pipe.execute())
        return dict(zip(runs, of_runs, strict=True)), of_day

    def reopen(self, run: str) -> None:
        """Nobody is told any longer that a budget stops the run; until one does so again."""
        self._ask("hdel", f"{_prefix(run)}:account", "exhausted_ms")

    def calls(self, run: str) -> Iterator[CallRecord]:
        states = self._ask("hgetall", f"{_prefix(run)}:attempts")
        attempts, found = list(states), []
        for first in range(0, len(attempts), READ_BATCH):
            batch = attempts[first : first + READ_BATCH]
            texts = self._ask("hmget", f"{_prefix(run)}:records", batch)
            for attempt, text in zip(batch, texts, strict=True):
                if text is not None:  # cancelled since
                    status = CallStatus(as_text(states[attempt]).split("|", 1)[0])
                    found.append(CallRecord.from_json(as_text(text), status))
        yield from sorted(found, key=lambda record: (record.started_ms, record.attempt))

    def prompt(self, record: CallRecord) -> tuple[Message, ...]:
        digests = [digest for _, digest in record.message_digests]
        texts = self._ask("hmget", f"{_prefix(record.run)}:texts", digests) if digests else []
        return tuple(
            Message(role, "" if text is None else as_text(text))  # type: ignore[arg-type]
            for (role, _), text in zip(record.message_digests, texts, strict=True)
        )

    def _change(self, op: str, record: CallRecord, *args: str | int) -> list[str]:
        reply = self._run(op, record.run, record.day, record.call_id, record.attempt, *args)
        return [as_text(part) for part in reply]

    def _run(self, op: str, run: str, day: str, call_id: str, *args: str | int) -> Any:
        with _reached():
            return self._script(keys=self._keys(run, day), args=[op, call_id, *args])

    def _keys(self, run: str, day: str) -> list[str]:
        prefix = _prefix(run)
        return [f"{prefix}:account", _day_key(day), *(f"{prefix}:{name}" for name in _TABLES)]

    def _ask(self, command: str, *args: Any) -> Any:
        with _reached():
            return getattr(self._redis, command)(*args)


def _granted(record: CallRecord, reply: Sequence[str]) -> CallRecord | None:
    """What `reserve` or `check` said: the answer of the call, None, or raised a refusal."""
    verdict, *rest = reply
    if verdict == "answered":
        return CallRecord.from_json(rest[0], CallStatus.SETTLED)
    if verdict != Fit.FITS:
        account, cap, left = rest
        refuse(Fit(verdict), account, record.reserved_usd_micros, int(cap), int(left))
    return None


def _admit(turn: str) -> str:
    """`admit.lua` behind the journal's script and the turn's, each made a function.

    A Lua script is a chunk that reads the globals KEYS and ARGV; as a function of those two names
    its text runs unchanged on what `admit.lua` hands it.
    """
    parts = [("journal", script(__package__, "journal")), ("turn", turn)]
    functions = [f"local function {name}(KEYS, ARGV)\n{text}\nend\n" for name, text in parts]
    return "".join(functions) + script(__package__, "admit")


def _prefix(run: str) -> str:
    return f"alphamill:{run}:llm"


def _day_key(day: str) -> str:
    return f"alphamill:llm:day:{day}"  # must end in the day: the script replaces it


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is not UTF-8


def _pairs(flat: Sequence[Any]) -> Mapping[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _account(stored: Mapping[Any, Any]) -> Account:
    values = {as_text(key): int(as_text(value)) for key, value in stored.items()}
    return Account(
        spent_usd_micros=values.get("spent", 0),
        reserved_usd_micros=values.get("reserved", 0),
        unknown_usd_micros=values.get("unknown", 0),
        unknown_calls=values.get("unknown_calls", 0),
        settled_calls=values.get("settled_calls", 0),
        overruns=values.get("overruns", 0),
        cap_usd_micros=values.get("cap", 0),
        held_until_ms=values.get("held_until_ms", 0),
        exhausted_ms=values.get("exhausted_ms", 0),
    )
