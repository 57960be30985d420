"""Redis as Celery's broker, so that a worker outlives a restart of the Redis server.

When the server goes away, kombu 5.7 closes the connection in two tries. The first ends half way
(the server's last reply never comes), the second finds the connection's client gone and raises
AttributeError, as does an acknowledgement that comes late. Celery recovers from a lost connection,
but not from that: the worker ends with "Unrecoverable error". So the channel says what is the case.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as LostConnection


class Channel(kombu_redis.Channel):
    """kombu's channel, with a closed connection named as such."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise LostConnection("this channel's connection is closed")
        found: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return found


class Transport(kombu_redis.Transport):
    """kombu's transport with that channel."""

    Channel = Channel


def install() -> None:
    """Use it for every redis:// and rediss:// broker of this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__qualname__}"
