"""What a process tells of itself, and in what two differ; no secret is ever told."""

from __future__ import annotations

import importlib.machinery
import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from alphamill.fleet import identity as module
from alphamill.fleet.differences import findings
from alphamill.fleet.identity import Build, Identity, build, identity, told_settings
from alphamill.ledger.presence import Worker
from alphamill.settings import Settings, load_settings
from producers.check.local import differences_found

SALT = "5a17" * 8
LLM_QUEUES = ("llm.detailed_analysis", "llm.final_verification", "llm.quick_scan")
SECRETS = ("sk-common-secret", "sk-deep-secret", "header-secret", "notify-secret", "mq-secret")
TOML = """\
[binance]
spot_url = "https://me:mq-secret@proxy.test"
[llm.tiers.quick_scan]
model = "deepseek-flash"
url = "https://api.deepseek.com"
key_env = "DEEPSEEK_API_KEY"
[llm.headers."https://api.openai.com/v1"]
x-gateway-key = "header-secret"
"""


@pytest.fixture
def make_settings(tmp_path):
    """`make_settings(toml, **variables)`: settings of a process."""

    def make(toml: str = "", **variables: str) -> Settings:
        path = tmp_path / "a.toml"
        path.write_text(toml, encoding="utf-8")
        environ = {"ALPHAMILL_CONFIG": str(path), "ALPHAMILL_HOME": "/home/of/mine", **variables}
        return load_settings(environ)

    return make


def worker(pool: str, identity_id: str, host: str = "box2", pid: int = 41) -> Worker:
    queues = LLM_QUEUES if pool == "llm" else (pool,)
    return Worker(f"{pool}-{pid}@{host}", pool, queues, 4, pid, host, identity=identity_id)


def said(here: Identity, *others: tuple[str, Identity]) -> list[str]:
    """What is found of workers of these pools with these identities."""
    workers = [worker(pool, its.id, pid=41 + n) for n, (pool, its) in enumerate(others)]
    found = findings(here, workers, {its.id: its for _, its in others})
    return [str(one) for one in found]


# ----------------------------------------------------------------------------------------------
# Code


@pytest.fixture
def copy_of_the_code(tmp_path, monkeypatch) -> Path:
    """A copy of alphamill's sources, which stands in for the installed one."""
    root = tmp_path / "site"
    for name in ("alphamill", "workers"):
        source = Path(module.__file__).parents[2] / name
        shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    find = importlib.machinery.PathFinder.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: find(name, [str(root)]))
    return root


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("alphamill/evaluation/returns.py", True),
        ("alphamill/ledger/finish.lua", True),
        ("alphamill/llm/prompts/shared.txt", True),
        ("workers/tasks.py", True),
        ("alphamill/new_room/kernel.py", True),
        ("alphamill/report/page.css", False),
        ("alphamill/notes.md", False),
    ],
)
def test_code_is_another_when_a_file_that_is_run_is_another(copy_of_the_code, name, changes):
    before = module._code()
    file = copy_of_the_code / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert (module._code() != before) is changes


def test_the_same_files_elsewhere_are_the_same_code(copy_of_the_code):
    assert module._code() == build().code
    (copy_of_the_code / "alphamill/__pycache__").mkdir(exist_ok=True)
    (copy_of_the_code / "alphamill/__pycache__/x.pyc").write_bytes(b"compiled")
    assert module._code() == build().code


def test_moved_content_is_not_the_same_code(copy_of_the_code):
    before = module._code()
    (copy_of_the_code / "workers/leases.py").rename(copy_of_the_code / "workers/lease.py")
    assert module._code() != before


def test_the_short_name_changes_with_code_and_libraries():
    own = build()
    assert own.label.startswith(f"{own.version}+")
    assert replace(own, code="0" * 8).label != own.label
    assert replace(own, libraries={**own.libraries, "numpy": "1.0"}).label != own.label
    assert Build.from_message(json.loads(json.dumps({**_plain(own)}))) == own


def _plain(own: Build) -> dict:
    return {"version": own.version, "code": own.code, "libraries": dict(own.libraries)}


# ----------------------------------------------------------------------------------------------
# Secrets


def test_no_secret_is_told_in_any_form(make_settings):
    settings = make_settings(
        TOML,
        ALPHAMILL_LLM_API_KEY="sk-common-secret",
        DEEPSEEK_API_KEY="sk-deep-secret",
        ALPHAMILL_NOTIFY_URL="https://hooks.test/notify-secret",
        ALPHAMILL_REDIS_URL="redis://:mq-secret@redis.test:6379/0",
        ALPHAMILL_BROKER_URL="amqp://me:mq-secret@mq.test:5672/jobs",
    )
    told = json.dumps(identity(settings, SALT).to_message())
    for secret in SECRETS:
        assert secret not in told
    assert "mq.test" in told
    assert "https://proxy.test" in told


def test_digests_are_short_and_of_the_installations_salt(make_settings):
    settings = make_settings(TOML, ALPHAMILL_LLM_API_KEY="sk-1", DEEPSEEK_API_KEY="sk-1")
    here, again = identity(settings, SALT), identity(settings, SALT)
    other = identity(settings, SALT[::-1])
    assert here == again
    assert here.salt != other.salt
    assert here.keys != other.keys
    assert {len(digest) for digest in here.keys.values()} == {4}, "65,536 values: none is confirmed"
    assert identity(settings).keys == {}


def test_digests_of_another_salt_are_not_compared(make_settings):
    settings = make_settings(ALPHAMILL_LLM_API_KEY="sk-1")
    here, other = identity(settings, SALT), identity(settings, SALT[::-1])
    assert said(here, ("llm", other)) == []


# ----------------------------------------------------------------------------------------------
# Differences


def test_equal_processes_have_nothing_to_tell(make_settings):
    here = identity(make_settings(TOML, ALPHAMILL_LLM_API_KEY="sk-1", DEEPSEEK_API_KEY="s"), SALT)
    assert said(here, *((pool, here) for pool in ("fetch", "llm", "evaluate", "control"))) == []


def test_another_key_is_told_by_what_it_is_for(make_settings):
    here = identity(make_settings(ALPHAMILL_LLM_API_KEY="sk-new"), SALT)
    old = identity(make_settings(ALPHAMILL_LLM_API_KEY="sk-old"), SALT)
    none = identity(make_settings(), SALT)
    place = "api.openai.com/v1 (quick_scan, detailed_analysis, final_verification)"
    assert said(here, ("llm", old), ("fetch", old)) == [
        f"the llm worker on box2 (pid 41): has another key for {place} than this shell"
    ]
    assert said(here, ("llm", none)) == [
        f"the llm worker on box2 (pid 41): has no key for {place}, and this shell has one"
    ]


def test_a_shell_without_keys_compares_the_workers_keys_with_each_other(make_settings):
    here = identity(make_settings(), SALT)
    usual, odd = (
        identity(make_settings(ALPHAMILL_LLM_API_KEY=key), SALT) for key in ("sk-usual", "sk-odd")
    )
    assert said(here, ("llm", usual), ("llm", usual)) == []
    lines = said(here, ("llm", usual), ("llm", usual), ("llm", odd))
    assert len(lines) == 3, "one a tier"
    assert lines[0] == (
        "the llm worker on box2 (pid 43): has another key for api.openai.com/v1 "
        "(detailed_analysis) than other workers"
    )


def test_settings_are_named_one_by_one_where_a_worker_goes_by_them(make_settings):
    here = identity(make_settings())
    toml = "[binance]\nrequests_per_minute = 600\n[llm.tiers.quick_scan]\nconcurrency = 3\n"
    other = identity(make_settings(toml))
    fetch = "the fetch worker on box2 (pid 41): binance.requests_per_minute: worker 600, here 1200"
    llm = "the llm worker on box2 (pid 41): llm.tiers.quick_scan.concurrency: worker 3, here 64"
    assert said(here, ("fetch", other)) == [fetch]
    assert said(here, ("llm", other)) == [llm]
    assert said(here, ("evaluate", other)) == []


def test_what_a_run_brings_is_told_as_such_and_last(make_settings):
    here = identity(make_settings(ALPHAMILL_LLM_QUICK_SCAN_MODEL="gpt-y"))
    toml = "[budget]\nday_usd = 5\n[llm.tiers.quick_scan]\nreasoning_effort = 'low'\n"
    other = identity(make_settings(toml, ALPHAMILL_LLM_QUICK_SCAN_MODEL="gpt-x"))
    who = "the llm worker on box2 (pid 41)"
    assert said(here, ("llm", other)) == [
        f"{who}: budget.day_usd: worker 5.0, here 10.0",
        f"{who}: llm.tiers.quick_scan.model: worker gpt-x, here gpt-y (a run brings its own)",
        f"{who}: llm.tiers.quick_scan.reasoning_effort: worker low, here not set "
        "(a run brings its own)",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("ALPHAMILL_LAKE", "/elsewhere/lake", "lake"),
        ("ALPHAMILL_HOME", "/home/of/another", "lake"),
        ("ALPHAMILL_BROKER_URL", "amqp://u:p@mq.test:5672/v", "broker_url"),
        ("ALPHAMILL_BINANCE_UM_URL", "https://um.test", "binance.um_url"),
        ("ALPHAMILL_ARCHIVE_URL", "https://archive.test", "binance.archive_url"),
        ("ALPHAMILL_LLM_QUICK_SCAN_URL", "https://other.test/v1", "llm.tiers.quick_scan.url"),
        ("ALPHAMILL_LLM_URL", "https://other.test/v1", "llm.url"),
    ],
)
def test_another_place_is_told_where_it_matters(make_settings, variable, value, name):
    here, other = identity(make_settings()), identity(make_settings(**{variable: value}))
    lines = said(here, ("llm", other), ("fetch", other))
    assert [line.split(": ")[1] for line in lines] == [name]


def test_another_lake_on_this_machine_does_no_harm(make_settings):
    here, other = identity(make_settings()), identity(make_settings(ALPHAMILL_LAKE="/b"))
    own = [worker("fetch", other.id, host=socket.gethostname())]
    [found] = findings(here, own, {other.id: other})
    assert not found.difference.matters
    assert str(found).endswith("here /home/of/mine/lake (a run brings its own)")


def test_a_machines_own_way_out_is_no_difference(make_settings):
    here, other = (identity(make_settings(ALPHAMILL_BINANCE_EGRESS=name)) for name in "ab")
    assert said(here, ("fetch", other)) == []


def test_every_setting_is_known_by_the_name_that_the_file_has(make_settings):
    told = told_settings(make_settings(TOML))
    assert told["llm.tiers.quick_scan.url"] == "https://api.deepseek.com"
    for name in (
        "budget.day_usd",
        "ledger.lease_s",
        "gates.fdr",
        "binance.egress",
        "fees.taker_bps",
    ):
        assert name in told
    assert not {name for name in told if "headers" in name or "notify" in name}


def test_code_and_libraries_are_told_apart_and_like_workers_together(make_settings):
    here = identity(make_settings())
    older = replace(here, build=replace(here.build, code="0ld0c0de"))
    libraries = {**here.build.libraries, "numpy": "1.26.4"}
    other = replace(here, build=replace(here.build, libraries=libraries))
    lines = said(here, ("fetch", older), ("llm", older), ("evaluate", other))
    assert lines == [
        "2 workers (fetch on box2 (pid 41), llm on box2 (pid 42)): runs other code: "
        f"{here.build.version} (0ld0c0de), here {here.build.version} ({here.build.code})",
        "the evaluate worker on box2 (pid 43): computes with numpy 1.26.4, here "
        f"{here.build.libraries['numpy']}",
    ]


def test_a_worker_from_before_says_nothing_and_that_is_said(make_settings):
    [found] = findings(identity(make_settings()), [worker("fetch", "")], {})
    assert str(found) == (
        "the fetch worker on box2 (pid 41): runs code from before workers said what they run with"
    )
    assert found.cure == "restart it, on the same version everywhere"


def test_doctor_warns_of_what_matters_and_not_of_what_a_run_brings(make_settings):
    here = identity(make_settings())
    toml = "[binance]\nwindow_s = 30\n[fees]\ntaker_bps = 1\n[gates]\nfdr = 0.1\n"
    other = identity(make_settings(toml))
    found = findings(here, [worker("fetch", other.id)], {other.id: other})
    checks = list(differences_found(found))
    assert [check.state for check in checks] == ["warn", "ok"]
    assert {check.name for check in checks} == {"worker setting"}
    assert checks[0].detail.endswith("binance.window_s: worker 30.0, here 60.0")
    assert checks[0].cure == "give all machines the same settings, and restart it"
    assert "fees.taker_bps: worker 1.0, here 10.0 (a run brings its own)" in checks[1].detail
    assert checks[1].detail.endswith("and 1 more such settings")


def test_many_differences_are_counted_rather_than_listed(make_settings):
    here = identity(make_settings())
    settings = {name: f"{value}!" for name, value in here.settings.items()}
    other = replace(here, settings=settings)
    found = findings(here, [worker("llm", other.id)], {other.id: other})
    checks = list(differences_found(found))
    grave = [one for one in found if one.difference.matters]
    assert len(checks) == 14
    assert checks[12].detail == f"{len(grave) - 12} more differences"
