"""A lake in a local folder: files are written aside, synced, then renamed.

Some readers refuse a folder that holds anything but parquet, hidden or not. So files that are being
written and locks lie in hidden folders of their own at the root.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.lake.buffers import owned_file
from alphamill.lake.files import PROBE, SETTING, Stat

_ASIDE = ".aside"
_LOCKS = ".locks"
_TEMPORARY = ".tmp"
_OLD_LOCK = ".lock"  # beside the data, in lakes of before 2026-12
# To remove a lock lets two workers in who queue for it. So one that older code makes in a lake that
# is in order serves both for a day.
_OLD_LOCK_KEPT_S = 86_400.0
_STALE_S = 3600.0  # no write takes an hour: an older temporary file's writer is dead
_NEVER = frozenset(
    {
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _fault(error: OSError, what: str) -> AlphamillError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return Misconfigured(SETTING, f"cannot {what}: {reason}", "free or add space there")
    if error.errno in _NEVER:
        return Misconfigured(SETTING, f"cannot {what}: {reason}", "name a folder you may write to")
    return RetryLater(f"the lake cannot {what}: {reason}", 5.0)


@contextlib.contextmanager
def _faults(what: str, *, absent_passes: bool = True) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if absent_passes:
            raise
        raise Misconfigured(SETTING, f"cannot {what}: {error}", "create it") from error
    except OSError as error:
        raise _fault(error, what) from error


class LocalFiles:
    """A folder. Names are UTF-8 on the disk, whatever encoding the locale takes them to have."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, key: str) -> Path:
        return self._root / os.fsdecode(key.encode("utf-8", "surrogateescape"))

    def read(self, key: str) -> pa.Buffer:
        path = self._path(key)
        with _faults(f"read {path}"):
            return owned_file(path)

    def open(self, key: str) -> pa.NativeFile:
        with _faults(f"read {self._path(key)}"):
            return pa.OSFile(os.fsencode(self._path(key)))  # of text it takes UTF-8

    def write(self, key: str, data: pa.Buffer | bytes) -> None:
        path = self._path(key)
        with _faults(f"write {path}", absent_passes=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _replace(path, data, self._root / _ASIDE)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _replace(path, data, path.parent)  # a folder that is a file system of its own
            _sync_folder(path.parent)

    def stat(self, key: str) -> Stat | None:
        with _faults(f"read {self._path(key)}"):
            try:
                return _local_stat(self._path(key).stat())
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> dict[str, Stat]:
        found: dict[str, Stat] = {}
        with _faults(f"list {self._root / prefix}"):
            folders = [prefix.strip("/")]
            while folders:
                folder = folders.pop()
                for entry in self._entries(folder):
                    name = os.fsencode(entry.name).decode("utf-8", "surrogateescape")
                    key = f"{folder}/{name}" if folder else name
                    if entry.is_dir():
                        folders.append(key)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # replaced or deleted meanwhile
                        found[key] = _local_stat(entry.stat())
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        with _faults(f"delete {self._path(key)}"):
            self._path(key).unlink(missing_ok=True)

    def update(self, key: str, change: Callable[[pa.Buffer | None], pa.Buffer | None]) -> None:
        with self._lock(self._path(key).parent):
            while not self._updated(key, change):
                pass

    def _updated(self, key: str, change: Callable[[pa.Buffer | None], pa.Buffer | None]) -> bool:
        """False, and nothing done, if a worker of older code has begun meanwhile."""
        folder = self._path(key).parent
        with _old_lock(folder, wait=True, kept_s=_OLD_LOCK_KEPT_S) as held:
            try:
                before: pa.Buffer | None = self.read(key)
            except FileNotFoundError:
                before = None
            after = change(before)
            if not held and (folder / _OLD_LOCK).exists():
                return False
            if after is not None and (before is None or not after.equals(before)):
                self.write(key, after)
        return True

    def sweep(self) -> bool:
        clean = True
        with _faults(f"list {self._root}"):
            for folder, inside, names in os.walk(self._root):
                inside[:] = [name for name in inside if not name.startswith(".")]
                _sweep(Path(folder))
                if _OLD_LOCK in names:
                    with _old_lock(Path(folder), wait=False, kept_s=0.0):
                        pass
                    clean = clean and not (Path(folder) / _OLD_LOCK).exists()
        return clean

    def check(self) -> None:
        if not self._root.exists():  # whoever only asks leaves no folder behind
            above = next(one for one in self._root.absolute().parents if one.exists())
            probe = above / f"{PROBE}.{uuid.uuid4().hex}"
            with _faults(f"write {self._root}", absent_passes=False):
                try:
                    _write_synced(probe, b"writable")
                finally:
                    probe.unlink(missing_ok=True)
            return
        self.write(PROBE, b"writable")
        self.delete(PROBE)

    @contextlib.contextmanager
    def _lock(self, folder: Path) -> Iterator[None]:
        """One holder at a time, where the file system can; freed when its holder dies."""
        place = folder.relative_to(self._root)
        path = self._root / _LOCKS / place.parent / f"{place.name}{_OLD_LOCK}"
        with _faults(f"lock {path}", absent_passes=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            with contextlib.suppress(OSError):  # a file system without locks: the last writer wins
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._path(folder)) as entries:
                yield from (entry for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return


def _local_stat(stat: os.stat_result) -> Stat:
    return Stat(stat.st_size, stat.st_mtime_ns, str(stat.st_ino))


def _replace(path: Path, data: pa.Buffer | bytes, beside: Path) -> None:
    beside.mkdir(exist_ok=True)
    for folder in {beside, path.parent}:
        _sweep(folder)
    aside = beside / f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}"
    try:
        _write_synced(aside, data)
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    """Remove what dead writers left."""
    limit_s = time.time() - _STALE_S
    for aside in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(OSError):
            if aside.stat().st_mtime < limit_s:
                aside.unlink()


@contextlib.contextmanager
def _old_lock(folder: Path, *, wait: bool, kept_s: float) -> Iterator[bool]:
    """The lock that older code takes in a folder: held, if there is one, and maybe removed.

    wait: until it is free. kept_s: how old it gets. It stays where a worker of that code has it at
    this moment, since others may queue for it. Yields whether there is one.
    """
    path = folder / _OLD_LOCK
    try:
        file = path.open("r+b")
    except OSError as error:
        yield not isinstance(error, FileNotFoundError)
        return
    with file:
        free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
            if wait:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield True
        if free:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - kept_s:
                    path.unlink()


def _write_synced(path: Path, data: pa.Buffer | bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; not every file system can, and then it need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
