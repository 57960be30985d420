"""Whether a process that was started on this machine is up: what containers ask every so often."""

from __future__ import annotations

import base64
import http.client
import socket

import redis

from alphamill.errors import GiveUp
from alphamill.ledger.presence import SILENCE_S, Presence

_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  asked, not bound


def check_worker(client: redis.Redis, pool: str) -> None:
    """Raise GiveUp unless a worker of the pool on this host was heard of lately."""
    host = socket.gethostname()
    if not any(one.pool == pool and one.host == host for one in Presence(client).here()):
        raise GiveUp(f"no {pool} worker of {host} was heard of in the last {SILENCE_S} s")


def check_beat(client: redis.Redis) -> None:
    """Raise GiveUp unless this host's beat has sent something lately."""
    host, found = socket.gethostname(), Presence(client).beat_host()
    if found != host:
        elsewhere = f"; it runs on {found}" if found else ""
        raise GiveUp(f"no beat of {host} was heard of in the last {SILENCE_S} s{elsewhere}")


def check_page(address: str, port: int, path: str, what: str, login: str = "") -> None:
    """Raise GiveUp unless `path` is served there. login: user:password, "" for none."""
    where = _EVERYWHERE.get(address, address)
    headers = {}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    connection = http.client.HTTPConnection(where, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise GiveUp(f"{what}: {where}:{port} does not answer ({error})") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise GiveUp(f"{what}: {where}:{port}{path} answers HTTP {status}")
