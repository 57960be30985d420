"""Addresses of Redis: how they are written and opened, shown without secrets, and what ails them.

redis://  rediss://  unix:///path/of.sock?db=0  redis+sentinel://HOST:26379,HOST:26379/MASTER/DB
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import redis
import redis.exceptions
from redis.sentinel import MasterNotFoundError, Sentinel

from alphamill.errors import Misconfigured
from alphamill.settings.load import QUOTED

_SENTINEL = "redis+sentinel://"
_SENTINEL_PORT = 26379
_TCP_ONLY = {"socket_connect_timeout", "socket_keepalive"}
_OF_REDIS = ("redis", "rediss", "unix")

Client = TypeVar("Client", bound=redis.Redis)


class UnknownOption(ValueError):
    """What stands after an address's ? is nothing that redis-py knows."""


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """A master by its name, and the Sentinels that know where it is."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    login: Mapping[str, str]  # username and password of the Redis servers, as far as given
    sentinel_login: Mapping[str, str]  # of the Sentinels themselves

    @classmethod
    def parse(cls, url: str) -> SentinelAddress:
        """Raises ValueError, without any secret, for what is not such an address."""
        parts = urlsplit(url)
        user, _, hosts = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        master, _, db = parts.path.strip("/").partition("/")
        asked = dict(parse_qsl(parts.query))
        unknown = set(asked) - {"sentinel_username", "sentinel_password"}
        if not hosts or not master or unknown or not (db or "0").isdigit():
            raise ValueError("not a Sentinel address")
        return cls(
            hosts=tuple(_host_and_port(host) for host in hosts.split(",")),
            master=unquote(master),
            db=int(db or 0),
            login=_given(username=unquote(name), password=unquote(password)),
            sentinel_login=_given(
                username=asked.get("sentinel_username", ""),
                password=asked.get("sentinel_password", ""),
            ),
        )


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or _SENTINEL_PORT


def open_client(url: str, **options: Any) -> redis.Redis:
    """A client that is not connected yet; `options` are its timeouts and the like.

    Raises ValueError, without any secret, for what is no address of Redis.
    """
    return open_as(redis.Redis, url, **options)


def open_as(kind: type[Client], url: str, **options: Any) -> Client:
    """As `open_client`, a client of that class."""
    if url.startswith(_SENTINEL):
        return _behind_sentinels(kind, SentinelAddress.parse(url), options)
    if url.startswith("unix://"):
        if urlsplit(url).netloc.rpartition("@")[2]:
            raise ValueError("a socket's path begins with a slash: unix:///path/of.sock")
        options = {name: value for name, value in options.items() if name not in _TCP_ONLY}
    client: Any = kind.from_url(url, **options)
    _check_options(client.connection_pool)
    return cast("Client", client)


def _check_options(pool: Any) -> None:
    """Raise UnknownOption now, and not as a TypeError where a connection is first made."""
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError:
        raise UnknownOption("an option that a Redis address does not have") from None


def _behind_sentinels(
    kind: type[Client], found: SentinelAddress, options: Mapping[str, Any]
) -> Client:
    timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
    sentinel: Any = Sentinel
    sentinels = sentinel(
        found.hosts,
        sentinel_kwargs={**timeouts, **found.sentinel_login},
        db=found.db,
        **found.login,
        **options,
    )
    return cast("Client", sentinels.master_for(found.master, redis_class=kind))


def for_celery(url: str) -> tuple[str, dict[str, Any]]:
    """The same address as kombu writes it, and the transport options that go with it.

    Raises Misconfigured for a Sentinel address that is none.
    """
    parts = urlsplit(url)
    if parts.scheme in _OF_REDIS:
        return _for_kombu(parts), {}
    if not url.startswith(_SENTINEL):
        return url, {}
    try:
        found = SentinelAddress.parse(url)
    except ValueError as error:
        raise Misconfigured(
            "ALPHAMILL_BROKER_URL",
            "not a Sentinel address",
            f"write {_SENTINEL}HOST:26379/MASTER/0",
        ) from error
    login = ":".join(quote(found.login.get(key, ""), safe="") for key in ("username", "password"))
    before = f"sentinel://{login}@" if found.login else "sentinel://"
    hosts = ";".join(f"{before}{host}:{port}" for host, port in found.hosts)
    options = {"master_name": found.master, "sentinel_kwargs": dict(found.sentinel_login)}
    return f"{hosts}/{found.db}", options


def _for_kombu(parts: SplitResult) -> str:
    """With database, user and password where kombu reads them, and no option that it has not.

    redis-py also takes them from what stands after the ?, where kombu fails over them.
    """
    asked = dict(parse_qsl(parts.query))
    netloc = parts.netloc
    if asked.keys() & {"username", "password"}:
        login, _, host = netloc.rpartition("@")
        name, _, password = login.partition(":")
        name = name or quote(asked.get("username", ""), safe="")
        password = password or quote(asked.get("password", ""), safe="")
        netloc = f"{name}:{password}@{host}"
    if parts.scheme == "unix":
        return f"redis+socket://{netloc}{parts.path}?virtual_host={asked.get('db', '0')}"
    path = f"/{asked['db']}" if "db" in asked else parts.path
    kept = [(option, value) for option, value in asked.items() if option.startswith("ssl_")]
    return urlunsplit((parts.scheme, netloc, path, urlencode(kept, safe="/"), ""))


def shown(url: str) -> str:
    """Where it leads, without user, password and options."""
    try:
        if url.startswith(_SENTINEL):
            found = SentinelAddress.parse(url)
            hosts = ", ".join(f"{host}:{port}" for host, port in found.hosts)
            return f"{found.master} of the Sentinels at {hosts}"
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.path
        db = parts.path if parts.netloc and parts.path[1:].isdigit() else ""
        return f"{parts.hostname or '?'}:{parts.port or 6379}{db}"
    except ValueError:  # a port that is no number
        return urlsplit(url).hostname or "?"


def is_cluster(info: Mapping[str, Any]) -> bool:
    """Whether the server of that INFO is a node of a Redis Cluster (Valkey hides its mode)."""
    return bool(info.get("cluster_enabled"))


CLUSTER = (
    "this is a Redis Cluster, where the keys of one run lie on several servers",
    "use one Redis server, or Sentinels: redis+sentinel://HOST:26379,HOST:26379/MASTER/0",
)


def fault(error: Exception, url: str) -> tuple[str, str]:
    """What is the matter with the address or its server, without secrets, and the cure."""
    where = shown(url)
    if isinstance(error, UnknownOption):
        return "Redis knows no such option as its address has after the ?", "leave it out"
    if isinstance(error, ValueError):
        return "not a Redis URL", f"write redis://[:password@]host:6379/0; {QUOTED}"
    if isinstance(error, redis.AuthenticationError):
        return "Redis refuses the password", f"write redis://:PASSWORD@host:6379/0; {QUOTED}"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return _tls_fault(error, where) or _not_there(error, url, where)
    return f"{where}: {error}", "see the server's log"


def _not_there(error: redis.RedisError, url: str, where: str) -> tuple[str, str]:
    if isinstance(error, MasterNotFoundError):
        return (
            f"no Sentinel tells where {where} is",
            "check their addresses, the master's name and ?sentinel_password=",
        )
    if _listens(url):
        tls = url.startswith("rediss:")
        return (
            f"what listens at {where} does not answer as Redis {'with' if tls else 'without'} TLS",
            "write redis:// if it is one without"
            if tls
            else "write rediss:// if it is one with it",
        )
    return (
        f"no Redis answers at {where}",
        "start the stack with `alphamill up`, or set it to a running server",
    )


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        return False
    try:
        socket.create_connection((parts.hostname or "", parts.port or 6379), 1.0).close()
    except OSError:
        return False
    return True


def _tls_fault(error: BaseException, where: str) -> tuple[str, str] | None:
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        found = found.__cause__ or found.__context__
    if isinstance(found, ssl.SSLCertVerificationError):
        return (
            f"TLS: the certificate of {where} is not trusted ({found.verify_message})",
            "name its authority: rediss://...?ssl_ca_certs=/path/ca.pem, or SSL_CERT_FILE",
        )
    if isinstance(found, ssl.SSLError):
        return (
            f"TLS: no handshake with {where} ({found.reason or 'refused'})",
            "write redis:// if it is one without; one that asks for a client's certificate needs"
            " ?ssl_certfile= and ?ssl_keyfile=",
        )
    return None
