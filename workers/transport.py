"""Redis as Celery's broker, so that a worker outlives whatever its server does.

When the server goes away, kombu 5.7 closes the connection in two tries. The first ends half way
(the server's last reply never comes), the second finds the connection's client gone and raises
AttributeError, as does an acknowledgement that comes late. Celery recovers from a lost connection,
but not from that: the worker ends with "Unrecoverable error". So the channel says what is the case.

A server that is there and cannot serve (full, a replica, without disk) refuses with an error of
its own, which ends a worker just as well: it counts as a lost connection too. Most of it is not
even needed. A message is a hint, and the ledger has it published again if it is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.client
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError

from alphamill.redis_store import as_text, state_of

_log = logging.getLogger(__name__)


class CannotServe(LostConnection):
    """The server answers, and says why it does not serve."""


@contextmanager
def _as_lost() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        if state := state_of(error):
            raise CannotServe(state) from None  # what its readers need is said
        raise


class _Client(redis.Redis):
    """A client whose refusals are lost connections."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with _as_lost():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> _Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Pipeline(redis.client.Pipeline):
    """As `_Client`."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with _as_lost():
            return super().execute(raise_on_error)

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with _as_lost():
            return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class QoS(kombu_redis.QoS):
    """kombu's record of messages that are not acknowledged, as far as the server has room."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Put a message that was taken on record.

        A full server has no place for that. The message is here and is worked on; should this
        process die, nobody gives it back, and the ledger's sweep publishes it again.
        """
        try:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        except CannotServe as error:
            _log.warning("a message is not on record: %s", error)
            virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        """Forget a message that was worked on."""
        self._forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back, or forget it."""
        if requeue:
            self.restore_by_tag(delivery_tag, leftmost=True)  # type: ignore[no-untyped-call]
        else:
            self._forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def _forget(self, delivery_tag: str) -> None:
        """Without MULTI, in which a full Redis before 8 refuses even what frees memory.

        The message goes first: an entry of the index alone is found and dropped when it lapses.
        """
        with self.channel.conn_or_acquire() as client:
            pipe = client.pipeline(transaction=False)
            pipe.hdel(self.unacked_key, delivery_tag)
            pipe.zrem(self.unacked_index_key, delivery_tag)
            pipe.execute()


class _Serving:
    """What both of our channels do beside kombu's."""

    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        ours: Any = self
        if ours.connection is None or ours.connection.client is None:
            raise LostConnection("this channel's connection is closed")
        found: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        return found

    def _get_client(self) -> type[redis.Redis]:
        return _Client

    def _brpop_read(self, **options: Any) -> Any:
        with _as_lost():
            return super()._brpop_read(**options)  # type: ignore[misc]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind it, and drop what an alphamill before 0.1.0 bound with another separator.

        Nobody can read those: they would break every reader of the exchange, outside ones too.
        """
        ours: Any = self
        key = ours.keyprefix_queue % (exchange,)
        with ours.conn_or_acquire() as client:
            bound = [as_text(member) for member in client.smembers(key)]
            if foreign := [member for member in bound if ours.sep not in member]:
                client.srem(key, *foreign)
        super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]


class Channel(_Serving, kombu_redis.Channel):
    """kombu's channel, with a closed connection and a server that does not serve named as such."""


class SentinelChannel(_Serving, kombu_redis.SentinelChannel):
    """The same behind Sentinels."""


class Transport(kombu_redis.Transport):
    """kombu's transport with that channel."""

    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """kombu's transport behind Sentinels, with that channel."""

    Channel = SentinelChannel


def install() -> None:
    """Use them for every Redis broker of this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__qualname__}"
