"""docker-compose.yml by the rules that can be checked without Docker."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from alphamill.settings import ENVIRONMENT
from alphamill.stack.pools import POOLS
from producers.cli import COMMANDS
from producers.run.metrics import AUTH_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")

WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
# A variable without a value is the host's, and absent where the host has none.
VARIABLES = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
SERVICE = {
    "type": "object",
    "required": ["image", "restart"],
    "additionalProperties": False,
    "if": {"properties": {"image": {"const": "alphamill"}}},
    "then": {"required": ["command"]},  # ours says nothing of its own
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z0-9./_-]+(:[A-Za-z0-9._-]+)?$"},
        "build": {"const": "."},
        "command": WORDS,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": DURATION,
        "profiles": WORDS,
        "environment": VARIABLES,
        # A named volume, or a file or folder of deploy/ that is only read.
        "volumes": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^([a-z]+:/[a-z/]+|\./deploy[a-z/.]*:/[a-z/.]+:ro)$",
            },
        },
        "secrets": WORDS,
        # Reachable from this machine only; whoever wants more puts a proxy with TLS before it.
        "ports": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d{1,5}:\d{1,5}$"},
        },
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["condition"],
                "additionalProperties": False,
                "properties": {"condition": {"enum": ["service_healthy", "service_started"]}},
            },
        },
        "healthcheck": {
            "type": "object",
            "required": ["test"],
            "additionalProperties": False,
            "properties": {
                "test": WORDS,
                "interval": DURATION,
                "timeout": DURATION,
                "retries": {"type": "integer", "minimum": 1},
            },
        },
    },
}
FILE = {
    "type": "object",
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {"type": "object"}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["environment"],
                "additionalProperties": False,
                "properties": {"environment": {"type": "string"}},
            },
        },
    },
}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def services(compose) -> dict:
    return compose["services"]


def test_the_file_follows_the_compose_specification(compose):
    jsonschema.Draft202012Validator(FILE).validate(compose)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"ports": ["5555:5555"]},
        {"ports": ["0.0.0.0:5555:5555"]},
        {"comand": ["status"]},
        {"environment": {"A": 1}},
        {"restart": False},
    ],
    ids=str,
)
def test_the_schema_finds_what_it_is_there_for(services, spoilt):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**services["fetch"], **spoilt}, SERVICE)


def test_every_pool_has_one_service_of_its_name(services):
    workers = {
        name: one["command"]
        for name, one in services.items()
        if one.get("command", [""])[0] == "worker"
    }
    assert workers == {pool: ["worker", pool] for pool in POOLS}


def test_there_is_exactly_one_beat_and_one_flower(services):
    commands = [one["command"][0] for one in services.values() if "command" in one]
    assert commands.count("beat") == 1
    assert commands.count("flower") == 1


def test_every_service_runs_a_command_that_exists(services):
    ours = {one["command"][0] for one in services.values() if one["image"] == "alphamill"}
    assert ours <= set(COMMANDS)


def test_every_variable_is_one_that_we_read(services):
    known = {*ENVIRONMENT, "ALPHAMILL_CONFIG", "FLOWER_BASIC_AUTH", "REDIS_PASSWORD"}
    known |= {AUTH_VARIABLE, "GF_SECURITY_ADMIN_PASSWORD"}  # the latter is Grafana's own
    known |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"}
    for name, one in services.items():
        assert set(one.get("environment", {})) <= known, name


def test_volumes_and_dependencies_are_declared(compose, services):
    for name, one in services.items():
        for source in (mount.split(":")[0] for mount in one["volumes"]):
            named = not source.startswith("./")
            assert source in compose["volumes"] if named else (REPOSITORY / source).exists()
        assert set(one.get("secrets", ())) <= set(compose["secrets"])
        assert set(one.get("depends_on", {})) <= set(services), name
        for needed, how in one.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[needed]


def test_what_watches_the_fleet_is_started_only_when_it_is_asked_for(services):
    asked = {name for name, one in services.items() if one.get("profiles") == ["watch"]}
    assert asked == {"metrics", "prometheus", "grafana"}
    target = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    [job] = target["scrape_configs"]
    port = services["metrics"]["command"][-1]
    assert job["static_configs"] == [{"targets": [f"metrics:{port}"]}]
    user = services["metrics"]["environment"][AUTH_VARIABLE].partition(":")[0]
    assert job["basic_auth"]["username"] == user
    assert (
        job["basic_auth"]["password_file"].removeprefix("/run/secrets/")
        in (services["prometheus"]["secrets"])
    )


def test_passwords_must_be_given_and_have_no_default():
    assert re.findall(r"\$\{([A-Z_]*PASSWORD)[^:?A-Z_]", TEXT) == []
    for name, how in re.findall(r"\$\{(\w*PASSWORD)(:?[-+?])", TEXT):
        assert how == ":?", f"{name} has a default or may be empty"
    keys = re.findall(r"\$\{(\w*KEY):-(.*?)\}", TEXT)
    assert keys == [("ALPHAMILL_LLM_API_KEY", "")]


def test_redis_wants_its_password_keeps_its_data_and_never_evicts(services):
    shell, flag, line = services["redis"]["command"]
    assert (shell, flag) == ("sh", "-c")
    for part in (
        '--requirepass "$$REDIS_PASSWORD"',
        "--appendonly yes",
        "--maxmemory-policy noeviction",
    ):
        assert part in line
    assert "/data" in {mount.split(":")[1] for mount in services["redis"]["volumes"]}


def test_the_image_starts_the_command_that_the_services_name():
    lines = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["alphamill"]' in lines
    user, entry = (
        next(i for i, line in enumerate(lines) if line.startswith(word))
        for word in ("USER", "ENTRYPOINT")
    )
    assert user < entry, "not as root"
    copied = {
        word.rstrip("/") for line in lines if line.startswith("COPY") for word in line.split()[1:-1]
    }
    assert {"alphamill", "workers", "producers", "celeryconfig.py", "pyproject.toml"} <= copied
    for name in copied - {"README.md"}:
        assert (REPOSITORY / name).exists(), name
