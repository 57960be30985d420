"""Priorities on a real RabbitMQ: the product's queues, and what other queues would do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection, Exchange, Producer
from kombu import Queue as KombuQueue

from tests.deadlines import start_s
from tests.integration.conftest import REPOSITORY

URL = os.environ.get("ALPHAMILL_TEST_RABBITMQ", "")  # of a server that is nobody else's
pytestmark = pytest.mark.skipif(not URL, reason="ALPHAMILL_TEST_RABBITMQ names no RabbitMQ")

PRIORITIES = (0, 3, 9, 0, 5, 9, 4)
SENDER = """
import sys
from alphamill.ledger import Hint
from workers.app import app
from workers.send import publish
hints = [Hint("run", f"job{p}", "fetch", "fetch", int(p)) for p in sys.argv[1:]]
assert publish(hints) == len(hints)
"""


@pytest.fixture
def broker() -> Iterator[Connection]:
    with Connection(URL) as connection:
        yield connection
        with connection.channel() as channel:
            for name in ("fetch", "probe"):
                channel.queue_delete(name)


def served(broker: Connection, name: str) -> Iterator[dict]:
    """Messages in the order in which a worker gets them, who takes one at a time."""
    with broker.channel() as channel:
        channel.basic_qos(0, 1, False)
        got: list = []
        channel.basic_consume(name, callback=got.append)
        while True:
            while not got:
                broker.drain_events(timeout=start_s())
            message = got.pop()
            channel.basic_ack(message.delivery_tag)
            yield message


def test_a_run_of_higher_priority_is_served_first(broker):
    """As the product sends them, into the queues that it declares."""
    command = [sys.executable, "-c", SENDER, *map(str, PRIORITIES)]
    subprocess.run(
        command,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "ALPHAMILL_BROKER_URL": URL},
        timeout=start_s(),
    )
    messages = served(broker, "fetch")
    jobs = [json.loads(next(messages).body)[0][1] for _ in PRIORITIES]
    assert jobs == [f"job{priority}" for priority in sorted(PRIORITIES, reverse=True)]


def order(broker: Connection, **arguments: object) -> list[int]:
    with broker.channel() as channel:
        exchange = Exchange("probe", type="direct", durable=True)
        queue = KombuQueue("probe", exchange, "probe", queue_arguments=arguments).bind(channel)
        queue.declare()
        producer = Producer(channel, exchange, "probe")
        for priority in PRIORITIES:
            producer.publish(priority, priority=priority)
        messages = served(broker, "probe")
        return [json.loads(next(messages).body) for _ in PRIORITIES]


def test_a_classic_queue_orders_only_if_it_was_declared_for_it(broker):
    assert order(broker) == list(PRIORITIES)
    with broker.channel() as channel:
        channel.queue_delete("probe")
    assert order(broker, **{"x-max-priority": 9}) == sorted(PRIORITIES, reverse=True)


def test_a_queue_that_is_there_is_not_changed(broker):
    """So one that was declared without has to be deleted first."""
    order(broker)
    with pytest.raises(PreconditionFailed, match="inequivalent arg 'x-max-priority'"):
        order(broker, **{"x-max-priority": 9})


def test_a_quorum_queue_takes_no_such_order(broker):
    """RabbitMQ 3; by its documentation 4 has two levels of its own, high from 5."""
    if not broker.connection.server_properties["version"].startswith("3."):
        pytest.skip("written for RabbitMQ 3")
    with pytest.raises(PreconditionFailed, match="x-max-priority"):
        order(broker, **{"x-queue-type": "quorum", "x-max-priority": 9})
    assert order(broker, **{"x-queue-type": "quorum"}) == list(PRIORITIES)
