"""The wheel in an environment of its own: the command works from any folder, its data included."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deadlines import work_s

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("alphamill", "workers", "producers")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def run(
    command: Sequence[str], cwd: Path = REPOSITORY, **options
) -> subprocess.CompletedProcess[str]:
    """The command, ended, with what it said."""
    kept = {"capture_output": True, "text": True, "timeout": work_s(), **options}
    return subprocess.run(command, cwd=cwd, check=False, **kept)


def project_files(*folders: str) -> list[str]:
    """What belongs to the project, also what is not committed yet; skips without git."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders)
    listed = run(listing)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = filter(None, listed.stdout.split("\0"))
    return sorted({name for name in names if (REPOSITORY / name).is_file()})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built aside so that the checkout stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in project_files():
        if not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    built = run((*PIP, "wheel", "--no-deps", "--wheel-dir", str(target), str(source)))
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("no package index to take setuptools from")
    assert built.returncode == 0, built.stderr[-2000:]
    (found,) = target.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of a new environment: our wheel, and the dependencies of this one."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    there = ("--python", str(place / "bin" / "python"))
    done = run((*PIP, *there, "install", "--no-deps", "--no-index", str(wheel)))
    assert done.returncode == 0, done.stderr
    # A .pth file of a folder that a .pth file adds is not read: the editable install stays away.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def call(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(folder)}
    return run([str(installed / words[0]), *words[1:]], folder, env=environment)


def test_every_file_that_is_not_python_is_in_the_wheel(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert set(project_files(*PACKAGES)) - packed == set()
    for kind in (".lua", ".txt", ".toml", ".css", "py.typed"):
        assert any(name.endswith(kind) for name in packed), kind
    assert "celeryconfig.py" in packed


def test_it_is_this_wheel_that_runs(installed, tmp_path):
    asked = "import alphamill, celeryconfig, producers, workers.app as w; " + (
        "print(*(m.__file__ for m in (alphamill, celeryconfig, producers, w)), sep='\\n')"
    )
    told = call(installed, tmp_path, "python", "-c", asked)
    assert told.returncode == 0, told.stderr
    for path in told.stdout.split():
        assert path.startswith(str(installed.parent)), path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("alphamill", "--help"), "alphamill demo"),
        (("alphamill", "operators"), "ts_zscore"),
        (("alphamill", "sim", "llm", "--help"), "--requests-per-minute"),
        (("alphamill", "models"), "gpt-4.1-mini"),
        (("alphamill", "mine", "--help"), "--budget-usd"),
        (("python", "-m", "producers.mine", "--help"), "--budget-usd"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_command_works_from_another_folder(installed, tmp_path, words, expected):
    told = call(installed, tmp_path, *words)
    assert told.returncode == 0, told.stderr
    assert expected in told.stdout
    assert "Traceback" not in told.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is written by asking"


def test_what_is_read_from_the_packages_is_there(installed, tmp_path):
    """Scripts, prices, prompts and the page's style, each through the code that reads it."""
    program = """
import fakeredis
from alphamill.ledger import RedisLedger
from alphamill.limits import RedisLimiter
from alphamill.llm.prices import PriceTable
from alphamill.llm.journal.redis import RedisJournal
from alphamill.settings import LedgerSettings
from alphamill.usage import RedisUsage
import alphamill.llm.prompts
from alphamill.frames import Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.report.page import RunPage, render
client = fakeredis.FakeRedis()
for build in (RedisLimiter, RedisJournal, RedisUsage):
    build(client)
RedisLedger(client, LedgerSettings()).open_run("fetch-1", "fetch", {})
spec = RunSpec(RunKind.MINE, "lake", Market.SPOT, (), (), 0, 1)
assert "</html>" in render(RunPage("mine-1", spec))
assert "gpt-4.1" in PriceTable.shipped()
print("all there")
"""
    told = call(installed, tmp_path, "python", "-c", program)
    assert told.stdout == "all there\n", told.stderr


def test_the_script_table_names_what_exists():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"alphamill": "producers.cli:main"}


@pytest.mark.parametrize("name", ["fetch", "features", "mine", "evaluate"])
def test_a_producer_is_the_same_as_a_module(name):
    told = run([sys.executable, "-m", f"producers.{name}", "--help"])
    assert told.returncode == 0, told.stderr
    assert "--interval" in told.stdout
