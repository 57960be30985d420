"""Where compiled kernels are kept; importing this loads no compiler."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_SOURCES = (
    "jit.py",
    "kernel_cache.py",
    "factors/kernels/*.py",
    "indicators/kernels/*.py",
    "bars/kernels/*.py",
)


def kernel_cache_folder() -> Path:
    """A folder of the user's, one for each state of the kernels' sources; it is made.

    Numba looks only at the file of the kernel itself: one that calls a step which has changed in
    another file would go on with the old step.
    """
    try:
        folder = _path()
        folder.mkdir(parents=True, exist_ok=True)
    except (
        OSError,
        RuntimeError,
    ):  # no HOME and no such user, or nowhere to keep it: compiled anew by each process
        folder = Path(tempfile.mkdtemp(prefix="alphamill-kernels-"))
    return folder


def nothing_compiled_yet() -> bool:
    """Whether kernels of this state of their sources have never been compiled for this user."""
    try:
        return next(_path().glob("**/*.nbc"), None) is None
    except (OSError, RuntimeError):
        return True


def _path() -> Path:
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for source in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(source.read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = os.environ.get("NUMBA_CACHE_DIR") or Path(caches) / "alphamill"
    return Path(base) / f"kernels-{digest.hexdigest()[:12]}"
