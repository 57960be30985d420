"""The client over TLS: a certificate that is not trusted is refused before anything is sent."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.llm.endpoint.failures import NotConnected
from alphamill.llm.messages import ChatRequest, Message
from tests.deadlines import ANSWER_S

REQUEST = ChatRequest("m", (Message("user", "data " * 50_000),), max_tokens=5)
NEW_KEY = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
BODY = {
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    got: list[bytes]

    def handle_error(self, *_: object) -> None:
        """A client that refuses the certificate hangs up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        said = json.dumps(BODY).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    named = ("-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    subprocess.run([openssl, *NEW_KEY, *named, *files], check=True, capture_output=True)
    return tmp_path / "cert.pem"


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.got = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_trusted_host_gets_the_whole_request_and_another_gets_nothing(
    server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://localhost:{server.server_port}/v1"
    stranger = OpenAIChat(url, None, ANSWER_S)
    with pytest.raises(NotConnected, match="not trusted"):
        stranger.complete(REQUEST)
    assert server.got == []
    stranger.close()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    chat = OpenAIChat(url, None, ANSWER_S)
    assert [chat.complete(REQUEST).text for _ in range(3)] == ["hi"] * 3
    chat.close()
    assert [json.loads(body)["messages"][0]["content"] for body in server.got] == [
        REQUEST.messages[0].content
    ] * 3
