"""Every benchmark, one after another, and one table of what each measured.

Run: python benchmarks/table.py [NAME ...] [--short] [--older COMMIT|FOLDER] [--out FILE]
[--than FILE]. NAME: files of this folder, without .py; all by default. What they print goes through
to the terminal; at the end stands the table, what was missed in it first, and the same in FILE
(build/bench.json) with the commit, the machine and the load, for a later change to be held against:
--than FILE prints what moved by more than a tenth since. --older: what ratios to an older build are
measured against, a commit that is checked out and installed below build/older once. Ends with 1 if
a benchmark failed or missed what it was aimed at.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import FILE, MISSED, Figure

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
OWN = {"figures", "table"}
MOVED_FRAC = 0.1


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OWN)


def older_build(commit: str) -> Path:
    """A checkout of that commit with an environment of its own; made once, in some minutes."""
    folder = PROJECT / "build" / "older" / commit
    done = folder / ".venv" / "installed"
    if done.exists():
        return folder
    print(f"{commit} is installed into {folder.relative_to(PROJECT)} ...", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    tree = subprocess.run(
        ["git", "archive", commit], cwd=PROJECT, check=False, stdout=subprocess.PIPE
    )
    if tree.returncode:
        sys.exit(
            f"there is no commit {commit} in this clone: fetch the whole history, or give a "
            "folder to --older"
        )
    subprocess.run(["tar", "-x"], cwd=folder, input=tree.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=folder, check=True)
    pip = [".venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", ".[dev]"], cwd=folder, check=True)
    done.touch()
    return folder


def run(name: str, *, short: bool, older: Path | None) -> tuple[dict[str, Any], list[Figure]]:
    """One benchmark in a process of its own: how it went, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "figures"
        around = os.environ | {FILE: str(told)} | ({"BENCH_OLDER": str(older)} if older else {})
        command = [sys.executable, str(HERE / f"{name}.py"), *(["--short"] if short else [])]
        load, start_s = os.getloadavg()[0], time.monotonic()
        code = subprocess.run(command, env=around, cwd=PROJECT, check=False).returncode
        lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
        figures = [Figure(**json.loads(line)) for line in lines]
    went = {"exit_code": code, "wall_s": round(time.monotonic() - start_s, 1), "load": load}
    return went, figures


def git(*command: str) -> str:
    """Nothing where this is no clone."""
    found = subprocess.run(["git", *command], cwd=PROJECT, check=False, stdout=subprocess.PIPE)
    return found.stdout.decode().strip()


def processor() -> str:
    """Its maker's name for it, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def machine() -> dict[str, Any]:
    return {
        "commit": git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else ""),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def written(figure: Figure) -> dict[str, Any]:
    beside = dict(figure.beside)
    return {
        "what": figure.what,
        "value": figure.value,
        "unit": figure.unit,
        "at_least": figure.at_least,
        "at_most": figure.at_most,
        "met": figure.met,
        "beside": beside,
    }


def show(found: dict[str, Any]) -> None:
    """The table, what was missed first."""
    rows = [(name, row) for name, one in found["benchmarks"].items() for row in one["figures"]]
    rows.sort(key=lambda row: (row[1]["met"] is not False, row[1]["met"] is None))
    words = {True: "met", False: "MISSED", None: ""}
    for name, row in rows:
        figure = Figure(**{key: value for key, value in row.items() if key != "met"})
        met = "" if found["short"] else words[row["met"]]
        print(f"{met:6}  {name:20}  {figure}{figure.target and f'; asked: {figure.target}'}")
    for name, one in found["benchmarks"].items():
        if one["exit_code"] not in (0, MISSED):
            print(f"FAILED  {name:20}  ended with {one['exit_code']}")
        elif not one["figures"]:
            print(f"SILENT  {name:20}  told no figure")


def moved(found: dict[str, Any], before: dict[str, Any]) -> None:
    """What is a tenth or more away from what a file of before says."""
    print(f"since {before['commit'][:12]} of {before['date']}:")
    for name, one in found["benchmarks"].items():
        then = {row["what"]: row["value"] for row in before["benchmarks"].get(name, one)["figures"]}
        for row in one["figures"]:
            was = then.get(row["what"], row["value"])
            if abs(row["value"] - was) > MOVED_FRAC * abs(was):
                print(f"  {name:20}  {row['what']}: {was:.4g} then, {row['value']:.4g} now")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", default=names())
    parser.add_argument("--short", action="store_true", help="each one's short form")
    parser.add_argument("--older", metavar="COMMIT|FOLDER")
    parser.add_argument("--out", type=Path, default=PROJECT / "build" / "bench.json")
    parser.add_argument("--than", type=Path, help="a table of before")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names()):
        parser.error(
            f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(names())}"
        )
    before = json.loads(given.than.read_text(encoding="utf-8")) if given.than else None
    older = None
    if given.older:
        older = Path(given.older) if Path(given.older).is_dir() else older_build(given.older)
    found: dict[str, Any] = {**machine(), "short": given.short, "benchmarks": {}}
    for name in given.names:
        print(f"== {name}", flush=True)
        went, figures = run(name, short=given.short, older=older and older.resolve())
        found["benchmarks"][name] = {**went, "figures": [written(figure) for figure in figures]}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("==")
    show(found)
    if before:
        moved(found, before)
    return int(any(one["exit_code"] for one in found["benchmarks"].values()))


if __name__ == "__main__":
    sys.exit(main())
