"""What a pool loads: the compiler and the indicator library are for those who compute."""

import subprocess
import sys

HEAVY = ("numba", "llvmlite", "talib", "scipy", "matplotlib")


def test_no_worker_loads_a_compiler_or_a_numerical_library_before_its_first_job():
    """Not even evaluate's, until it computes its first factor; all tasks and stages are there."""
    code = (
        "import sys; from workers.app import app; app.loader.import_default_modules();"
        "assert 'alphamill.stages.verify' in sys.modules;"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
