"""The notebooks of docs/notebooks run from top to bottom and show what they promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadlines import stack_s

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
PLOTS = {"1-from-lake-to-ic": 10, "3-factors-side-by-side": 1, "4-what-a-run-found": 2}
MINED = "4-what-a-run-found"  # whose search goes on from scores: a last digit may turn it
RUN = """if True:
    import sys, nbformat
    from nbclient import NotebookClient
    book = nbformat.read(sys.argv[1], 4)
    NotebookClient(book, timeout=int(sys.argv[2]), kernel_name="python3").execute()
    nbformat.validate(book)
    nbformat.write(book, "executed.ipynb")
"""
# A plot's pixels and a figure's last digit may differ between processors; names and counts may not.
DIGITS = re.compile(r"[-+]?[0-9][0-9,.]*")


def outputs(path: Path) -> list[dict[str, str]]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    found = []
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data") or {output["name"]: output["text"]}
            found.append({kind: "".join(text) for kind, text in data.items()})
    return found


def words(outputs: list[dict[str, str]]) -> list[str]:
    shown = [output.get("text/plain") or output.get("stdout") or "" for output in outputs]
    return [" ".join(DIGITS.sub("0", text).split()) for text in shown]


def test_there_are_four():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_committed(notebook: Path, tmp_path: Path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ALPHAMILL")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(notebook), str(int(stack_s()))],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made, committed = outputs(tmp_path / "executed.ipynb"), outputs(notebook)
    assert [set(one) for one in made] == [set(one) for one in committed]
    assert not any("stderr" in one for one in made)  # nothing warns
    if notebook.stem != MINED:
        assert words(made) == words(committed)
    drawn = sum(one.get("text/html", "").count("data:image/svg+xml") for one in made)
    assert drawn == PLOTS.get(notebook.stem, 0)
