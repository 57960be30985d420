"""An exported file as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_new(path: Path, text: str, force: bool = False) -> None:
    """Write a file that is whole as soon as it is there.

    Raises FileExistsError where there is one and not `force`, and OSError where it cannot be.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        part.chmod(0o644)
        if force:
            part.replace(path)
        else:
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
