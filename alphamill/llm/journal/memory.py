"""In-memory stand-ins with the same contracts: a journal, and a model that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from alphamill.clock import Clock, SystemClock
from alphamill.llm.journal.budget import HOLD_S, Account, BudgetState, Reservation
from alphamill.llm.journal.protocol import Turn, refuse
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
        self,
        held: Reservation,
        record: CallRecord,
        messages: Sequence[Message],
        run_cap_usd_micros: int,
        day_cap_usd_micros: int,
        turn: Turn,
    ) -> CallRecord | None:
        known, accounts = self.look(held.run, held.call_id, held.day)
        if known:
            return known
        for name, account, cap in (
            ("run", accounts.run, run_cap_usd_micros),
            ("day", accounts.day, day_cap_usd_micros),
        ):
            verdict = account.fit(held.micros, cap, self._clock.now_ms())
            refuse(verdict, name, held.micros, cap, cap - account.committed_usd_micros)
        turn.wait()
        return self.reserve(held, record, messages, run_cap_usd_micros, day_cap_usd_micros)

    def reserve(
        self,
        held: Reservation,
        record: CallRecord,
        messages: Sequence[Message],
        run_cap_usd_micros: int,
        day_cap_usd_micros: int,
    ) -> CallRecord | None:
        with self._lock:
            book, now = self._run(held.run), self._clock.now_ms()
            if held.call_id in book.answers:
                return book.records[book.answers[held.call_id]]
            if held.attempt in book.records:
                return None
            if held.call_id in book.open:
                self._lose(book, book.records[book.open.pop(held.call_id)])
            day = self._days.get(held.day, Account())
            for name, account, cap in (
                ("run", book.account, run_cap_usd_micros),
                ("day", day, day_cap_usd_micros),
            ):
                verdict = account.fit(held.micros, cap, now)
                refuse(verdict, name, held.micros, cap, cap - account.committed_usd_micros)
            book.records[held.attempt] = replace(record, status=CallStatus.OPEN)
            book.open[held.call_id] = held.attempt
            book.texts.update({m.digest: m.content for m in messages})
            self._add(book, held.day, reserved_usd_micros=held.micros)
            till = now + self._hold_ms
            book.account = replace(
                book.account, cap_usd_micros=run_cap_usd_micros, held_until_ms=till
            )
            self._days[held.day] = replace(
                self._days[held.day], cap_usd_micros=day_cap_usd_micros, held_until_ms=till
            )
            return None

    def settle(
        self, held: Reservation, record: CallRecord, also: Callable[[], object] | None = None
    ) -> CallRecord:
        answer = self._pay(held, record)
        if also is not None:
            also()
        return answer

    def _pay(self, held: Reservation, record: CallRecord) -> CallRecord:
        with self._lock:
            book = self._run(held.run)
            before = book.records[held.attempt]
            if before.status not in (CallStatus.SETTLED, CallStatus.DUPLICATE):
                cost = record.cost_usd_micros or 0
                self._withdraw(book, before)
                over = int(cost > held.micros)
                self._add(book, held.day, spent_usd_micros=cost, settled_calls=1, overruns=over)
                first = book.answers.setdefault(held.call_id, held.attempt) == held.attempt
                status = CallStatus.SETTLED if first else CallStatus.DUPLICATE
                book.records[held.attempt] = replace(record, status=status)
                self._close(book, held)
            return book.records[book.answers[held.call_id]]

    def release(self, held: Reservation, record: CallRecord) -> None:
        with self._lock:
            book = self._run(held.run)
            if before := self._unsettled(book, held):
                self._withdraw(book, before)
                book.records[held.attempt] = replace(record, status=CallStatus.FAILED)
                self._close(book, held)

    def lose(self, held: Reservation, record: CallRecord) -> None:
        with self._lock:
            book = self._run(held.run)
            if before := self._unsettled(book, held):
                self._lose(book, before)
                book.records[held.attempt] = replace(record, status=CallStatus.UNKNOWN)
                self._close(book, held)

    def cancel(self, held: Reservation) -> None:
        with self._lock:
            book = self._run(held.run)
            if before := self._unsettled(book, held):
                self._withdraw(book, before)
                del book.records[held.attempt]
                self._close(book, held)

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

    def _unsettled(self, book: _Run, held: Reservation) -> CallRecord | None:
        record = book.records.get(held.attempt)
        live = (CallStatus.OPEN, CallStatus.UNKNOWN)
        return record if record is not None and record.status in live else None

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

    def _close(self, book: _Run, held: Reservation) -> None:
        if book.open.get(held.call_id) == held.attempt:
            del book.open[held.call_id]


def _plus(account: Account, amounts: dict[str, int]) -> Account:
    return replace(account, **{name: getattr(account, name) + by for name, by in amounts.items()})
