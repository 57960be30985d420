"""What a pool loads: the compiler and the indicator library are for those who compute."""

import pkgutil
import subprocess
import sys

import workers

DOORWAYS = sorted(module.name for module in pkgutil.iter_modules(workers.__path__))
HEAVY = ("numba", "llvmlite", "talib", "scipy", "matplotlib")


def test_every_pool_has_its_doorway_among_them():
    assert {"fetch", "features", "evaluate", "llm", "control"} <= set(DOORWAYS)


def test_no_doorway_loads_a_compiler_or_a_numerical_library():
    """Not even evaluate's, until it computes its first factor."""
    imports = "; ".join(f"import workers.{name}" for name in DOORWAYS)
    code = f"import sys; {imports}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
