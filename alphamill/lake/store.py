"""The lake: parquet tables and small texts by key, each written whole or not at all."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alphamill.errors import GiveUp, RetryLater
from alphamill.lake.encoding import layout_of
from alphamill.lake.files import Files, Stat
from alphamill.lake.layout import checked_key
from alphamill.lake.local import LocalFiles
from alphamill.lake.upgrade import upgrade

_OURS = b"alphamill."  # before each key of our own in a file's metadata

Stored = tuple[pa.Table, dict[str, str]]  # a table and its metadata, of one version


class Unreadable(GiveUp):
    """A file that is not the parquet it should be: truncated, damaged, or not written by us."""


class Lake:
    """Tables and texts at `uri`: an absolute path or s3://bucket/prefix.

    A reader sees a whole file or none, also while it is replaced or its writer is killed. Equal
    tables with equal metadata give equal bytes. Raises Misconfigured (no space, no permission),
    RetryLater (a fault that may pass), FileNotFoundError (no such key), ValueError (not a key).
    """

    def __init__(self, uri: str, files: Files | None = None) -> None:
        self.uri = uri
        self._files = files or open_files(uri)
        self._upgraded = False

    def write(self, key: str, table: pa.Table, metadata: Mapping[str, str]) -> None:
        """Write `table` with `metadata` beside its schema."""
        self._to_write().write(checked_key(key), _parquet(table, metadata))

    def update(self, key: str, change: Callable[[Stored | None], Stored | None]) -> None:
        """Replace a table by what `change` makes of it; what others write meanwhile is not lost.

        `change` is given None where there is no file or a damaged one; the file is left as it is
        where it gives None. It may be called several times and must have no effect of its own.
        """

        def changed(before: pa.Buffer | None) -> pa.Buffer | None:
            after = change(self._stored(key, before))
            return None if after is None else _parquet(*after)

        self._to_write().update(checked_key(key), changed)

    def read(self, key: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table, or some of its columns. Raises Unreadable for a damaged file."""
        return self.load(key, columns)[0]

    def load(self, key: str, columns: Sequence[str] | None = None) -> Stored:
        """The table and its metadata, both of one version of the file."""
        if columns is not None:
            # On S3 a file that is replaced meanwhile cannot be read on in parts.
            with contextlib.suppress(RetryLater), self._files.open(checked_key(key)) as source:
                return self._parsed(key, source, columns)
        return self._parsed(key, pa.BufferReader(self._files.read(checked_key(key))), columns)

    def _parsed(
        self, key: str, source: pa.NativeFile, columns: Sequence[str] | None = None
    ) -> Stored:
        try:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            table = file.read(columns=None if columns is None else [*columns])
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.uri, key, error) from error
        return table.replace_schema_metadata(None), _ours(file.schema_arrow)

    def metadata(self, key: str) -> dict[str, str]:
        """What `write` was given beside the table; reads the file's footer."""
        with self._files.open(checked_key(key)) as source:
            try:
                return _ours(pq.read_schema(source))
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(self.uri, key, error) from error

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return self.stat(key) is not None

    def stat(self, key: str) -> Stat | None:
        """The version of the file that is there, or None."""
        return self._files.stat(checked_key(key))

    def list(self, prefix: str) -> builtins.list[str]:
        """Keys under a folder at any depth, sorted; "" is everything."""
        return builtins.list(self.versions(prefix))

    def versions(self, prefix: str) -> dict[str, Stat]:
        """As `list`, with each file's version."""
        return self._files.list(checked_key(prefix.rstrip("/")) if prefix else "")

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        self._files.delete(checked_key(key))

    def write_bytes(self, key: str, data: bytes | pa.Buffer) -> None:
        """Write a small artefact: JSON, a report; or a file that was made on the disk."""
        self._to_write().write(checked_key(key), data)

    def read_bytes(self, key: str) -> bytes:
        """Read a small artefact."""
        return bytes(self._files.read(checked_key(key)))

    def check_writable(self) -> None:
        """Write and remove a file. Raises Misconfigured, naming ALPHAMILL_LAKE and the cure."""
        self._files.check()

    def _to_write(self) -> Files:
        if not self._upgraded:
            self._upgraded = True
            upgrade(self._files)
        return self._files

    def _stored(self, key: str, data: pa.Buffer | None) -> Stored | None:
        try:
            return None if data is None else self._parsed(key, pa.BufferReader(data))
        except Unreadable:
            return None


def _parquet(table: pa.Table, metadata: Mapping[str, str]) -> pa.Buffer:
    layouts = {name: layout_of(table[name]) for name in table.column_names}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks().replace_schema_metadata(_schema_metadata(metadata)),
        sink,
        compression="zstd",
        compression_level={name: layout.level for name, layout in layouts.items()},
        use_dictionary=[name for name, layout in layouts.items() if not layout.encoding] or False,
        column_encoding={name: one.encoding for name, one in layouts.items() if one.encoding},
        write_page_checksum=True,
    )
    return sink.getvalue()


def _unreadable(uri: str, key: str, error: Exception) -> Unreadable:
    return Unreadable(f"{uri}/{key} is damaged ({error}); delete it and fetch it again")


def _ours(schema: pa.Schema) -> dict[str, str]:
    return {
        name.removeprefix(_OURS).decode(): value.decode()
        for name, value in (schema.metadata or {}).items()
        if name.startswith(_OURS)
    }


def _schema_metadata(metadata: Mapping[str, str]) -> dict[bytes, bytes]:
    return {_OURS + name.encode(): metadata[name].encode() for name in sorted(metadata)}


def open_files(uri: str) -> Files:
    """`Files` at an absolute path or s3://bucket/prefix."""
    if not uri.startswith("s3://"):
        return LocalFiles(Path(uri))
    from alphamill.lake.s3 import S3Files  # botocore takes half a second to import

    return S3Files(uri)
