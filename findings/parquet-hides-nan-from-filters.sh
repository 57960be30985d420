#!/usr/bin/env bash
# pyarrow 26.0.1, duckdb 2.0.1
#
# Expected: a filter gives the same rows whether it is applied while a parquet file is read or afterwards. The
# parquet format keeps NaN out of a column's minimum and maximum, and tells readers to leave both aside when NaN
# values are sought. pyarrow documents is_nan() and is_null(nan_is_null=True) for such filters. DuckDB has isnan(),
# and counts NaN as greater than every number.
#
# Happens: both readers take minimum and maximum for the whole truth. pyarrow: of a row group of [50, 50, 50, NaN]
# it concludes that every value is 50 and skips it; is_null(nan_is_null=True) finds nothing at all. DuckDB: isnan()
# finds nothing, NOT isnan() returns every row, NaN included, and > and <> lose the NaN of skipped row groups. So a
# check of a factor's warm-up ("which rows have no value?") comes back empty. Outside WHERE the same DuckDB counts
# them rightly.
#
# output seen:
#   pyarrow 26.0.1, duckdb 2.0.1
#   rsi, in row groups of four: [70.0, 30.0, 45.0, nan] [50.0, 50.0, 50.0, nan]
#   rows that pass                     in memory           while reading
#   pyarrow is_nan                     [3, 7]              [3]
#   pyarrow is_null(nan_is_null=True)  [3, 7]              []
#   pyarrow != 50                      [0, 1, 2, 3, 7]     [0, 1, 2, 3]
#   DuckDB isnan(rsi)                  [3, 7]              []
#   DuckDB NOT isnan(rsi)              [0, 1, 2, 4, 5, 6]  [0, 1, 2, 3, 4, 5, 6, 7]
#   DuckDB rsi > 80                    [3, 7]              []
#   DuckDB rsi <> 50                   [0, 1, 2, 3, 7]     [0, 1, 2, 3]
#   DuckDB, count(*) FILTER (WHERE isnan(rsi)) and max(rsi): 2 nan
#   cured (pyarrow: a file without statistics; DuckDB: can_have_nan): [3, 7] [3, 7]
#
# Do instead: store missing values as null, not NaN (pandas' to_parquet does); or write float columns without
# statistics (write_statistics=[names of the others]); or read first and filter afterwards. DuckDB alone:
# read_parquet(..., can_have_nan=true).
#
# Known: apache/arrow#34162 (open since 2023), duckdb/duckdb#25521 (open).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check pyarrow==26.0.1 duckdb==2.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

print(f"pyarrow {pa.__version__}, duckdb {duckdb.__version__}")
nan = float("nan")
groups = [[70.0, 30.0, 45.0, nan], [50.0, 50.0, 50.0, nan]]
table = pa.table({"row": range(8), "rsi": sum(groups, [])})
pq.write_table(table, "rsi.parquet", row_group_size=4)
pq.write_table(table, "bare.parquet", row_group_size=4, write_statistics=["row"])
print("rsi, in row groups of four:", *groups)
print(f"{'rows that pass':34} {'in memory':19} while reading")

connection = duckdb.connect(config={"threads": 1})
connection.sql("CREATE TABLE rsi AS FROM 'rsi.parquet'")


def arrow(source, expression):
    return sorted(ds.dataset(source).to_table(filter=expression)["row"].to_pylist())


def duck(source, condition):
    return [row for (row,) in connection.sql(f"SELECT row FROM {source} WHERE {condition} ORDER BY row").fetchall()]


rsi = ds.field("rsi")
found = {}
for name, expression in {
    "is_nan": rsi.is_nan(),
    "is_null(nan_is_null=True)": rsi.is_null(nan_is_null=True),
    "!= 50": rsi != 50.0,
}.items():
    found["pyarrow " + name] = sorted(table.filter(expression)["row"].to_pylist()), arrow("rsi.parquet", expression)
for condition in ("isnan(rsi)", "NOT isnan(rsi)", "rsi > 80", "rsi <> 50"):
    found["DuckDB " + condition] = duck("rsi", condition), duck("'rsi.parquet'", condition)
for name, (memory, reading) in found.items():
    print(f"{name:34} {memory!s:19} {reading}")
count = connection.sql("SELECT count(*) FILTER (WHERE isnan(rsi)), max(rsi) FROM 'rsi.parquet'").fetchall()[0]
print("DuckDB, count(*) FILTER (WHERE isnan(rsi)) and max(rsi):", *count)
cured = arrow("bare.parquet", rsi.is_nan()), duck("read_parquet('rsi.parquet', can_have_nan=true)", "isnan(rsi)")
print("cured (pyarrow: a file without statistics; DuckDB: can_have_nan):", *cured)

same = list(found.values()) == [
    ([3, 7], [3]),
    ([3, 7], []),
    ([0, 1, 2, 3, 7], [0, 1, 2, 3]),
    ([3, 7], []),
    ([0, 1, 2, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7]),
    ([3, 7], []),
    ([0, 1, 2, 3, 7], [0, 1, 2, 3]),
] and count[0] == 2 and cured == ([3, 7], [3, 7])
raise SystemExit(0 if same else "no longer as described above")
PY
