"""`alphamill metrics`: the fleet's figures for Prometheus and for autoscalers."""

from __future__ import annotations

import base64
import hmac
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6

import click

from alphamill.errors import Misconfigured, RetryLater
from alphamill.fleet.snapshot import FleetReader
from alphamill.redis_store import connect
from alphamill.report.prometheus import CONTENT_TYPE, exposition
from alphamill.usage import RedisUsage
from producers import options
from producers.run.alive import check_page

AUTH_VARIABLE = "METRICS_BASIC_AUTH"
_CLIENT_S = 30.0  # a scraper that says nothing for so long is let go


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9109, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--once", is_flag=True, help="Print the figures and end.")
@click.option("--check", is_flag=True, help="End with 0 if they are served there, else 1.")
@options.exits
def metrics(port: int, address: str, once: bool, check: bool) -> None:
    """Serve the fleet's figures at /metrics, as Prometheus reads them.

    They are read from the ledger when they are asked for; nothing is counted twice, however many
    of these run. alphamill_backlog{queue} is for autoscalers. Beyond loopback it wants a password:
    METRICS_BASIC_AUTH=user:password.

    \b
    Example:
      alphamill metrics --port 9109
    """
    if check:
        check_page(address, port, "/metrics", "metrics", os.environ.get(AUTH_VARIABLE, ""))
        return
    settings = options.settings()
    client = connect(settings)
    reader, usage = FleetReader(client, settings), RedisUsage(client)

    def scrape() -> str:
        return exposition(reader.read(most_ended=None), usage.report())

    if once:
        click.echo(scrape(), nl=False)
        return
    password = os.environ.get(AUTH_VARIABLE, "")
    loopback = address in ("127.0.0.1", "localhost", "::1")
    if (password or not loopback) and not password.partition(":")[2]:
        raise Misconfigured(
            AUTH_VARIABLE, f"metrics on {address} need a password", "set it to user:password"
        )
    try:
        server = serve(scrape, address, port, password)
    except OSError as error:
        raise Misconfigured(
            "--port", f"cannot listen at {address}:{port} ({error.strerror})", "name another"
        ) from error
    click.echo(f"http://{address}:{port}/metrics", err=True)
    with server:
        server.serve_forever()


def serve(scrape: Callable[[], str], address: str, port: int, password: str) -> ThreadingHTTPServer:
    """A server that is bound and not yet running. password: user:password, "" for none."""
    one_at_a_time = threading.Lock()  # the reader remembers what it saw

    def text() -> str:
        with one_at_a_time:
            return scrape()

    class Handler(_Handler):
        figures = staticmethod(text)
        credentials = password

    kind = _SixServer if ":" in address else ThreadingHTTPServer
    server = kind((address, port), Handler)
    server.daemon_threads = True
    return server


class _SixServer(ThreadingHTTPServer):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    figures: Callable[[], str]
    credentials: str
    timeout = _CLIENT_S
    server_version, sys_version = "alphamill", ""

    def do_GET(self) -> None:
        """Answer a scrape."""
        if not self._admitted():
            self._answer(401, "a password is wanted\n", **{"WWW-Authenticate": 'Basic realm="m"'})
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(404, "see /metrics\n")
        else:
            try:
                self._answer(200, self.figures())
            except RetryLater as error:
                self._answer(503, f"{error}\n")

    def _admitted(self) -> bool:
        if not self.credentials:
            return True
        wanted = b"Basic " + base64.b64encode(self.credentials.encode())
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), wanted)

    def _answer(self, status: int, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """A scrape every few seconds is no news."""
