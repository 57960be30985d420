"""Hints become messages; what nobody here can queue does not keep back the rest."""

import logging

import pytest
from kombu import Connection
from kombu.connection import ConnectionPool
from kombu.pools import ProducerPool

from alphamill.ledger import Hint
from workers.app import app
from workers.send import publish


@pytest.fixture
def messages(monkeypatch):
    """An in-memory broker in place of Redis; says how many messages a queue holds."""
    with Connection("memory://hints") as connection:
        pool = ProducerPool(ConnectionPool(connection, limit=1), limit=1)
        monkeypatch.setattr(type(app), "producer_pool", pool)
        yield lambda name: connection.SimpleQueue(app.amqp.queues[name]).qsize()
        pool.force_close_all()


def hint(queue: str) -> Hint:
    return Hint("run", f"job-{queue}", "fetch", queue, 0)


def test_an_unknown_queue_is_told_and_the_rest_is_sent(messages, caplog):
    with caplog.at_level(logging.WARNING):
        assert publish([hint("fetch"), hint("fetch.of.tomorrow"), hint("control")]) == 2
    assert "fetch.of.tomorrow" in caplog.text
    assert messages("fetch") == 1
    assert messages("control") == 1
