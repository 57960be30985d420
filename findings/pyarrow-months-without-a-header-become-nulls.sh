#!/usr/bin/env bash
# pyarrow 26.0.1, polars 2.1.0, duckdb 2.0.1
#
# Expected: a folder of monthly CSV files of which some begin with a line of names and some do not, as an exchange's
# public archive has them, is refused by whoever reads it as one table, since the names differ.
#
# Happens: polars and DuckDB refuse it. A pyarrow dataset does not: it takes the names of the first file, and of every
# other the first line for names. A month without a header loses its first bar, and all others come out as rows of
# nulls, without an error or a warning. The other way round, where the first file has no header, its first bar becomes
# the names of the columns; and of a later month without a header those columns that happen to begin with the same
# number are filled and the others null, so that a row is a mixture. How many rows there are is off by one a file
# only, and a mean over a column skips nulls: neither a count nor a statistic looks wrong.
#
# output seen:
#   pyarrow 26.0.1, polars 2.1.0, duckdb 2.0.1
#   with a header first: 5 of 6 bars, of which 2 are nulls throughout
#   without one first: 4 of 6 bars, under the names 1635724800000 100.5 101.0 100.0 100.75 10.25
#     open_time known in 2, "100.5" in 4
#   polars refuses: True; DuckDB refuses: True
#
# Do instead: read such files one by one with column_names, and skip_rows where the first byte is no digit.
#
# Known in part: that the schema of a dataset is that of its first file, and that a missing column is null, is
# documented; that the first bar of every file is eaten with it is not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds

print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyarrow", "polars", "duckdb")))
NAMES = "open_time,open,high,low,close,volume"


def month(path, start_ms, header):
    lines = [
        f"{start_ms + 60_000 * bar},{100 + bar}.5,{101 + bar}.0,{100 + bar}.0,{100 + bar}.75,{10 + bar}.25"
        for bar in range(3)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([NAMES, *lines] if header else lines) + "\n")


month(Path("named/BTCUSDT-1m-2021-11.csv"), 1_635_724_800_000, header=True)
month(Path("named/BTCUSDT-1m-2021-12.csv"), 1_638_316_800_000, header=False)
month(Path("plain/BTCUSDT-1m-2021-11.csv"), 1_635_724_800_000, header=False)
month(Path("plain/BTCUSDT-1m-2021-12.csv"), 1_638_316_800_000, header=False)

named = ds.dataset("named", format="csv").to_table().to_pylist()
nulls = sum(all(value is None for value in row.values()) for row in named)
print(f"with a header first: {len(named)} of 6 bars, of which {nulls} are nulls throughout")

plain = ds.dataset("plain", format="csv").to_table()
known = [plain.num_rows - column.null_count for column in plain.columns[:2]]
print(f"without one first: {plain.num_rows} of 6 bars, under the names {' '.join(plain.column_names)}")
print(f'  open_time known in {known[0]}, "100.5" in {known[1]}')


def refuses(read):
    try:
        read()
    except Exception:
        return True
    return False


polars = refuses(lambda: pl.scan_csv("named/*.csv").collect())
duck = refuses(lambda: duckdb.sql("FROM read_csv('named/*.csv')").fetchall())
print(f"polars refuses: {polars}; DuckDB refuses: {duck}")
same = (len(named), nulls, plain.num_rows, known, polars, duck) == (5, 2, 4, [2, 4], True, True)
raise SystemExit(0 if same else "no longer as described above")
PY
