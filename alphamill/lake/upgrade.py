"""A lake of before December 2026 is brought into today's order by the first process that writes.

Until then locks and manifests lay beside the months of bars, where polars, chdb and Daft refuse the
whole folder for them. Nothing that is moved is data: a manifest is a cache of its files' metadata.
So readers need not wait for it. A worker of older code that still runs makes its locks and
manifests anew: its locks are obeyed, and go when they are a day old and the folder is written; its
manifest goes when that of the series is read.
"""

from __future__ import annotations

import contextlib

from alphamill.errors import AlphamillError
from alphamill.lake.files import Files

_DONE = ".layout"  # hidden, so that no listing shows it
_VERSION = b"2\n"
_OLD_MANIFEST = "_manifest.json"  # in the folder of its months


def manifest_key(folder: str) -> str:
    """Where the manifest of the months in a folder lies."""
    return f"manifests/{folder.partition('/')[2]}.json"


def old_manifest_key(folder: str) -> str:
    """Where older code keeps it."""
    return f"{folder}/{_OLD_MANIFEST}"


def upgrade(files: Files) -> None:
    """Bring the lake into order unless that was done.

    Safe to repeat, to be killed in, and to do by several at once. What may not be moved stays, and
    the next writer tries again.
    """
    with contextlib.suppress(AlphamillError):
        if files.stat(_DONE) is not None or not files.sweep():
            return
        for key in files.list("klines"):
            folder, _, name = key.rpartition("/")
            if name == _OLD_MANIFEST:
                move_manifest(files, folder)
        files.write(_DONE, _VERSION)


def move_manifest(files: Files, folder: str) -> None:
    """Put the manifest that lies among the months where it belongs; a newer one there stays."""
    with contextlib.suppress(FileNotFoundError):  # another process has moved it
        data = files.read(old_manifest_key(folder))
        if files.stat(manifest_key(folder)) is None:
            files.write(manifest_key(folder), data)
        files.delete(old_manifest_key(folder))
