"""What every room does with Redis: connect, read text, load a script, fail in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

import redis

from alphamill.errors import Misconfigured, RetryLater
from alphamill.settings import Settings

# A server that is not there, is loading (a ConnectionError), is a replica, or is full. Each of them
# passes, with a person's help or without; any other answer is a defect and stays what it is.
GONE = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)
AGAIN_S = 2.0

ReadT = TypeVar("ReadT", covariant=True)


@dataclass(frozen=True, slots=True)
class ScriptCall(Generic[ReadT]):
    """A Lua script with its keys and arguments, for others to run as part of a step of theirs.

    read: makes of its answer what its owner would have made of it.
    """

    source: str
    keys: Sequence[str]
    args: Sequence[str | bytes]
    read: Callable[[Any], ReadT]


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


@contextmanager
def reached(otherwise: str) -> Iterator[None]:
    """Turn a Redis that cannot serve now (`GONE`) into RetryLater, which costs no attempt.

    otherwise: begins its reason, such as "ledger unreachable"; what Redis said follows.
    """
    try:
        yield
    except GONE as error:
        raise RetryLater(f"{otherwise} ({error})", AGAIN_S, counts=False) from error


def as_text(value: bytes | str) -> str:
    """What Redis answered, from a client with or without decode_responses."""
    return value.decode() if isinstance(value, bytes) else value


@cache
def script(package: str, name: str) -> str:
    """The source of `name`.lua, which lies in a package of ours."""
    return files(package).joinpath(f"{name}.lua").read_text(encoding="utf-8")
