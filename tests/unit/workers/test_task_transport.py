"""The broker's channel names a closed connection as what Celery recovers from."""

from types import SimpleNamespace

import pytest
from kombu import Connection

from workers import transport
from workers.app import app


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_workers_use_the_mended_channel(scheme):
    with app.connection_for_write(f"{scheme}://127.0.0.1:1/0") as connection:
        assert isinstance(connection.transport, transport.Transport)
        assert connection.transport.Channel is transport.Channel


@pytest.mark.parametrize("connection", [None, SimpleNamespace(client=None)])
def test_a_closed_channel_raises_an_error_that_celery_recovers_from(connection):
    channel = object.__new__(transport.Channel)
    channel.connection = connection
    recoverable = Connection("redis://").recoverable_connection_errors
    with pytest.raises(recoverable, match="closed"):
        channel._connparams()
