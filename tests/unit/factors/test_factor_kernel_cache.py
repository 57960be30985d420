"""The compiled kernels' cache, filled by several workers at once."""

import contextlib
import fcntl
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest
from numba.core.caching import IndexDataCacheFile

from alphamill import kernel_cache
from alphamill.factors.kernels import cross_section, moments
from alphamill.jit import SharedCacheFile
from alphamill.kernel_cache import kernel_cache_folder, nothing_compiled_yet
from tests.deadlines import wait_for


def cache_file(kind, folder):
    return kind(cache_path=str(folder), filename_base="kernel", source_stamp=(1, 2))


def filled_at_once(kind, folder, monkeypatch):
    """Two workers save under their own key; both had read the index before either wrote it."""
    folder.mkdir()
    read = threading.Barrier(2, timeout=0.3)
    files = [cache_file(kind, folder) for _ in range(2)]
    plain = IndexDataCacheFile._load_index

    def load_and_wait(self):
        index = plain(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            read.wait()  # in vain if the other waits for the lock, as it should
        return index

    with monkeypatch.context() as patched:
        patched.setattr(IndexDataCacheFile, "_load_index", load_and_wait)
        saves = [
            threading.Thread(target=file.save, args=(f"signature {n}", f"code {n}"))
            for n, file in enumerate(files)
        ]
        for save in saves:
            save.start()
        for save in saves:
            save.join()
    return [files[0].load(f"signature {n}") for n in range(2)]


def test_the_cache_knows_every_folder_of_kernels():
    package = Path(kernel_cache.__file__).parent
    folders = {f"{path.relative_to(package)}/*.py" for path in package.glob("**/kernels")}
    assert len(folders) >= 3
    assert folders <= set(kernel_cache._SOURCES)


def test_two_workers_never_share_a_file(tmp_path, monkeypatch):
    assert filled_at_once(SharedCacheFile, tmp_path / "a", monkeypatch) == ["code 0", "code 1"]
    assert filled_at_once(IndexDataCacheFile, tmp_path / "b", monkeypatch) != ["code 0", "code 1"]


def test_a_key_is_replaced_in_place_and_others_stay(tmp_path):
    file = cache_file(SharedCacheFile, tmp_path)
    for key, data in (("a", "1"), ("b", "2"), ("a", "3")):
        file.save(key, data)
    assert [file.load(key) for key in ("a", "b", "c")] == ["3", "2", None]
    assert len(list(tmp_path.glob("*.nbc"))) == 2


def test_every_kernel_has_it():
    for function in (cross_section.across, cross_section._apply, moments.window_second):
        assert type(function._cache._cache_file) is SharedCacheFile


KERNELS = """
from alphamill.jit import inline, kernel

@inline
def step(x):
    return x + 1

@kernel
def stride(x):
    return step(x) * 2
"""
ANOTHER = """
import two_kernels as kernels
assert kernels.stride(20.0) == 42.0
stats = kernels.stride.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A module with two kernels and an empty cache."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(kernel_cache_folder()))
    (tmp_path / "two_kernels.py").write_text(KERNELS)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("two_kernels")
    yield module
    del sys.modules["two_kernels"]


def waits_for_a_lock(pid):
    """Linux: a line `1: -> FLOCK ADVISORY WRITE pid ...` is one that waits."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="says who waits on Linux")
def test_what_one_process_compiles_another_waits_for_and_loads(kernels, tmp_path):
    lock_path = f"{kernels.stride._cache._cache_file._index_path}.compiling"
    folders = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    with Path(lock_path).open("w") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-c", ANOTHER],
            env={**os.environ, "PYTHONPATH": folders},
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(
            lambda: waits_for_a_lock(child.pid) or child.poll() is not None,
            "another process to wait for the kernel",
            Path("/proc/locks").read_text,
        )
        assert nothing_compiled_yet()
        type(kernels.stride).compile(kernels.stride, (numba.float64,))  # as who holds the lock does
    told, _ = child.communicate()
    assert (child.returncode, told) == (0, "1 0\n")
    assert not nothing_compiled_yet()


def test_a_cache_that_cannot_be_written_to_keeps_nobody_from_compiling(kernels, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        patched.setattr(SharedCacheFile, "save", lambda *_: None)
        assert kernels.stride(20.0) == 42.0


def test_threads_of_a_process_compile_one_after_another(kernels):
    results = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(kernels.stride(float(n))))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2.0, 4.0, 6.0, 8.0]
    assert sum(kernels.stride.stats.cache_misses.values()) == 1
