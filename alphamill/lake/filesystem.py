"""Whole files under one root, a local folder or s3://bucket/prefix; writes are all or nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from alphamill.errors import AlphamillError, Misconfigured, RetryLater

SETTING = "ALPHAMILL_LAKE"
PROBE = "_writable"
_TEMPORARY = ".tmp"
_STALE_S = 3600.0  # no write takes an hour: an older temporary file's writer is dead
_NEVER = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR,
                    errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP})  # fmt: skip
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Stat:
    """What tells one version of a file from another without reading it.

    tag: the inode on a disk, the ETag on S3. `written_ms` is UTC epoch milliseconds.
    """

    size_bytes: int
    written_ns: int
    tag: str

    @property
    def written_ms(self) -> int:
        """When this version was written."""
        return self.written_ns // 1_000_000


class Files(Protocol):
    """Whole files by key. A missing one raises FileNotFoundError; other faults AlphamillError."""

    def read(self, key: str) -> pa.Buffer:
        """The file's bytes, all of one version."""

    def open(self, key: str) -> pa.NativeFile:
        """One version of the file, for reading parts of it."""

    def write(self, key: str, data: pa.Buffer | bytes) -> None:
        """Put the whole file in place, or leave what was there."""

    def update(self, key: str, change: Callable[[pa.Buffer | None], pa.Buffer | None]) -> None:
        """Replace the file by what `change` makes of it (None: of no file); None leaves it.

        What another worker writes in between is not lost: `change` is then called again, with
        that. It must have no effect of its own.
        """

    def stat(self, key: str) -> Stat | None:
        """The file's version, or None."""

    def list(self, prefix: str) -> dict[str, Stat]:
        """All files under a folder at any depth, without temporary and hidden ones."""

    def delete(self, key: str) -> None:
        """Remove the file, if it is there."""

    def check(self) -> None:
        """Write and remove a file. Raises Misconfigured, naming the setting and the cure."""


def open_files(uri: str) -> Files:
    """`Files` at an absolute path or s3://bucket/prefix."""
    if not uri.startswith("s3://"):
        return LocalFiles(Path(uri))
    from alphamill.lake.s3 import S3Files  # botocore takes half a second to import

    return S3Files(uri)


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
    """A folder. Files are written aside under a hidden name, synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str) -> pa.Buffer:
        path = self._root / key
        with _faults(f"read {path}"):
            return pa.py_buffer(path.read_bytes())

    def open(self, key: str) -> pa.NativeFile:
        with _faults(f"read {self._root / key}"):
            return pa.OSFile(str(self._root / key))

    def write(self, key: str, data: pa.Buffer | bytes) -> None:
        path = self._root / key
        with _faults(f"write {path}", absent_passes=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(path.parent)
            aside = path.parent / f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}"
            try:
                _write_synced(aside, data)
                aside.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    aside.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def stat(self, key: str) -> Stat | None:
        with _faults(f"read {self._root / key}"):
            try:
                return _local_stat((self._root / key).stat())
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> dict[str, Stat]:
        found: dict[str, Stat] = {}
        with _faults(f"list {self._root / prefix}"):
            folders = [prefix.strip("/")]
            while folders:
                folder = folders.pop()
                for entry in self._entries(folder):
                    key = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir():
                        folders.append(key)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # replaced or deleted meanwhile
                        found[key] = _local_stat(entry.stat())
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        with _faults(f"delete {self._root / key}"):
            (self._root / key).unlink(missing_ok=True)

    def update(self, key: str, change: Callable[[pa.Buffer | None], pa.Buffer | None]) -> None:
        with self._lock((self._root / key).parent):
            try:
                before: pa.Buffer | None = self.read(key)
            except FileNotFoundError:
                before = None
            after = change(before)
            if after is not None and (before is None or not after.equals(before)):
                self.write(key, after)

    def check(self) -> None:
        self.write(PROBE, b"writable")
        self.delete(PROBE)

    @contextlib.contextmanager
    def _lock(self, folder: Path) -> Iterator[None]:
        """One holder at a time, where the file system can; freed when its holder dies."""
        path = folder / ".lock"
        with _faults(f"lock {path}", absent_passes=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        with file:
            with contextlib.suppress(OSError):  # a file system without locks: the last writer wins
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                yield from (entry for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return

    @staticmethod
    def _sweep(folder: Path) -> None:
        """Remove what dead writers left."""
        limit_s = time.time() - _STALE_S
        for aside in folder.glob(f".*{_TEMPORARY}"):
            with contextlib.suppress(OSError):
                if aside.stat().st_mtime < limit_s:
                    aside.unlink()


def _local_stat(stat: os.stat_result) -> Stat:
    return Stat(stat.st_size, stat.st_mtime_ns, str(stat.st_ino))


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
