"""`python -m workers.kernels`: compile what a live needs, and end.

The compiler keeps 150 MB for good in a process that has used it once. A follower runs for months,
so that another process compiles for it, and it loads the result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from alphamill.kernel_cache import kernel_cache_folder
from alphamill.live.spec import LiveSpec
from alphamill.stack.processes import die_with_parent

_log = logging.getLogger(__name__)
_LONGEST_S = 300.0
_SYMBOLS = 4  # as many symbols' kernels are those of any number


def compile_aside(spec: LiveSpec) -> None:
    """Return once all that a follower of it needs is compiled, or could not be: then it compiles.

    What was compiled once is not looked at again, until the kernels' sources change.
    """
    done = _mark(spec)
    if done.exists():
        return
    message = json.dumps(spec.to_message())
    command = [sys.executable, "-m", "workers.kernels"]
    try:
        subprocess.run(  # noqa: S603  this very program
            command,
            input=message,
            text=True,
            check=True,
            timeout=_LONGEST_S,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,  # only ctypes runs there
        )
        done.touch()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        _log.warning("kernels were not compiled aside: %s", said[-1] if said else error)


def _mark(spec: LiveSpec) -> Path:
    """A file beside the compiled kernels that says that those for these factors are there."""
    asked = json.dumps([sorted(one.expression for one in spec.factors), spec.weighting])
    return kernel_cache_folder() / f"live-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


def main() -> None:
    """Read a LiveSpec's message from standard input; compile for it."""
    from alphamill.live.engine import Engine

    spec = LiveSpec.from_message(json.loads(sys.stdin.read()))
    Engine(replace(spec, symbols=spec.symbols[:_SYMBOLS])).rehearse()


if __name__ == "__main__":
    main()
