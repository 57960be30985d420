#!/usr/bin/env bash
# duckdb 2.0.1
#
# Expected: a time loses what its type cannot hold. DuckDB's page on timestamp types (2.0) says that decimal places
# beyond the supported precision are ignored, and its example cuts .123456789 down to .123 for TIMESTAMP_MS.
#
# Happens: they are rounded (the example's digits round down, so it does not show). Binance's spot archive is in
# microseconds from 2025 on, and a bar's close time ends in 999999: one microsecond before the next bar. As
# TIMESTAMP_MS or TIMESTAMP_S, by a cast, a literal or an INSERT, a day's last bar closes on the next day, and every
# bar closes in the millisecond in which its successor opens. epoch_ms() rounds too, so it is one off the
# close time in milliseconds that the API gives for the same bar, and a join on it finds nothing. date_trunc() cuts.
#
# output seen:
#   duckdb 2.0.1
#   close time in the archive       2025-01-01 23:59:59.999999
#   cast to TIMESTAMP_MS            2025-01-02 00:00:00
#   cast to TIMESTAMP_S             2025-01-02 00:00:00
#   literal TIMESTAMP_MS            2025-01-02 00:00:00
#   inserted into TIMESTAMP_MS      2025-01-02 00:00:00
#   its day before and after        2025-01-01 2025-01-02
#   epoch_ms(), and the API's value 1735776000000 1735775999999
#   date_trunc('milliseconds')      2025-01-01 23:59:59.999000
#   bars by day of close, 2 days of 1m bars: [2025-01-01: 1439, 2025-01-02: 1440, 2025-01-03: 1]
#
# Do instead: make_timestamp_ms(close_time // 1000) from the integers, or date_trunc('milliseconds', ...) before any
# cast; group bars by their opening time.
#
# The rounding is wanted (duckdb/duckdb#12011, merged in 2024, as PostgreSQL does); the page still says otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check duckdb==2.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import duckdb

print("duckdb", duckdb.__version__)
connection = duckdb.connect(config={"threads": 1})


def ask(expression):
    return connection.sql(f"SELECT {expression}").fetchall()[0][0]


archive = "make_timestamp(1735775999999999)"
connection.sql("CREATE TABLE bars (close_time TIMESTAMP_MS)")
connection.sql(f"INSERT INTO bars SELECT {archive}")
seen = {
    "close time in the archive": str(ask(archive)),
    "cast to TIMESTAMP_MS": str(ask(f"{archive}::TIMESTAMP_MS")),
    "cast to TIMESTAMP_S": str(ask(f"{archive}::TIMESTAMP_S")),
    "literal TIMESTAMP_MS": str(ask("TIMESTAMP_MS '2025-01-01 23:59:59.999999'")),
    "inserted into TIMESTAMP_MS": str(connection.sql("FROM bars").fetchall()[0][0]),
    "its day before and after": f"{ask(f'{archive}::DATE')} {ask(f'{archive}::TIMESTAMP_MS::DATE')}",
    "epoch_ms(), and the API's value": f"{ask(f'epoch_ms({archive})')} 1735775999999",
    "date_trunc('milliseconds')": str(ask(f"date_trunc('milliseconds', {archive})")),
}
for what, value in seen.items():
    print(f"{what:31} {value}")
days = connection.sql(
    """
    SELECT make_timestamp(1735689600000000 + i * 60000000 + 59999999)::TIMESTAMP_MS::DATE AS day, count(*)
    FROM range(2 * 1440) minutes(i) GROUP BY day ORDER BY day
    """
).fetchall()
print("bars by day of close, 2 days of 1m bars: [" + ", ".join(f"{day}: {bars}" for day, bars in days) + "]")

same = list(seen.values()) == [
    "2025-01-01 23:59:59.999999",
    "2025-01-02 00:00:00",
    "2025-01-02 00:00:00",
    "2025-01-02 00:00:00",
    "2025-01-02 00:00:00",
    "2025-01-01 2025-01-02",
    "1735776000000 1735775999999",
    "2025-01-01 23:59:59.999000",
] and [bars for _, bars in days] == [1439, 1440, 1]
raise SystemExit(0 if same else "no longer as described above")
PY
