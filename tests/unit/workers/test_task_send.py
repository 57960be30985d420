"""Hints become messages; what nobody here can queue does not keep back the rest."""

import logging
import runpy

import pytest
from kombu import Connection
from kombu.connection import ConnectionPool
from kombu.pools import ProducerPool

from alphamill.ledger import Hint
from workers.app import app
from workers.send import _on_the_wire, label, publish


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


@pytest.mark.parametrize(
    ("url", "arguments", "first"),
    [
        ("redis://127.0.0.1:1/0", None, 0),
        ("redis+sentinel://127.0.0.1:1/mill/0", None, 0),
        ("amqp://127.0.0.1:1//", {"x-queue-type": "classic", "x-max-priority": 9}, 9),
        ("amqps://127.0.0.1:1//", {"x-queue-type": "classic", "x-max-priority": 9}, 9),
    ],
)
def test_rabbitmqs_queues_are_declared_for_priorities(monkeypatch, url, arguments, first):
    """See tests/integration/test_rabbitmq.py for what it does with them."""
    monkeypatch.setenv("ALPHAMILL_BROKER_URL", url)
    config = runpy.run_module("celeryconfig")
    assert [queue.queue_arguments for queue in config["task_queues"]] == [arguments] * 7
    assert config["beat_schedule"]["sweep"]["options"]["priority"] == first


@pytest.mark.parametrize(("driver", "sent"), [("amqp", [0, 9]), ("redis", [9, 0])])
def test_the_higher_priority_is_served_first_everywhere(driver, sent):
    """By RabbitMQ the highest number, by Redis the lowest."""
    assert [_on_the_wire(priority, driver) for priority in (0, 9)] == sent


FETCH = {"symbol": "BTCUSDT", "interval": "1h", "market": "spot"}
MARCH_MS, APRIL_MS = 1_646_092_800_000, 1_648_771_200_000


@pytest.mark.parametrize(
    ("stage", "job", "said"),
    [
        ("fetch", {**FETCH, "start_ms": MARCH_MS, "end_ms": APRIL_MS}, "fetch BTCUSDT 1h 2022-03"),
        (
            "features",
            {**FETCH, "start_ms": MARCH_MS, "end_ms": APRIL_MS + 1},
            "features BTCUSDT 1h 2022-03..2022-04",
        ),
        (
            "evaluate.quick_scan",
            {"interval": "1h", "round": 0, "shard": 1, "shards": 2},
            "evaluate.quick_scan 1h round 1 shard 2 of 2",
        ),
        ("publish", {}, "publish"),
    ],
)
def test_a_message_says_what_its_job_is_about(stage, job, said):
    assert label(Hint("run", "id", stage, "fetch", 0, job)) == said
