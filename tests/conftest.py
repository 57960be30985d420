"""Fixtures for every room: a real Redis-compatible server, an S3 server, benchmarks, real bars."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import redis
import requests

from alphamill.stack.embedded_redis import find_redis_binary, free_port
from tests.deadlines import ANSWER_S, end_s, slowness, start_s, wait_for
from tests.loopback import listens

# No property depends on how long an example takes, or on how long it takes to make one; what lands
# is judged by the same examples.
UNHURRIED = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("here", **UNHURRIED)
hypothesis.settings.register_profile("ci", **UNHURRIED, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """The machine is measured before the processes of xdist start, which inherit the result."""
    if config.getoption("numprocesses", None):
        slowness()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `--dist loadfile`: a file stays in one process, and so do all files with stacks."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneStackAtATime(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid.partition("::")[0])

    return OneStackAtATime(config, log)


@functools.cache
def scope_of(file: str) -> str:
    """The tests that share a process with those of the file; its path is below the repository."""
    marked = "pytest.mark.stack" in (REPOSITORY / file).read_text(encoding="utf-8")
    return "stacks" if marked else file


def _answers(port: int) -> bool:
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=ANSWER_S) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def _comes_up(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> bool:
    """Wait until it is ready, or has ended; whether it lives."""
    wait_for(
        lambda: process.poll() is not None or ready(),
        f"{process.args} to be ready",
        lambda: log.read_text() if log.exists() else "no log",
        within_s=start_s(),
    )
    return process.poll() is None


def _start(
    binary: str, folder: Path, more: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers, and its port; another port if somebody took the first one."""
    for _ in range(5):
        port = free_port()
        log = folder / f"{port}.log"
        process = subprocess.Popen(
            [
                *(binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
                *("--save", "", "--appendonly", "no", "--logfile", str(log), *more),
            ]
        )
        if _comes_up(process, functools.partial(_answers, port), log):
            return process, port
    raise RuntimeError(f"{binary} did not start; see the logs in {folder}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(end_s())
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def server_of_my_own(folder: Path, *more: str) -> Iterator[str]:
    """URL of a real server with the options `more`, without persistence, on a free port."""
    process, port = _start(str(find_redis_binary()), folder, more)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the server of this test session."""
    with server_of_my_own(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of the session's server with every database emptied."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def load_benchmark() -> Callable[[str], ModuleType]:
    """`load_benchmark("llm_caps")`: that script of benchmarks/ as a module, imported once."""

    @functools.cache
    def load(name: str) -> ModuleType:
        path = REPOSITORY / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an S3 server of this test session: moto in a process of its own."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    script = REPOSITORY / "tests" / "s3_server.py"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, str(script), str(port)], stdout=out, stderr=out)
    try:
        assert _comes_up(process, lambda: listens(port), log), log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


@pytest.fixture
def s3_uri(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3://BUCKET/lake in a new bucket, with the variables that reach it set."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    bucket = f"test-{uuid.uuid4().hex}"
    requests.put(f"{s3_endpoint}/{bucket}", timeout=ANSWER_S).raise_for_status()
    return f"s3://{bucket}/lake"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real bars and recorded responses beside the repository; skips where absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
