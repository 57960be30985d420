"""In-memory stand-ins with the same contracts: a journal, and a model that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from alphamill.clock import Clock, SystemClock
from alphamill.llm.journal.budget import HOLD_S, Account, BudgetState, Caps
from alphamill.llm.journal.protocol import Turn, nothing, refuse
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.messages import Message


@dataclass
class _Run:
    account: Account = field(default_factory=Account)
    records: dict[str, CallRecord] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)  # call -> attempt
    answers: dict[str, str] = field(default_factory=dict)  # call -> attempt
    texts: dict[str, str] = field(default_factory=dict)  # digest -> text


class MemoryJournal:
    """A `Journal` for one process: tests and notebooks."""

    def __init__(self, clock: Clock | None = None, hold_s: float = HOLD_S) -> None:
        self._clock = clock or SystemClock()
        self._hold_ms = round(hold_s * 1000)
        self._runs: dict[str, _Run] = {}
        self._days: dict[str, Account] = {}
        self._lock = threading.Lock()

    def look(self, run: str, call_id: str, day: str) -> tuple[CallRecord | None, BudgetState]:
        return self.lookup(run, call_id), self.state(run, day)

    def lookup(self, run: str, call_id: str) -> CallRecord | None:
        with self._lock:
            book = self._run(run)
            return book.records[book.answers[call_id]] if call_id in book.answers else None

    def admit(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps, turn: Turn
    ) -> CallRecord | None:
        known, accounts = self.look(record.run, record.call_id, record.day)
        if known:
            return known
        self._check(record, accounts, caps)
        turn.wait()
        return self.reserve(record, messages, caps)

    def reserve(
        self, record: CallRecord, messages: Sequence[Message], caps: Caps
    ) -> CallRecord | None:
        with self._lock:
            book = self._run(record.run)
            if record.call_id in book.answers:
                return book.records[book.answers[record.call_id]]
            if record.attempt in book.records:
                return None
            if record.call_id in book.open:
                self._lose(book, book.records[book.open.pop(record.call_id)])
            day = self._days.get(record.day, Account())
            self._check(record, BudgetState(book.account, day), caps)
            book.records[record.attempt] = replace(record, status=CallStatus.OPEN)
            book.open[record.call_id] = record.attempt
            book.texts.update({m.digest: m.content for m in messages})
            self._add(book, record.day, reserved_usd_micros=record.reserved_usd_micros)
            till = self._clock.now_ms() + self._hold_ms
            book.account = replace(
                book.account, cap_usd_micros=caps.run_usd_micros, held_until_ms=till
            )
            day = self._days[record.day]
            self._days[record.day] = replace(
                day, cap_usd_micros=caps.day_usd_micros, held_until_ms=till
            )
            return None

    def _check(self, record: CallRecord, accounts: BudgetState, caps: Caps) -> None:
        micros, now_ms = record.reserved_usd_micros, self._clock.now_ms()
        for name, account, cap in (
            ("run", accounts.run, caps.run_usd_micros),
            ("day", accounts.day, caps.day_usd_micros),
        ):
            left = cap - account.committed_usd_micros
            refuse(account.fit(micros, cap, now_ms), name, micros, cap, left)

    def settle(self, record: CallRecord, also: Callable[[], object] = nothing) -> CallRecord:
        answer = self._pay(record)
        also()
        return answer

    def _pay(self, record: CallRecord) -> CallRecord:
        with self._lock:
            book = self._run(record.run)
            before = book.records[record.attempt]
            if before.status not in (CallStatus.SETTLED, CallStatus.DUPLICATE):
                cost = record.cost_usd_micros or 0
                self._withdraw(book, before)
                over = int(cost > record.reserved_usd_micros)
                self._add(book, record.day, spent_usd_micros=cost, settled_calls=1, overruns=over)
                first = book.answers.setdefault(record.call_id, record.attempt) == record.attempt
                status = CallStatus.SETTLED if first else CallStatus.DUPLICATE
                book.records[record.attempt] = replace(record, status=status)
                self._close(book, record)
            return book.records[book.answers[record.call_id]]

    def release(self, record: CallRecord) -> None:
        with self._lock:
            book = self._run(record.run)
            if before := self._unsettled(book, record):
                self._withdraw(book, before)
                book.records[record.attempt] = replace(record, status=CallStatus.FAILED)
                self._close(book, record)

    def lose(self, record: CallRecord) -> None:
        with self._lock:
            book = self._run(record.run)
            if before := self._unsettled(book, record):
                self._lose(book, before)
                book.records[record.attempt] = replace(record, status=CallStatus.UNKNOWN)
                self._close(book, record)

    def cancel(self, record: CallRecord) -> None:
        with self._lock:
            book = self._run(record.run)
            if before := self._unsettled(book, record):
                self._withdraw(book, before)
                del book.records[record.attempt]
                self._close(book, record)

    def state(self, run: str, day: str) -> BudgetState:
        with self._lock:
            return BudgetState(self._run(run).account, self._days.get(day, Account()))

    def calls(self, run: str) -> Iterator[CallRecord]:
        with self._lock:
            records = list(self._run(run).records.values())
        yield from sorted(records, key=lambda record: (record.started_ms, record.attempt))

    def prompt(self, record: CallRecord) -> tuple[Message, ...]:
        with self._lock:
            texts = self._run(record.run).texts
            return tuple(
                Message(role, texts.get(digest, ""))  # type: ignore[arg-type]
                for role, digest in record.message_digests
            )

    def _run(self, run: str) -> _Run:
        return self._runs.setdefault(run, _Run())

    def _unsettled(self, book: _Run, record: CallRecord) -> CallRecord | None:
        known = book.records.get(record.attempt)
        live = (CallStatus.OPEN, CallStatus.UNKNOWN)
        return known if known is not None and known.status in live else None

    def _add(self, book: _Run, day: str, **amounts: int) -> None:
        book.account = _plus(book.account, amounts)
        self._days[day] = _plus(self._days.get(day, Account()), amounts)

    def _withdraw(self, book: _Run, record: CallRecord) -> None:
        micros = -record.reserved_usd_micros
        if record.status is CallStatus.OPEN:
            self._add(book, record.day, reserved_usd_micros=micros)
        elif record.status is CallStatus.UNKNOWN:
            self._add(book, record.day, unknown_usd_micros=micros, unknown_calls=-1)

    def _lose(self, book: _Run, record: CallRecord) -> None:
        self._withdraw(book, record)
        self._add(book, record.day, unknown_usd_micros=record.reserved_usd_micros, unknown_calls=1)
        book.records[record.attempt] = replace(record, status=CallStatus.UNKNOWN)

    def _close(self, book: _Run, record: CallRecord) -> None:
        if book.open.get(record.call_id) == record.attempt:
            del book.open[record.call_id]


def _plus(account: Account, amounts: dict[str, int]) -> Account:
    return replace(account, **{name: getattr(account, name) + by for name, by in amounts.items()})
