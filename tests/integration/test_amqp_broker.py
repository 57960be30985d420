"""`doctor` asks an AMQP broker with its user, password and virtual host."""

from __future__ import annotations

import os
import socketserver
import struct
import threading
from collections.abc import Iterator

import pytest
from amqp.serialization import dumps, loads

from alphamill.settings import Settings
from alphamill.stack.embedded_redis import free_port
from producers.check.brokers import broker_checks
from producers.check.local import Check

START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK, CLOSE, CLOSE_OK = 10, 11, 30, 31, 40, 41, 50, 51
REDIS = "redis://127.0.0.1:1/0"


class Broker(socketserver.StreamRequestHandler):
    """The opening of AMQP 0-9-1 as RabbitMQ 3.10 does it: user mill, se/cret, virtual host farm."""

    def handle(self) -> None:
        self.rfile.read(8)
        mechanisms = {"capabilities": {"authentication_failure_close": True}}
        self.tell(START, dumps("ooFSS", (0, 9, mechanisms, "PLAIN", "en_US")))
        (_, mechanism, response, _), _ = loads("FsSs", self.hear(START_OK), 4)
        if (mechanism, response) != ("PLAIN", "\0mill\0se/cret"):
            return self.close(403, "ACCESS_REFUSED - Login was refused")
        self.tell(TUNE, dumps("BlB", (2047, 131072, 60)))
        self.hear(TUNE_OK)
        (vhost, *_), _ = loads("ssb", self.hear(OPEN), 4)
        if vhost != "farm":
            return self.close(530, f"NOT_ALLOWED - vhost {vhost} not found")
        self.tell(OPEN_OK, dumps("s", ("",)))
        return None

    def close(self, code: int, text: str) -> None:
        self.tell(CLOSE, dumps("BsBB", (code, text, 0, 0)))
        self.hear(CLOSE_OK)

    def tell(self, method: int, arguments: bytes) -> None:
        payload = struct.pack(">HH", 10, method) + arguments
        self.wfile.write(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce")

    def hear(self, method: int) -> bytes:
        """The payload of the client's next frame, which must be this method."""
        _, _, length = struct.unpack(">BHI", self.rfile.read(7))
        payload = self.rfile.read(length + 1)[:-1]
        assert struct.unpack(">HH", payload[:4]) == (10, method)
        return payload


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    """host:port of a broker; ALPHAMILL_TEST_AMQP names a real one with the same user."""
    if real := os.environ.get("ALPHAMILL_TEST_AMQP"):
        yield real
        return
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broker) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def asked(url: str) -> Check:
    [check] = broker_checks(Settings(redis_url=REDIS, broker_url=url))
    assert "cret" not in check.detail + check.cure
    return check


def test_user_password_and_virtual_host_are_tried(where):
    check = asked(f"amqp://mill:se%2Fcret@{where}/farm")
    assert check == Check("ok", "broker", f"amqp at {where} takes mill at virtual host farm")


@pytest.mark.parametrize("login", ["mill:wrong", "else:se%2Fcret", "mill"])
def test_a_wrong_password_is_said(where, login):
    check = asked(f"amqp://{login}@{where}/farm")
    user = login.partition(":")[0]
    assert (check.state, check.detail) == (
        "fail",
        f"amqp at {where} refuses the password of {user}",
    )


def test_a_wrong_virtual_host_is_said(where):
    check = asked(f"amqp://mill:se%2Fcret@{where}/field")
    assert (check.state, check.detail) == (
        "fail",
        f"amqp at {where} has no virtual host field for mill",
    )


def test_nobody_there_is_said():
    check = asked(f"amqp://mill:se%2Fcret@127.0.0.1:{free_port()}/farm")
    assert check.state == "fail"
    assert check.detail.startswith("no AMQP answers at 127.0.0.1:")
