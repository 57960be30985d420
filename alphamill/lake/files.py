"""Whole files under one root, a local folder or s3://bucket/prefix; writes are all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

SETTING = "ALPHAMILL_LAKE"
PROBE = "_writable"


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

    def sweep(self) -> bool:
        """Remove what older versions of the code left among the data beside tables: their locks,
        and halves of writers that died. False if some is in use, or may not be removed.
        """

    def check(self) -> None:
        """Write and remove a file. Raises Misconfigured, naming the setting and the cure."""
