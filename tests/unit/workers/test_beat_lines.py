"""What beat writes when nothing can be sent: one line a while, with the cause and its cure."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import fakeredis
import pytest
import redis
from celery.beat import SchedulingError
from kombu.exceptions import OperationalError

from alphamill.ledger.presence import Presence
from workers import beat
from workers.transport import CannotServe

URL = "redis://:hunter2@127.0.0.1:1/0"
ENTRY = SimpleNamespace(task="sweep")


@pytest.fixture
def sent(monkeypatch):
    """A scheduler; what `sent.fails_with` is raised by the broker, at `sent.now_s`."""
    scheduler = object.__new__(beat.Scheduler)
    scheduler.app = SimpleNamespace(conf=SimpleNamespace(broker_url=URL))
    state = SimpleNamespace(fails_with=None, now_s=0.0, scheduler=scheduler)

    def apply_async(entry, producer=None, advance=True):
        try:
            if state.fails_with is not None:
                raise state.fails_with
        except Exception:  # noqa: BLE001  as Celery, which has the rest from the context
            raise SchedulingError(f"Couldn't apply scheduled task {entry.task}")  # noqa: B904

    scheduler.apply_async = apply_async
    monkeypatch.setattr(beat.time, "monotonic", lambda: state.now_s)
    state.redis = fakeredis.FakeRedis()
    monkeypatch.setattr(beat, "resources", lambda: SimpleNamespace(redis=state.redis))
    return state


def wrapped(error):
    """As kombu raises it while publishing."""
    outer = OperationalError(str(error))
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CannotServe("Redis is full: raise its maxmemory"), "Redis is full: raise its maxmemory"),
        (redis.ConnectionError("refused"), "no Redis answers at 127.0.0.1:1/0; start the stack"),
        (redis.AuthenticationError("WRONGPASS"), "Redis refuses the password; write redis://"),
        (ConnectionRefusedError(111, "refused"), "broker cannot be reached ([Errno 111] refused)"),
    ],
)
@pytest.mark.parametrize("as_kombu", [True, False])
def test_one_line_a_minute_names_the_cause_and_the_cure(sent, caplog, error, said, as_kombu):
    sent.fails_with = wrapped(error) if as_kombu else error
    with caplog.at_level(logging.INFO):
        for second in range(121):
            sent.now_s = float(second)
            sent.scheduler.apply_entry(ENTRY)
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    first, _, third = (record.getMessage() for record in caplog.records)
    assert first.startswith("sweep cannot be sent, 1 so far: ")
    assert third.startswith("sweep cannot be sent, 121 so far: ")
    assert said in first
    assert not any(record.exc_info for record in caplog.records)
    assert "hunter2" not in caplog.text


def test_what_is_sent_again_is_said_and_the_next_fault_at_once(sent, caplog):
    with caplog.at_level(logging.INFO):
        sent.scheduler.apply_entry(ENTRY)
        assert not caplog.records
        for fault in (CannotServe("Redis is full: x"), None, CannotServe("Redis is busy: y")):
            sent.fails_with = fault
            sent.scheduler.apply_entry(ENTRY)
    assert [record.getMessage() for record in caplog.records] == [
        "sweep cannot be sent, 1 so far: Redis is full: x",
        "sweep is sent again, after 1 that were not",
        "sweep cannot be sent, 1 so far: Redis is busy: y",
    ]


def test_a_defect_keeps_its_traceback(sent, caplog):
    sent.fails_with = TypeError("not serialisable")
    sent.scheduler.apply_entry(ENTRY)
    [record] = caplog.records
    assert record.exc_info is not None


def test_it_is_heard_of_while_it_can_send_and_only_then(sent, monkeypatch):
    presence = Presence(sent.redis)
    monkeypatch.setattr(beat.socket, "gethostname", lambda: "box1")
    sent.fails_with = wrapped(redis.ConnectionError("refused"))
    sent.scheduler.apply_entry(ENTRY)
    assert presence.beat_host() is None
    sent.fails_with = None
    sent.scheduler.apply_entry(ENTRY)
    assert presence.beat_host() == "box1"
    sent.redis.delete("alphamill:beat")
    for now_s, heard in ((1.0, None), (7.0, None), (8.0, "box1")):
        sent.now_s = now_s
        sent.scheduler.apply_entry(ENTRY)
        assert presence.beat_host() == heard, "said a few times in what counts as silence"


def test_a_ledger_that_is_away_does_not_stop_what_the_broker_takes(sent, monkeypatch):
    gone = redis.Redis(port=1, socket_connect_timeout=1)
    monkeypatch.setattr(beat, "resources", lambda: SimpleNamespace(redis=gone))
    sent.scheduler.apply_entry(ENTRY)
