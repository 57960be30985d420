"""The compiled kernels' cache, filled by several workers at once."""

import contextlib
import threading

from numba.core.caching import IndexDataCacheFile

from alphamill.factors.kernels import cross_section, moments
from alphamill.jit import SharedCacheFile


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
