"""Which workers give their freed memory back, and that they do."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from workers import app


@pytest.mark.parametrize(
    ("queues", "gives_back"),
    [(["fetch"], True), (["evaluate"], False), (["fetch", "evaluate"], False)],
)
def test_only_a_pool_of_its_own_gives_memory_back(monkeypatch, queues, gives_back):
    called = []
    monkeypatch.setattr(app, "give_back_freed_memory", lambda: called.append(True))
    monkeypatch.setattr(app, "_announcer", SimpleNamespace(start=lambda *_: None))
    consumer = SimpleNamespace(queues=[SimpleNamespace(name=name) for name in queues])
    pool = SimpleNamespace(num_processes=8)
    app._ready(SimpleNamespace(task_consumer=consumer, hostname="here", pool=pool))
    assert called == [True] * gives_back


def test_arrow_takes_memory_from_the_system():
    code = (
        "import pyarrow as pa; from workers.app import give_back_freed_memory; "
        "give_back_freed_memory(); print(pa.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "system"
