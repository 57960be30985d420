"""Redis for the commands, checked before anything is written."""

from __future__ import annotations

import redis

from alphamill.errors import Misconfigured
from alphamill.settings import Settings


def connect(settings: Settings) -> redis.Redis:
    """A client of the settings' Redis that has answered.

    Raises Misconfigured, without the password, if it does not.
    """
    try:
        client = redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=3, socket_timeout=30
        )
        client.ping()
    except ValueError as error:
        raise Misconfigured(
            "ALPHAMILL_REDIS_URL", "not a Redis URL", "write redis://[:password@]host:6379/0"
        ) from error
    except redis.AuthenticationError as error:
        raise Misconfigured(
            "ALPHAMILL_REDIS_URL",
            "Redis refuses the password",
            "write redis://:PASSWORD@host:6379/0",
        ) from error
    except redis.RedisError as error:
        where = settings.redis_url.rpartition("@")[2].removeprefix("redis://")
        raise Misconfigured(
            "ALPHAMILL_REDIS_URL",
            f"no Redis answers at {where}",
            "start the stack with `alphamill up`, or set it to a running server",
        ) from error
    return client
