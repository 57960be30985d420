"""A session whose requests are answered within a time, or not at all."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool

from alphamill.market.http import open_session


def bounded_session(whole_s: float) -> requests.Session:
    """As the market's, for one thread: no request takes longer than `whole_s` seconds to its
    answer's head.

    requests' own time-out is of each packet alone: a server that sends a byte now and then would
    hold its caller for ever. What is ended so raises requests.RequestException.
    """
    session = open_session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Bounded(whole_s))
    return session


class _Bounded(HTTPAdapter):
    """For one request at a time; each has a connection of its own."""

    def __init__(self, whole_s: float) -> None:
        self._whole_s = whole_s
        self._sockets: list[socket.socket] = []  # a second handle of each: TLS takes the first
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> ConnectionPool:
        """The pool, whose sockets are remembered as they are made."""
        pool: Any = super().get_connection_with_tls_context(*args, **named)
        made, sockets = pool.ConnectionCls, self._sockets
        if not hasattr(made, "remembered"):

            class Remembered(made):  # type: ignore[valid-type, misc]  # one class a scheme
                remembered = True

                def _new_conn(self) -> socket.socket:
                    opened: socket.socket = super()._new_conn()
                    sockets.append(opened.dup())
                    return opened

            pool.ConnectionCls = Remembered
        return pool  # type: ignore[no-any-return]  # its class has no such attribute for mypy

    def send(self, request: requests.PreparedRequest, **named: Any) -> requests.Response:  # type: ignore[override]  # requests gives the rest by name
        """As any, but not for longer than there is time."""
        request.headers["Connection"] = "close"  # so that each has its socket
        timer = threading.Timer(self._whole_s, self._end)
        timer.daemon = True
        timer.start()
        try:
            return super().send(request, **named)
        finally:
            timer.cancel()
            while self._sockets:
                self._sockets.pop().close()

    def _end(self) -> None:
        for one in list(self._sockets):
            with suppress(OSError):  # closed meanwhile
                one.shutdown(socket.SHUT_RDWR)
