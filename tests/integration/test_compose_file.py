"""docker-compose.yml and its kin by the rules that can be checked without Docker."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from alphamill.settings import ENVIRONMENT, Settings, Tier, load_settings
from alphamill.stack.pools import POOLS, STREAM
from producers.cli import COMMANDS
from producers.run.metrics import AUTH_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
OF_WORKERS = (REPOSITORY / "docker-compose.workers.yml").read_text(encoding="utf-8")
OVERRIDES = ("deploy/compose.tls.yml", "deploy/compose.secrets.yml")
KEYS = {
    f"ALPHAMILL_LLM_{middle}API_KEY{end}"
    for middle in ("", *(f"{tier.value.upper()}_" for tier in Tier))
    for end in ("", "_FILE")
} | {"ALPHAMILL_WEBHOOK_SECRET", "ALPHAMILL_WEBHOOK_SECRET_FILE"}
OF_ONE_MACHINE = {  # of the workers control and stream, which are not elsewhere
    "ALPHAMILL_NOTIFY_URL",
    "ALPHAMILL_WEBHOOK_SECRET",
    "ALPHAMILL_WEBHOOK_SECRET_FILE",
}
OF_LIBRARIES = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_ENDPOINT_URL", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
}

WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
# A variable without a value is the host's, and absent where the host has none.
VARIABLES = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
MEMORY = {"type": "string", "pattern": r"^(\$\{[A-Z]+_MEMORY:-)?\d+[mg]\}?$"}
DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
SERVICE = {
    "type": "object",
    "required": ["image", "restart", "mem_limit", "stop_grace_period", "logging"],
    "additionalProperties": False,
    "if": {"properties": {"image": {"const": "alphamill"}}},
    "then": {"required": ["command"]},  # ours says nothing of its own
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z0-9./_-]+(:[A-Za-z0-9._-]+)?$"},
        "build": {"const": "."},
        "command": WORDS,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": DURATION,
        "mem_limit": MEMORY,
        "logging": {
            "type": "object",
            "required": ["driver", "options"],
            "properties": {"options": {"type": "object", "required": ["max-size", "max-file"]}},
        },
        "profiles": WORDS,
        "env_file": {"const": [{"path": ".env", "required": False}]},
        "environment": VARIABLES,
        # A named volume, or a file or folder of this machine that is only read.
        "volumes": {
            "type": "array",
            "items": {
                "anyOf": [
                    {
                        "type": "string",
                        "pattern": r"^([a-z]+:/[a-z/]+|\./deploy[a-z/.]*:/[a-z/.]+:ro)$",
                    },
                    {
                        "type": "object",
                        "required": ["type", "source", "target", "read_only", "bind"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "bind"},
                            "source": {"type": "string"},
                            "target": {"type": "string", "pattern": "^/"},
                            "read_only": {"const": True},
                            "bind": {"const": {"create_host_path": False}},
                        },
                    },
                ]
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
                "start_period": DURATION,
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
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {"environment": {"type": "string"}, "file": {"type": "string"}},
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


@pytest.fixture(scope="module")
def of_workers() -> dict:
    return yaml.safe_load(OF_WORKERS)


@pytest.mark.parametrize("text", [TEXT, OF_WORKERS], ids=["all", "workers"])
def test_the_file_follows_the_compose_specification(text):
    jsonschema.Draft202012Validator(FILE).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"ports": ["5555:5555"]},
        {"ports": ["0.0.0.0:5555:5555"]},
        {"comand": ["status"]},
        {"environment": {"A": 1}},
        {"restart": False},
        {"mem_limit": "much"},
        {"env_file": ["keys.txt"]},
        {"volumes": [{"type": "bind", "source": "./x", "target": "/x"}]},
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
    assert workers == {pool: ["worker", pool] for pool in (*POOLS, STREAM)}


def test_there_is_exactly_one_beat_and_one_flower(services):
    commands = [one["command"][0] for one in services.values() if "command" in one]
    assert commands.count("beat") == 1
    assert commands.count("flower") == 1


def test_every_service_runs_a_command_that_exists(services):
    ours = {one["command"][0] for one in services.values() if one["image"] == "alphamill"}
    assert ours <= set(COMMANDS)


def test_every_variable_is_one_that_we_read(services):
    known = {*ENVIRONMENT, *KEYS, *OF_LIBRARIES, "ALPHAMILL_CONFIG", "FLOWER_BASIC_AUTH"}
    known |= {"REDIS_PASSWORD", "REDIS_MAXMEMORY", "REDIS_OPTIONS"}
    known |= {AUTH_VARIABLE, "GF_SECURITY_ADMIN_PASSWORD"}  # the latter is Grafana's own
    for name, one in services.items():
        assert set(one.get("environment", {})) <= known, name


def test_every_setting_key_and_credential_reaches_every_container_of_ours(services, of_workers):
    wanted = {*ENVIRONMENT, *KEYS, *OF_LIBRARIES, "ALPHAMILL_CONFIG"}
    for name, one in services.items():
        if one["image"] == "alphamill":
            assert wanted <= set(one["environment"]), name
            assert one["env_file"][0]["path"] == ".env", "what a user names otherwise"
    for name, one in of_workers["services"].items():
        assert wanted - OF_ONE_MACHINE == set(one["environment"]), name


def test_every_service_can_be_asked_how_it_is(services, of_workers):
    for name, one in (*services.items(), *of_workers["services"].items()):
        if name == "cli":  # it ends by itself
            continue
        kind, *words = one["healthcheck"]["test"]
        assert kind in ("CMD", "CMD-SHELL"), name
        if one["image"] == "alphamill":
            assert kind == "CMD"
            assert words[0] == "alphamill"
            own = [word for word in one["command"] if word not in ("--address", "0.0.0.0")]  # noqa: S104
            assert words[1:] == [*own, "--check"], name


def test_a_model_call_may_end_before_its_worker_is_stopped(services):
    grace_s = int(services["llm"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().llm.timeout_s


def test_workers_elsewhere_are_as_those_here_and_reach_redis_over_tls_alone(services, of_workers):
    others = of_workers["services"]
    assert set(others) == set(POOLS) - {"control"}
    for name, one in others.items():
        for same in ("command", "mem_limit", "stop_grace_period", "healthcheck", "restart"):
            assert one[same] == services[name][same], (name, same)
        assert one["environment"]["ALPHAMILL_REDIS_URL"].startswith("rediss://")
        assert "depends_on" not in one
        assert "ports" not in one


def test_where_the_settings_lie_is_for_the_user_to_say(services):
    [config] = [mount for mount in services["cli"]["volumes"] if isinstance(mount, dict)]
    assert config["source"] == "${ALPHAMILL_CONFIG:-./deploy/alphamill.toml}"
    assert services["cli"]["environment"]["ALPHAMILL_CONFIG"] == config["target"]
    ours = str(REPOSITORY / "deploy/alphamill.toml")
    assert load_settings({"ALPHAMILL_CONFIG": ours}) == load_settings({})


def test_the_example_of_variables_has_every_one_that_must_be_set_and_no_key():
    example = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(given.values()) == {""}, "nothing is set that somebody might forget to change"
    tls = (REPOSITORY / "deploy/compose.tls.yml").read_text(encoding="utf-8")
    for text in (TEXT, OF_WORKERS, tls):
        assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(given)
    own = {name for name in given if name.startswith(("ALPHAMILL_", "AWS_"))}
    assert own <= {*ENVIRONMENT, *KEYS, *OF_LIBRARIES, "ALPHAMILL_CONFIG"}
    read = " ".join([TEXT, OF_WORKERS, tls])
    for name in set(given) - own - {"DEEPSEEK_API_KEY", "ANTHROPIC_API_KEY"}:
        assert f"${{{name}:" in read or name in OF_LIBRARIES, name


def test_secrets_are_never_committed_nor_sent_to_the_image():
    for name, wanted in ((".gitignore", {".env", "/tls/", "/secrets/"}),):
        assert wanted <= set((REPOSITORY / name).read_text(encoding="utf-8").split())
    ignored = set((REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split())
    assert {".env*", "tls", "secrets"} <= ignored


@pytest.mark.parametrize("name", OVERRIDES)
def test_what_is_laid_over_names_services_that_are_there(services, name):
    over = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
    assert set(over["services"]) <= set(services)
    for service, one in over["services"].items():
        assert set(one.get("environment", {})) <= set(services[service]["environment"])
        assert set(one.get("secrets", ())) <= set(over.get("secrets", {}))
        for mount in one.get("volumes", ()):
            jsonschema.validate([mount], SERVICE["properties"]["volumes"])


def test_a_key_in_a_secret_is_read_and_no_variable_wins_over_it(services, tmp_path):
    over = yaml.safe_load((REPOSITORY / "deploy/compose.secrets.yml").read_text(encoding="utf-8"))
    for name in ("llm", "cli"):
        one = over["services"][name]
        [secret] = one["secrets"]
        merged = {**services[name]["environment"], **one["environment"]}
        assert merged["ALPHAMILL_LLM_API_KEY_FILE"] == f"/run/secrets/{secret}"
        (tmp_path / secret).write_text("sk-in-a-file\n")
        merged["ALPHAMILL_LLM_API_KEY_FILE"] = str(tmp_path / secret)
        told = {key: value for key, value in merged.items() if value is not None}
        llm = load_settings(told | {"ALPHAMILL_CONFIG": "", "ALPHAMILL_REDIS_URL": ""}).llm
        assert llm.api_key.get_secret_value() == "sk-in-a-file"


def test_volumes_and_dependencies_are_declared(compose, services):
    for name, one in services.items():
        mounts = [mount for mount in one["volumes"] if isinstance(mount, str)]
        for source in (mount.split(":")[0] for mount in mounts):
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
    for text in (TEXT, OF_WORKERS):
        assert re.findall(r"\$\{([A-Z_]*PASSWORD)[^:?A-Z_]", text) == []
        for name, how in re.findall(r"\$\{(\w*PASSWORD)(:?[-+?])", text):
            assert how == ":?", f"{name} has a default or may be empty"
        assert re.findall(r"\$\{(\w*KEY)", text) == [], "as it is, or not at all"


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
    assert services["redis"]["environment"]["REDIS_MAXMEMORY"] == "${REDIS_MAXMEMORY:-1gb}"
    assert services["redis"]["mem_limit"] == "${REDIS_MEMORY:-2g}", "more than it may fill"


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
