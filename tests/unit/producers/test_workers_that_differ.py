"""What whoever waits for a run is told of workers that are not as this shell."""

from __future__ import annotations

from dataclasses import replace

import fakeredis
import pytest

from alphamill.fleet.identity import Identity, identity
from alphamill.ledger import JobRecord, JobState, RunRecord, RunState
from alphamill.ledger.presence import Presence, Worker
from alphamill.runs.failures import KEY_REFUSED
from alphamill.settings import Settings, load_settings
from producers.check.local import _presence_checks, redis_checks
from producers.read.differing import computed_lines, differing_lines, refused_key_lines
from workers.announce import Announcer

LLM_QUEUES = ("llm.detailed_analysis", "llm.final_verification", "llm.quick_scan")
MINING = {"fetch": {"done": 2}, "propose.quick_scan": {"ready": 1}}


@pytest.fixture
def client():
    return fakeredis.FakeRedis()


@pytest.fixture
def shell(tmp_path) -> Settings:
    return settings_of(tmp_path, ALPHAMILL_LLM_API_KEY="sk-right")


def settings_of(home, **variables: str) -> Settings:
    return load_settings({"ALPHAMILL_HOME": str(home), **variables})


def announce(client, settings: Settings, pool: str, own: Identity | None = None) -> Worker:
    """A worker of that pool on box2, started with these settings."""
    presence = Presence(client)
    own = own or identity(settings, presence.salt())
    queues = LLM_QUEUES if pool == "llm" else (pool,)
    worker = Worker(f"{pool}-7@box2", pool, queues, 4, 7, "box2", "0.1.0")
    worker = replace(worker, build=own.build.label, identity=own.id)
    presence.announce(worker, own.to_message())
    return worker


def run_of(counts: dict, **builds: int) -> RunRecord:
    return RunRecord("r", "mine", {}, RunState.RUNNING, 0, 0, None, counts, builds)


def dead(reason: str) -> JobRecord:
    worker = "box2:99"
    return JobRecord("j", "propose.quick_scan", "q", {}, JobState.DEAD, 1, reason, worker=worker)


def test_a_worker_with_another_key_is_told_before_the_run_and_by_doctor(client, shell, tmp_path):
    announce(client, settings_of(tmp_path, ALPHAMILL_LLM_API_KEY="sk-old"), "llm")
    place = "api.openai.com/v1 (quick_scan, detailed_analysis, final_verification)"
    said = f"the llm worker on box2 (pid 7): has another key for {place} than this shell"
    cure = "set the right key where it starts, and restart it"
    assert differing_lines(client, shell, run_of(MINING)) == [f"{said}; {cure}"]
    found = [one for one in _presence_checks(client, shell) if one.detail.startswith("the llm")]
    assert [(one.state, one.name, one.detail, one.cure) for one in found] == [
        ("warn", "worker key", said, cure)
    ]
    texts = [client.get(key) for key in client.keys("*") if client.type(key) == b"string"]
    assert texts
    assert not any(b"sk-" in text for text in texts)


def test_workers_that_a_run_does_not_need_are_left_out(client, shell, tmp_path):
    announce(client, settings_of(tmp_path, ALPHAMILL_LLM_API_KEY="sk-old"), "llm")
    assert differing_lines(client, shell, run_of({"fetch": {"ready": 3}})) == []


def test_what_a_run_brings_itself_is_no_reason_to_wait(client, shell, tmp_path):
    variables = {"ALPHAMILL_LLM_API_KEY": "sk-right", "ALPHAMILL_LLM_QUICK_SCAN_MODEL": "gpt-x"}
    announce(client, settings_of(tmp_path, **variables), "llm")
    assert differing_lines(client, shell, run_of(MINING)) == []


def test_a_refused_key_is_told_to_be_another_than_here(client, shell, tmp_path):
    announce(client, settings_of(tmp_path, ALPHAMILL_LLM_API_KEY="sk-old"), "llm")
    refused = dead(f"ALPHAMILL_LLM_API_KEY: {KEY_REFUSED} (HTTP 401); set a key")
    [line] = refused_key_lines(client, shell, [refused])
    assert line.startswith("the llm worker on box2 (pid 7): has another key for api.openai.com/v1")
    assert refused_key_lines(client, shell, [dead("the disk is full")]) == []


def test_a_refused_key_that_is_the_same_here_is_told_with_its_host(client, shell):
    announce(client, shell, "llm")
    [line] = refused_key_lines(client, shell, [dead(f"X: {KEY_REFUSED} (HTTP 401)")])
    assert line.startswith("the key is that of the llm worker on box2, as it was when that started")


def test_jobs_done_by_different_code_are_told_of_the_run(client, shell):
    own = identity(shell)
    older = replace(own, build=replace(own.build, version="0.0.9"))
    announce(client, shell, "fetch")
    announce(client, shell, "evaluate", older)
    builds = {own.build.label: 5, older.build.label: 1}
    counts = {"fetch": {"done": 6}}
    [line] = computed_lines(client, run_of(counts, **builds))
    assert f"{older.build.label} (1 job: alphamill 0.0.9 instead of {own.build.version})" in line
    assert computed_lines(client, run_of(counts, **{own.build.label: 6})) == []
    assert computed_lines(client, run_of(counts)) == []


def test_many_differences_are_told_briefly(client, shell):
    own = identity(shell, Presence(client).salt())
    odd = {name: f"{text}!" for name, text in own.settings.items()}
    announce(client, shell, "llm", replace(own, settings=odd))
    lines = differing_lines(client, shell, run_of(MINING))
    assert len(lines) == 5
    assert lines[-1].endswith("more differences: alphamill doctor")


def test_digests_are_made_anew_when_redis_has_lost_its_salt(client, shell):
    class Process:
        settings = shell

    announcer, presence = Announcer(Process), Presence(client)
    first = announcer._own(presence)
    assert announcer._own(presence) is first
    client.flushall()
    second = announcer._own(presence)
    assert second.salt != first.salt
    assert second == identity(shell, presence.salt())


@pytest.mark.parametrize(("content", "there"), [("redis://:pw@h:1/0", True), ("", False)])
def test_doctor_names_the_stack_whose_workers_serve_another_redis(
    client, tmp_path, monkeypatch, content, there
):
    """The shell exports one Redis; `alphamill up` of its home runs with its own."""
    settings = settings_of(tmp_path, ALPHAMILL_REDIS_URL="redis://elsewhere.test:6379/0")
    (tmp_path / "redis.url").write_text(content)
    monkeypatch.setattr("producers.check.local.answers", lambda url: url == "redis://:pw@h:1/0")
    found = [one for one in _presence_checks(client, settings) if one.name == "other redis"]
    assert bool(found) is there
    for one in found:
        assert one.detail == f"the stack of {tmp_path} runs at h:1/0: its workers serve that Redis"
        assert "pw" not in one.detail + one.cure


def test_doctor_names_that_stack_where_the_other_redis_does_not_answer(tmp_path, monkeypatch):
    settings = settings_of(tmp_path, ALPHAMILL_REDIS_URL="redis://127.0.0.1:1/0")
    (tmp_path / "redis.url").write_text("redis://:pw@h:1/0")
    monkeypatch.setattr("producers.check.local.answers", lambda url: True)
    assert [one.name for one in redis_checks(settings)] == ["redis", "other redis"]
