"""A Redis-compatible server behind a proxy that makes it refuse as Redis 7.0 does when it is full.

Redis 7.0.15 and before refuse every command inside MULTI then, reads and deletions included, and
with them the EXEC; Valkey 8.1 and Redis 8 serve them.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import hiredis
import redis

_CONTROL = {b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH"}
_OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
_ABORT = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


class _Client(socketserver.BaseRequestHandler):
    """One connection: a command to the server, its answer back, then the next."""

    server: _Proxy

    def handle(self) -> None:
        self.there = socket.create_connection(self.server.behind)
        self.replies = hiredis.Reader(notEnoughData=...)
        self.within = self.refused = False
        commands = hiredis.Reader(notEnoughData=...)
        with self.there:
            while data := self.request.recv(65536):
                commands.feed(data)
                while (command := commands.gets()) is not ...:
                    self.serve(command)
                    if command[0].upper() in {b"SUBSCRIBE", b"PSUBSCRIBE"}:
                        return self.relay()
        return None

    def serve(self, command: list[bytes]) -> None:
        name = command[0].upper()
        if name == b"MULTI":
            self.within, self.refused = True, False
        if self.within and name not in _CONTROL and self.server.full():
            self.refused = True
            self.request.sendall(_OOM)
            return
        if name in {b"EXEC", b"DISCARD"}:
            self.within = False
        if name == b"EXEC" and self.refused:
            self.ask([b"DISCARD"])
            self.request.sendall(_ABORT)
            return
        self.request.sendall(self.ask(command))

    def ask(self, command: list[bytes]) -> bytes:
        """The server's answer, as it came."""
        self.there.sendall(hiredis.pack_command(tuple(command)))
        answer = b""
        while True:
            data = self.there.recv(65536)
            if not data:
                raise ConnectionError("the server behind is gone")
            answer += data
            self.replies.feed(data)
            if self.replies.gets() is not ...:
                return answer

    def relay(self) -> None:
        """Bytes both ways: a subscriber is told things that it did not ask for."""

        def back() -> None:
            while data := self.there.recv(65536):
                self.request.sendall(data)

        threading.Thread(target=back, daemon=True).start()
        while data := self.request.recv(65536):
            self.there.sendall(data)


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.behind: Any = (where.hostname, where.port)
        self._info = redis.Redis.from_url(url)
        super().__init__(("127.0.0.1", 0), _Client)

    def full(self) -> bool:
        memory = self._info.info("memory")
        return 0 < memory["maxmemory"] <= memory["used_memory"]

    def handle_error(self, *_: object) -> None:
        """Whoever ends a connection in the middle, a killed worker too, is no error here."""


@contextmanager
def as_redis_seven(url: str) -> Iterator[str]:
    """URL of the proxy before the server at `url`."""
    with _Proxy(url) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{proxy.server_address[1]}/0"
        proxy.shutdown()
        thread.join()
