"""What `doctor` asks of the broker, where that is not the ledger's Redis."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import redis

from alphamill.redis_address import CLUSTER, is_cluster, shown
from alphamill.redis_store import cluster_info, fault_of
from alphamill.report.values import plain
from alphamill.settings import Settings
from producers.check.local import Check, fail, ok, quick_client, warn

_TIMEOUT_S = 5.0
_START = "start it, or correct ALPHAMILL_BROKER_URL"
_WRITE = "write ALPHAMILL_BROKER_URL as amqp://USER:PASSWORD@HOST:5672/VHOST"


def broker_checks(settings: Settings) -> Iterator[Check]:
    """Redis and AMQP are asked as workers ask them."""
    url = settings.broker_url
    if not url or url == settings.redis_url:
        yield ok("broker", "the same Redis")
        return
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "unix", "redis+sentinel"):
        yield _redis_check(url)
    elif scheme in ("amqp", "amqps", "pyamqp"):
        yield _amqp_check(url)
    else:
        yield warn("broker", f"{scheme or 'no'} scheme: not checked", "look at the workers' logs")


def _redis_check(url: str) -> Check:
    try:
        client = quick_client(url)
        client.ping()
        in_cluster = is_cluster(cluster_info(client))
    except (redis.RedisError, ValueError) as error:
        problem, cure = fault_of(error, url)
        return fail("broker", plain(problem, 160), f"ALPHAMILL_BROKER_URL: {cure}")
    return fail("broker", *CLUSTER) if in_cluster else ok("broker", f"redis at {shown(url)}")


def _amqp_check(url: str) -> Check:
    import amqp  # the few whose broker is no Redis

    parts = urlsplit(url)
    tls = parts.scheme == "amqps"
    try:
        where = f"{parts.hostname or '127.0.0.1'}:{parts.port or (5671 if tls else 5672)}"
    except ValueError:
        return fail("broker", "the port of ALPHAMILL_BROKER_URL is no number", _WRITE)
    user, vhost = unquote(parts.username or "guest"), unquote(parts.path[1:]) or "/"
    connection = amqp.Connection(
        where,
        userid=user,
        password=unquote(parts.password or "guest"),
        virtual_host=vhost,
        ssl=tls,
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
    )
    try:
        connection.connect()
    except amqp.exceptions.AccessRefused:
        return fail("broker", f"amqp at {where} refuses the password of {user}", _WRITE)
    except amqp.exceptions.NotAllowed:
        return fail("broker", f"amqp at {where} has no virtual host {vhost} for {user}", _WRITE)
    except ssl.SSLError as error:
        return fail("broker", f"TLS: no handshake with {where} ({error.reason})", _WRITE)
    except (OSError, amqp.exceptions.AMQPError) as error:
        return fail("broker", f"no AMQP answers at {where} ({plain(error, 80)})", _START)
    connection.collect()
    return ok("broker", f"amqp at {where} takes {user} at virtual host {vhost}")
