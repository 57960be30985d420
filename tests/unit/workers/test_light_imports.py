"""What a process loads: each stage's tools are for those who work its jobs."""

import subprocess
import sys

COMPUTING = ("numba", "llvmlite", "talib", "scipy", "matplotlib")


def loaded(code: str, *names: str) -> list[str]:
    """Those of the modules that are there once a process has run `code`."""
    code = f"import sys; {code}; print(*(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_no_worker_loads_a_compiler_or_a_numerical_library_before_its_first_job():
    """Not even evaluate's, until it computes its first factor; what all children need is there."""
    code = "from workers.app import app; app.loader.import_default_modules()"
    asked = (*COMPUTING, "pandas", "alphamill.stages.verify")
    assert loaded(code, *asked) == ["alphamill.stages.verify"]


def test_planning_and_routing_load_no_stage_no_client_and_no_model():
    """Every command that submits waits for these imports."""
    code = "import celeryconfig, alphamill.flow"
    others = ("requests", "alphamill.market", "alphamill.llm", "alphamill.factors")
    stages = ("alphamill.stages.fetch", "alphamill.stages.propose", "alphamill.stages.verify")
    assert loaded(code, *COMPUTING, *others, *stages) == []


def test_who_follows_or_fetches_has_no_pandas_though_pyarrow_looks_for_it():
    table = "import pyarrow as pa, pyarrow.parquet; pa.table({'close': [1.0]})"
    assert loaded(table, "pandas") == ["pandas"]  # what it is about
    alone = "import workers.memory as m; m.leave_libraries_out()"
    assert loaded(f"{alone}; {table}", "pandas") == []


def test_who_follows_or_fetches_has_no_scipy_though_numba_looks_for_it():
    kernel = (
        "from alphamill.factors.kernels.pointwise import has_infinity; import numpy as np; "
        "has_infinity(np.ones((2, 3)))"
    )
    assert loaded(kernel, "scipy.linalg") == ["scipy.linalg"]
    alone = "import workers.memory as m; m.leave_libraries_out()"
    assert loaded(f"{alone}; {kernel}", "scipy.linalg") == []


def test_a_follower_loads_nothing_of_what_asks_models():
    asking = ("alphamill.llm", "alphamill.stages.registry", "workers.resources", "celery")
    assert loaded("import workers.stream", *asking) == []
