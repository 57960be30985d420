"""Which workers give their freed memory back, and that they do."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest

from workers import app


@pytest.mark.parametrize(
    ("queues", "gives_back"),
    [(["fetch"], True), (["evaluate"], False), (["fetch", "evaluate"], False)],
)
def test_only_a_pool_of_its_own_saves_memory(monkeypatch, queues, gives_back):
    called = []
    for name in ("give_back_freed_memory", "leave_libraries_out"):
        monkeypatch.setattr(app, name, partial(called.append, name))
    monkeypatch.setattr(app, "_announcer", SimpleNamespace(start=lambda *_: None))
    consumer = SimpleNamespace(queues=[SimpleNamespace(name=name) for name in queues])
    pool = SimpleNamespace(num_processes=8)
    app._ready(SimpleNamespace(task_consumer=consumer, hostname="here", pool=pool))
    assert called == ["give_back_freed_memory", "leave_libraries_out"] * gives_back


def test_arrow_takes_memory_from_the_system():
    code = (
        "import pyarrow as pa; from workers.memory import give_back_freed_memory; "
        "give_back_freed_memory(); print(pa.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "system"
