"""What every room does with Redis: connect, read text, load a script, fail in one way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from alphamill.errors import Misconfigured, RetryLater
from alphamill.redis_address import CLUSTER, fault, is_cluster, open_client
from alphamill.settings import Settings

# What a server says that is there and cannot serve. Each of them passes, with a person's help or
# without; any other answer is a defect and stays what it is.
_STATES = {
    "OOM": "Redis is full: raise its maxmemory or give it more memory",
    "MISCONF": "Redis cannot write to its disk: free space there",
    "READONLY": "this Redis is a replica: the address must be its master's",
    "MASTERDOWN": "this Redis is a replica that has lost its master",
    "NOREPLICAS": "Redis has too few replicas to take writes (min-replicas-to-write)",
    "LOADING": "Redis is loading its data",
    "BUSY": "Redis is busy with somebody's script",
    "UNBLOCKED": "Redis has become a replica",
}
_CODES: dict[type[redis.RedisError], str] = {  # redis-py takes the code of these out of the text
    redis.OutOfMemoryError: "OOM",
    redis.ReadOnlyError: "READONLY",
    redis.BusyLoadingError: "LOADING",
    redis.exceptions.MasterDownError: "MASTERDOWN",
}
# At the beginning; further on where redis-py says which command of a pipeline it was, and, behind a
# minus, in an error within a script before Redis 7.
_CODE = re.compile(rf"(?:^|-|: )({'|'.join(_STATES)}) ")
AGAIN_S = 2.0
_TIMEOUTS = {"socket_connect_timeout": 3, "socket_timeout": 30}
_HASTY: dict[str, Any] = {**_TIMEOUTS, "socket_timeout": 3, "retry": Retry(NoBackoff(), 1)}

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

    Raises Misconfigured, without the password, if it does not, or is a Redis Cluster.
    """
    url = settings.redis_url
    try:
        # Asked twice and no more: whoever waits for this is a person.
        with open_client(url, **_HASTY) as client:
            client.ping()
            in_cluster = is_cluster(cluster_info(client))
    except (redis.RedisError, ValueError) as error:
        raise Misconfigured("ALPHAMILL_REDIS_URL", *fault_of(error, url)) from error
    if in_cluster:
        raise Misconfigured("ALPHAMILL_REDIS_URL", *CLUSTER)
    return open_client(url, **_TIMEOUTS)


def patient_client(settings: Settings) -> redis.Redis:
    """A client of the settings' Redis for whoever can wait until it answers; it is not asked yet.

    Raises Misconfigured for what is no address.
    """
    try:
        return open_client(settings.redis_url, **_TIMEOUTS)
    except ValueError as error:
        raise Misconfigured("ALPHAMILL_REDIS_URL", *fault_of(error, settings.redis_url)) from error


def cluster_info(client: redis.Redis) -> Mapping[str, Any]:
    """What the server says of itself as a node of a cluster; nothing to a user who may not ask."""
    try:
        found: Mapping[str, Any] = client.info("cluster")
    except redis.exceptions.NoPermissionError:
        return {}
    return found


def fault_of(error: Exception, url: str) -> tuple[str, str]:
    """What is the matter with a Redis, without secrets, and the cure."""
    state = state_of(error) if isinstance(error, redis.RedisError) else ""
    problem, _, cure = state.partition(": ")
    return (problem, cure or "wait for it") if state else fault(error, url)


def state_of(error: redis.RedisError) -> str:
    """What keeps a server that answers from serving, in a sentence; "" for any other error."""
    code = _CODES.get(type(error))
    if code is None and isinstance(error, redis.ResponseError):
        found = _CODE.search(str(error))
        code = found[1] if found else None
    return "" if code is None else _STATES[code]


@contextmanager
def reached(otherwise: str) -> Iterator[None]:
    """Turn a Redis that is not there or cannot serve now into RetryLater, which costs no attempt.

    otherwise: begins its reason, such as "ledger unreachable"; what is the matter follows.
    """
    try:
        yield
    except redis.RedisError as error:
        gone = isinstance(error, redis.ConnectionError | redis.TimeoutError)
        why = state_of(error) or (str(error) if gone else "")
        if not why:
            raise
        raise RetryLater(f"{otherwise} ({why})", AGAIN_S, counts=False) from error


def as_text(value: bytes | str) -> str:
    """What Redis answered, from a client with or without decode_responses."""
    return value.decode() if isinstance(value, bytes) else value


@cache
def script(package: str, name: str) -> str:
    """The source of `name`.lua, which lies in a package of ours."""
    return files(package).joinpath(f"{name}.lua").read_text(encoding="utf-8")
