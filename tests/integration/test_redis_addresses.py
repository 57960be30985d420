"""Addresses of Redis as people write them: sockets, TLS, clusters, odd passwords, Sentinels."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis
from kombu import Connection

from alphamill.errors import Misconfigured, RetryLater
from alphamill.redis_address import for_celery
from alphamill.redis_store import connect
from alphamill.settings import Settings, load_settings
from alphamill.stack.embedded_redis import find_redis_binary, free_port
from producers.check.brokers import broker_checks
from producers.check.local import redis_checks
from tests.conftest import server_of_my_own
from tests.deadlines import start_s, wait_for
from tests.integration.conftest import REPOSITORY

NEW_KEY = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
FETCH = (
    "fetch",
    "BTCUSDT",
    "--unlisted",
    "--interval",
    "1h",
    "--start",
    "2024-01-01",
    "--end",
    "2024-02-01",
)
PASSWORD = "se/cr?et#w@rd%"


def refused(url: str) -> str:
    """What a person is told of the address, when it does not work."""
    with pytest.raises(Misconfigured) as raised:
        connect(load_settings({"ALPHAMILL_REDIS_URL": url}))
    return str(raised.value)


def call(home: Path, url: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`alphamill ...` in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ALPHAMILL")}
    return subprocess.run(
        [sys.executable, "-m", "producers.cli", *arguments],
        check=False,
        cwd=REPOSITORY,
        env={**clean, "ALPHAMILL_HOME": str(home), "ALPHAMILL_REDIS_URL": url, **more},
        capture_output=True,
        text=True,
        timeout=start_s(),
    )


@pytest.mark.parametrize("command", [("status",), FETCH, ("worker", "fetch")], ids=lambda c: c[0])
def test_a_cluster_is_refused_by_name_and_nothing_is_written(tmp_path, command):
    with server_of_my_own(tmp_path, "--cluster-enabled", "yes") as url:
        with redis.Redis.from_url(url) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        result = call(tmp_path, url, *command)
        assert result.returncode == 3
        assert "this is a Redis Cluster" in result.stderr
        assert "Traceback" not in result.stderr
        with redis.Redis.from_url(url) as client:
            assert client.dbsize() == 0


def test_doctor_refuses_a_cluster_as_ledger_and_as_broker(tmp_path, redis_url):
    with server_of_my_own(tmp_path, "--cluster-enabled", "yes") as url:
        [ledger] = redis_checks(Settings(redis_url=url))
        [broker] = broker_checks(Settings(redis_url=redis_url, broker_url=url))
    for check in (ledger, broker):
        assert check.state == "fail"
        assert "Redis Cluster" in check.detail


def test_doctor_refuses_a_replica(tmp_path, redis_url):
    with server_of_my_own(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.replicaof("127.0.0.1", urlsplit(redis_url).port)
        [check] = redis_checks(Settings(redis_url=url))
        assert check.state == "fail"
        assert "is a replica" in check.detail
        told = call(tmp_path, url, *FETCH)
        assert told.returncode == 1
        assert "the address must be its master's" in told.stderr


def test_a_server_without_a_disk_is_said(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with server_of_my_own(folder) as url, redis.Redis.from_url(url) as client:
        client.config_set("save", "3600 1")
        shutil.rmtree(folder)
        client.bgsave()
        wait_for(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            "a snapshot that fails",
            lambda: client.info("persistence"),
            within_s=start_s(),
        )
        [check] = redis_checks(Settings(redis_url=url))
        told = refused(url)
        client.config_set("save", "")  # else it does not end either
        assert (check.state, check.detail) == ("fail", "Redis cannot write to its disk")
        assert "Redis cannot write to its disk; free space there" in told


@pytest.fixture
def guarded(tmp_path: Path) -> str:
    """host:port of a server that wants PASSWORD."""
    with server_of_my_own(tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            client.config_set("requirepass", PASSWORD)
        yield url.removeprefix("redis://")


def test_a_password_that_is_quoted_is_taken_whole(guarded):
    url = f"redis://:{quote(PASSWORD, safe='')}@{guarded}"
    assert connect(load_settings({"ALPHAMILL_REDIS_URL": url})).ping()


@pytest.mark.parametrize("variable", ["ALPHAMILL_REDIS_URL", "ALPHAMILL_BROKER_URL"])
@pytest.mark.parametrize(
    "login", [f":{PASSWORD}", ":12/34", ":pa?ss", ":pa#ss", "user:12/a", "user:1?a=b"]
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "redis+sentinel"])
def test_a_password_that_ends_its_url_too_early_is_said_and_never_shown(variable, login, scheme):
    with pytest.raises(Misconfigured) as raised:
        load_settings({variable: f"{scheme}://{login}@127.0.0.1:6379/0"})
    told = str(raised.value)
    assert told == (
        f"{variable}: a character of the password ends it too early; "
        "write / ? # @ % in the password as %2F %3F %23 %40 %25"
    )


@pytest.mark.parametrize(
    ("address", "database"),
    [
        ("redis://{where}?db=3&password={password}", 3),
        ("redis://{where}/2?username=default&password={password}", 2),
        ("redis://:{password}@{where}/2?db=4&socket_timeout=9&health_check_interval=5", 4),
        ("redis://:{password}@{where}", 0),
        ("unix://{path}?db=5&password={password}", 5),
        ("unix://{path}?username=default&password={password}", 0),
    ],
)
def test_what_stands_after_the_question_mark_is_of_ledger_and_broker(tmp_path, address, database):
    """kombu knows none of it: a publication ended in a traceback, or without the password."""
    path = tmp_path / "r.sock"
    with server_of_my_own(tmp_path, "--unixsocket", str(path)) as plain:
        with redis.Redis.from_url(plain) as client:
            client.config_set("requirepass", PASSWORD)
        where, password = plain.removeprefix("redis://").rstrip("/"), quote(PASSWORD, safe="")
        url = address.format(where=where.partition("/")[0], password=password, path=path)
        connect(load_settings({"ALPHAMILL_REDIS_URL": url})).set("of", "the ledger")
        broker, options = for_celery(url)
        with Connection(broker, transport_options=options) as connection:
            assert connection.default_channel.client.get("of") == b"the ledger"
            assert connection.default_channel.client.info("keyspace").keys() == {f"db{database}"}


@pytest.mark.parametrize("url", ["redis://h/0?foo=hunter2", "unix:///a.sock?dbase=hunter2"])
def test_an_option_that_redis_does_not_have_is_said(url):
    told = refused(url)
    assert "no such option as its address has after the ?; leave it out" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("login", ["", ":wrong", ":pa@ss", ":se%2Fcr"])
def test_a_wrong_password_is_said_and_never_shown(guarded, login):
    told = refused(f"redis://{login}@{guarded}")
    assert "Redis refuses the password; " in told
    assert "%2F" in told
    assert not login or login[1:] not in told.replace("%2F %3F", "")


def test_other_addresses_are_refused_in_one_sentence():
    for url in (
        "localhost:6379",
        "valkey://localhost",
        "unix://run/redis.sock",
        "redis://:s3@h:x/0",
    ):
        told = refused(url)
        assert "not a Redis URL; write redis://" in told
        assert "s3" not in told


@pytest.mark.parametrize("variable", ["ALPHAMILL_REDIS_URL", "ALPHAMILL_BROKER_URL"])
def test_sentinels_over_tls_are_refused_by_name(variable):
    with pytest.raises(Misconfigured) as raised:
        load_settings({variable: "rediss+sentinel://:hunter2@host:26379/mill/0"})
    assert raised.value.setting == variable
    assert raised.value.problem == "Sentinels are not asked over TLS"
    assert "rediss:// to a proxy" in raised.value.cure
    assert "hunter2" not in str(raised.value)


def test_a_broker_that_is_none_is_refused_before_anything_is_written(tmp_path, redis_url):
    told = call(tmp_path, redis_url, *FETCH, ALPHAMILL_BROKER_URL="nats://:secret@host")
    assert told.returncode == 3, told.stderr
    assert told.stderr == (
        "ALPHAMILL_BROKER_URL: no such kind of broker; write redis:// or amqp://\n"
    )
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


# ----------------------------------------------------------------------------------------------
# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    named = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    subprocess.run([openssl, *NEW_KEY, *named, *files], check=True, capture_output=True)
    return tmp_path / "cert.pem"


class Relay(socketserver.BaseRequestHandler):
    """Bytes between a TLS client and the server behind."""

    def handle(self) -> None:
        try:
            client = self.server.context.wrap_socket(self.request, server_side=True)
        except OSError:  # no TLS, or a certificate that is not wanted
            return
        with client, socket.create_connection(self.server.behind) as there:
            while command := client.recv(65536):
                there.sendall(command)
                client.sendall(there.recv(65536))


@pytest.fixture
def tls_port(redis_url: str, certificate: Path) -> int:
    """The port where the server is reached over TLS alone."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        where = urlsplit(redis_url)
        server.behind = (where.hostname, where.port)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_tls_with_its_authority_named_works(tls_port, certificate):
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate}"
    assert connect(Settings(redis_url=url)).ping()


def test_a_certificate_that_is_not_trusted_is_said(tls_port):
    told = refused(f"rediss://:secret@127.0.0.1:{tls_port}/0")
    assert f"TLS: the certificate of 127.0.0.1:{tls_port}/0 is not trusted" in told
    assert "ssl_ca_certs=" in told
    assert "secret" not in told


def test_a_server_without_tls_is_said(redis_url):
    told = refused(redis_url.replace("redis://", "rediss://:secret@"))
    assert "TLS" in told
    assert "write redis:// if it is one without" in told
    assert "secret" not in told


def test_a_server_that_wants_tls_is_said(tls_port):
    told = refused(f"redis://:secret@127.0.0.1:{tls_port}/0")
    assert "write rediss:// if it is one with it" in told
    assert "secret" not in told


# ----------------------------------------------------------------------------------------------
# Sockets and Sentinels: a whole run, ledger and broker


@pytest.fixture
def socket_url(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("s")
    path = folder / "redis.sock"
    with server_of_my_own(folder, "--unixsocket", str(path)) as url:
        with redis.Redis.from_url(url) as client:
            client.config_set("requirepass", PASSWORD)
        yield f"unix://:{quote(PASSWORD, safe='')}@{path}?db=3"


def does_a_run(mill) -> str:
    """A worker and a control worker do a run; what they have logged."""
    fetch, control = mill.worker("fetch", 2), mill.control()
    mill.wait_until_here(fetch, control)
    run = mill.submit(mill.spec())
    assert mill.wait_for_end(run.id).state == "done"
    return fetch.log.read_text() + control.log.read_text()


def test_a_socket_carries_ledger_and_broker(make_mill, market, socket_url):
    log = does_a_run(make_mill(market(symbols=2, months=2), url=socket_url))
    assert "redis+socket" in log
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in log
    told = call(Path("/nowhere"), socket_url, "status")
    assert told.returncode == 0, told.stderr


MASTER = """\
port {port}
bind 127.0.0.1
requirepass sentinel/secret
sentinel monitor mill 127.0.0.1 {master} 1
sentinel auth-pass mill redis-secret
sentinel down-after-milliseconds mill 1000
sentinel failover-timeout mill 5000
"""


@pytest.fixture
def sentinel(tmp_path_factory):
    """A master with a replica and a Sentinel; its URL, and the master's port."""
    folder, second = tmp_path_factory.mktemp("m"), tmp_path_factory.mktemp("r")
    with ExitStack() as stack:
        master = stack.enter_context(server_of_my_own(folder))
        replica = stack.enter_context(server_of_my_own(second))
        port = urlsplit(master).port
        for url, follows in ((master, ()), (replica, ("127.0.0.1", port))):
            with redis.Redis.from_url(url) as client:
                client.config_set("masterauth", "redis-secret")
                if follows:
                    client.replicaof(*follows)
                client.config_set("requirepass", "redis-secret")
        watch = free_port()
        config = folder / "sentinel.conf"
        config.write_text(MASTER.format(port=watch, master=port))
        log = (folder / "sentinel.log").open("wb")
        stack.callback(log.close)
        process = subprocess.Popen(
            [find_redis_binary(), config, "--sentinel"], stdout=log, stderr=log
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        with redis.Redis(port=watch, password="sentinel/secret") as client:
            wait_for(lambda: replicas(client) == 1, "the Sentinel", log.name, within_s=start_s())
        yield (
            f"redis+sentinel://:redis-secret@127.0.0.1:{watch}/mill/2"
            "?sentinel_password=sentinel%2Fsecret",
            port,
        )


def replicas(client) -> int:
    """How many good replicas the Sentinel knows."""
    try:
        known = client.sentinel_slaves("mill")
    except redis.RedisError:
        return 0
    return sum(not one["is_sdown"] and one["master-link-status"] == "ok" for one in known)


def test_sentinels_lead_ledger_and_broker_to_the_master_of_the_day(make_mill, market, sentinel):
    url, port = sentinel
    mill = make_mill(market(symbols=6, months=12), latency_ms=(100.0, 200.0), url=url)
    fetch, control = mill.worker("fetch", 4), mill.control()
    mill.wait_until_here(fetch, control)
    spec = mill.spec()
    run = mill.submit(spec)
    mill.wait_for_done(run.id, jobs=5)
    with redis.Redis(port=port, password="redis-secret") as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)

    def ended() -> bool:
        try:
            return mill.state(run.id) == "done"
        except RetryLater:  # nobody is the master yet
            return False

    wait_for(ended, "the run", lambda: fetch.last_words() + control.last_words())
    assert mill.check_lake(spec) == 72
    for worker in (fetch, control):
        assert worker.popen.poll() is None, worker.last_words()
        log = worker.log.read_text()
        assert "Unrecoverable" not in log
        assert "redis-secret" not in log
        assert "sentinel/secret" not in log
    told = call(mill.home, url, "status", run.id)
    assert told.returncode == 0, told.stderr
