"""Pooled HTTP exchanges with one host, each bounded as a whole, and how they break.

urllib3 as it is: a session of `requests` on top costs more processor time than the exchange.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3 import exceptions as broken

from alphamill.clock import Clock
from alphamill.llm.endpoint.failures import (
    CallFailure,
    ConnectionLost,
    InvalidReply,
    NotConnected,
    TimedOut,
)
from alphamill.proxies import proxy_for

CONNECT_S = 10.0
MAX_BODY_BYTES = 8_000_000
CONNECTIONS = 64  # kept open; more are opened when more threads call
_HEADERS = {
    "User-Agent": "alphamill",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
}
_LAST_READ_S = 0.2
_AS_IT_COMES: dict[str, Any] = {
    "retries": urllib3.Retry.from_int(False),
    "redirect": False,
    "preload_content": False,
    "decode_content": True,
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, from there to the first byte, and from the start to the last."""

    connect_s: float
    first_byte_s: float
    whole_s: float

    @classmethod
    def of(cls, whole_s: float) -> Self:
        """The same for all, but no more than usual to connect."""
        return cls(min(CONNECT_S, whole_s), whole_s, whole_s)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _OneSend(urllib3.connection.HTTPConnection):
    """Sends head and body in one go: the second one costs the processor as much as the first."""

    _parts: list[Any] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        self._parts = []
        try:
            super().request(*args, **options)
            parts = self._parts
        finally:
            self._parts = None
        super().send(b"".join(parts))

    def send(self, data: Any) -> None:
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class _OneSendTLS(_OneSend, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _OneSend


class _PoolTLS(urllib3.HTTPSConnectionPool):
    ConnectionCls = _OneSendTLS


class Connections:
    """Keep-alive connections to the host of `base_url`, shared by all threads.

    What the environment says about proxies and certificates is read once, not at every call.
    """

    def __init__(self, base_url: str, timeouts: Timeouts, clock: Clock) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._timeout = urllib3.Timeout(
            connect=timeouts.connect_s, read=min(timeouts.first_byte_s, timeouts.whole_s)
        )
        proxy = proxy_for(base_url)
        self._manager = _manager(proxy)
        self._base_url = base_url
        # Straight to the pool where the URL need not be looked at again.
        self._pool = None if proxy else self._manager.connection_from_url(base_url)
        self._path = urlsplit(base_url).path

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> HttpReply:
        """Send and read the whole answer; redirects are not followed. Raises a `CallFailure`."""
        deadline_s = self._clock.monotonic_s() + self._timeouts.whole_s
        response = None
        try:
            response = self._open(method, path, body, {**_HEADERS, **headers})
            answer = HttpReply(response.status, response.headers, self._body(response, deadline_s))
        except broken.HTTPError as error:
            raise self._failure(error) from None  # its message may quote what was sent
        finally:
            if response is not None and response.connection is not None:
                response.close()  # not read to its end, so of no further use
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        if self._pool is not None:
            self._pool.close()
        self._manager.clear()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        more = {"body": body, "headers": headers, "timeout": self._timeout, **_AS_IT_COMES}
        if self._pool is None:
            return self._manager.urlopen(method, self._base_url + path, **more)
        return self._pool.urlopen(method, self._path + path, **more)

    def _body(self, response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
        # Some servers send blank lines while a request is queued: each would re-arm the socket's
        # timeout, so the whole body has a deadline of its own.
        body = bytearray()
        while chunk := response.read1(65_536, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise InvalidReply(f"a reply of more than {MAX_BODY_BYTES} bytes", 2.0)
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                raise self._timed_out()
            sock = getattr(response.connection, "sock", None)
            if sock is not None:
                sock.settimeout(max(left_s, _LAST_READ_S))
        return bytes(body)

    def _failure(self, error: broken.HTTPError) -> CallFailure:
        if isinstance(error, broken.ConnectTimeoutError | broken.NewConnectionError):
            return _not_connected(error)
        if isinstance(error, broken.ProxyError):  # raised before anything reached the host
            return _not_connected(error.original_error)
        if isinstance(error, broken.TimeoutError):
            return self._timed_out()
        cause = error.args[0] if isinstance(error, broken.SSLError) and error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _not_connected(cause)
        return ConnectionLost(f"the connection broke ({type(error).__name__})", 2.0)

    def _timed_out(self) -> TimedOut:
        waits = self._timeouts
        return TimedOut(
            f"no first byte within {waits.first_byte_s:g} s, or no whole reply within "
            f"{waits.whole_s:g} s",
            2.0,
        )


def _not_connected(error: Exception) -> NotConnected:
    return NotConnected(f"cannot connect to the model endpoint ({_in_words(error)})", 2.0)


def _in_words(error: Exception) -> str:
    if isinstance(error, broken.NameResolutionError):
        return "the host's name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    if isinstance(error, broken.ConnectTimeoutError):  # the others are kinds of it
        return "no connection within its time"
    return type(error).__name__


def _manager(proxy: str | None) -> urllib3.PoolManager:
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    trusted = Path(bundle or certifi.where())
    options: dict[str, Any] = {
        "maxsize": CONNECTIONS,
        "ca_cert_dir" if trusted.is_dir() else "ca_certs": str(trusted),
    }
    if proxy is None:
        manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}
        return manager
    auth = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
