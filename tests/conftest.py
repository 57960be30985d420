"""Fixtures for every room: a real Redis-compatible server, real bars, waiting with a deadline."""

from __future__ import annotations

import functools
import importlib.util
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
import redis
import requests

from alphamill.stack.embedded_redis import find_redis_binary, free_port

# No property depends on how long an example takes; what lands is judged by the same examples.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

REPOSITORY = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 10.0


def _answers(port: int) -> bool:
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=1.0) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def _start(binary: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers, and its port; another port if somebody took the first one."""
    for _ in range(5):
        port = free_port()
        process = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
             "--save", "", "--appendonly", "no", "--logfile", str(folder / f"{port}.log")],
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                return process, port
            time.sleep(0.02)
        process.kill()
        process.wait()
    raise RuntimeError(f"{binary} did not start; see the logs in {folder}")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real server of this test session, without persistence, on a free loopback port."""
    process, port = _start(str(find_redis_binary()), tmp_path_factory.mktemp("redis"))
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
    deadline = time.monotonic() + 30
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no S3 server: {log.read_text()}")
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
    requests.put(f"{s3_endpoint}/{bucket}", timeout=10).raise_for_status()
    return f"s3://{bucket}/lake"


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """`wait_for(condition, timeout_s=60, what="...")`: poll until true, fail clearly when late."""

    def wait(
        condition: Callable[[], object],
        timeout_s: float = 60.0,  # kernels may have to be compiled first
        what: str = "the condition",
        poll_s: float = 0.02,
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {timeout_s:g} s for {what}")
            time.sleep(poll_s)

    return wait


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real bars and recorded responses beside the repository; skips where absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
