"""Every folder of the lake is read by every reader of docs/data.md, by the lines that stand there.

pandas, polars and DuckDB come with `pip install -e '.[dev]'`. chdb is 530 MB when it is installed,
and Spark needs Java, so both are asked for by name:

    pip install -e '.[engines]'
    python -m venv spark35 && spark35/bin/pip install pyspark==3.5.* pandas pyarrow setuptools
    python -m venv spark4 && spark4/bin/pip install 'pyspark>=4.3' pandas pyarrow
    SPARK_PYTHONS=$PWD/spark35/bin/python:$PWD/spark4/bin/python pytest -m engines tests/acceptance
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphamill.bars import BARS, FLOW
from alphamill.clock import ManualClock
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.frames import PRICES, Interval, Market, Month
from alphamill.jobs import Combination, RunKind
from alphamill.lake import (
    FundingSeries,
    IndexSeries,
    Lake,
    MarkSeries,
    MetricsSeries,
    MonthFacts,
    PremiumSeries,
    Series,
    bar_change,
    manifest,
    record_corrections,
    stated_in,
    update_partition,
)
from alphamill.lake.days import DaySeries
from alphamill.market.funding.parse import funding_table
from alphamill.market.metrics.labels import VALUES, metrics_table
from alphamill.runs.library import Moment, admit, look_up
from alphamill.stages.kept_trades import AGG_TRADES
from alphamill.testing import FakeFunding, klines_at, put_klines, random_klines, work_market
from alphamill.universe.daily import read_daily
from alphamill.universe.master_list import Listed
from alphamill.universe.snapshots import MasterList, write_master_list
from tests.deadlines import work_s
from tests.unit.test_docs_data import publish_live

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
H1 = Interval.H1
Rows = list[tuple[Any, ...]]


def lines(heading: str) -> dict[str, str]:
    """Reader -> the code of its line, of the page's table whose second column has that heading."""
    rows = PAGE.split(f"| {heading} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    cells = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows]
    return {reader: code.strip("`") for reader, code, *_ in cells}


ALL_OF, SOME_OF = lines("all of a folder | to mind"), lines("some rows of a folder")


def documented() -> list[str]:
    """The tree's keys of parquet files."""
    tree = PAGE.split("```")[1].strip().splitlines()
    return [key for line in tree if (key := line.split()[0]).endswith(".parquet")]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A futures run from fetch to verdict, given expressions, and bars of every kind of name."""
    home = tmp_path_factory.mktemp("readers")
    market = ControlMarket(seed=11, n_symbols=3, n_bars=640, ragged=False)
    times = np.arange(market.start_ms, market.end_ms + 60_000, 8 * H1.ms)
    settled = funding_table(times, np.linspace(-1e-4, 1e-4, len(times)))
    clock = ManualClock(market.end_ms + 86_400_000)
    funding = FakeFunding(clock, dict.fromkeys(market.symbols, settled))
    run = work_market(
        home / "lake",
        market,
        Search(rounds=2, candidates=3),
        market=Market.USD_M,
        mill={"indicators": True, "funding": funding},
    )
    assert run.dead == []
    assert run.published.factors
    given = replace(run.spec, kind=RunKind.EVALUATE, expressions=("rank(close)", "nonsense("))
    run.mill.work(given)
    weighed = Combination(("equal",), 2 * 86_400_000, 4 * 86_400_000, draws=0)
    combined = replace(run.spec, kind=RunKind.COMBINE, combination=weighed)
    run.mill.work(replace(combined, expressions=("-returns", "rank(-volume)")))
    told = replace(run.spec, salt="told")
    admit(run.lake, run.spec, H1, run.published.factors)
    assert look_up(run.lake, told, H1, Moment.START)
    more_bars(run.lake)
    publish_live(run.lake)
    here = Path.cwd()
    os.chdir(home)
    try:
        yield run.lake
    finally:
        os.chdir(here)


def more_bars(lake: Lake) -> None:
    for symbol in ("1INCHUSDT", "BTCUSDT", "币安人生USDT"):
        for interval in (Interval.M1, Interval.D1, Interval.D3):
            put_klines(lake, symbol, random_klines(40, interval=interval), interval=interval)
    months = [Month(2021, n).start_ms for n in (1, 2, 3)]
    put_klines(lake, "1000SHIBUSDT", klines_at(months, Interval.MO1), interval=Interval.MO1)
    series = Series(Market.SPOT, "1INCHUSDT", Interval.D1)
    record_corrections(
        lake, series, Month(2021, 1), [bar_change(months[0], appeared=True)], 5, "rest"
    )
    manifest(lake, series.market, series.symbol, series.interval)
    beside_bars(lake, Month(2021, 1))
    made_of_trades(lake, Month(2021, 1))
    read_daily(lake, Market.SPOT, ["BTCUSDT", "币安人生USDT"], months[0], months[2])
    known = [
        Listed("BTCUSDT", "BTC", "USDT", "TRADING", first=Month(2017, 8), last_day_ms=months[0]),
        Listed("币安人生USDT", "币安人生", "USDT", ""),
    ]
    write_master_list(lake, MasterList(Market.SPOT, date(2026, 12, 1), tuple(known)))


def beside_bars(lake: Lake, month: Month) -> None:
    """What futures have beside their bars, holes among it, and changes to each kind."""
    opens = np.arange(month.start_ms, month.start_ms + H1.ms, 300_000)
    metrics = metrics_table(opens, dict.fromkeys(VALUES, np.linspace(-0.5, 5.0, len(opens))))
    prices = klines_at([month.start_ms, month.start_ms + H1.ms]).select(PRICES.names)
    for symbol in ("BTCUSDT", "币安人生USDT"):
        found = {
            MetricsSeries(Market.USD_M, symbol): metrics,
            **{
                kind(Market.USD_M, symbol, H1): prices
                for kind in (PremiumSeries, MarkSeries, IndexSeries)
            },
        }
        for series, table in found.items():
            stored = table, MonthFacts("archive-daily", month.range)
            update_partition(lake, series, month, lambda _, stored=stored: stored)
        for changed in (*found, FundingSeries(Market.USD_M, symbol)):
            change = bar_change(month.start_ms, appeared=True)
            record_corrections(lake, changed, month, [change], 5, "rest")


FLOW_OF_BARS = pa.schema(
    [BARS.field("open_time"), *(pa.field(name, pa.float64()) for name in FLOW)]
)


def made_of_trades(lake: Lake, month: Month) -> None:
    """Bars of rules and trades, a file a day, with what they may lack."""
    for days, schema in (
        (DaySeries.bars(Market.SPOT, "1000t", "BTCUSDT"), BARS),
        (DaySeries.bars(Market.SPOT, "1e6$", "币安人生USDT"), BARS),
        (DaySeries.flow(Market.SPOT, Interval.M1, "BTCUSDT"), FLOW_OF_BARS),
        (DaySeries.flow(Market.SPOT, Interval.H1, "BTCUSDT"), FLOW_OF_BARS),
        (DaySeries.trades(Market.SPOT, "aggTrades", "BTCUSDT"), AGG_TRADES),
        (DaySeries.trades(Market.SPOT, "aggTrades", "ETHUSDT"), AGG_TRADES),
    ):
        for day in (0, 1):
            lake.write(days.key(month.start_ms + 86_400_000 * day), rows_of(schema), {})


def rows_of(schema: pa.Schema) -> pa.Table:
    """Three rows of it, of which the second lacks what may be lacking."""

    def values(field: pa.Field) -> list[Any]:
        kind = field.type
        if pa.types.is_timestamp(kind):
            found: list[Any] = [datetime(2021, 1, n, 1, 2, 3, 456, tzinfo=UTC) for n in (1, 2, 3)]
        elif pa.types.is_boolean(kind):
            found = [True, False, True]
        else:
            found = [n / 8 for n in (1, 3, 5)] if pa.types.is_floating(kind) else [1, 2**53 - 1, 3]
        return [found[0], None if field.nullable else found[1], found[2]]

    return pa.table([pa.array(values(field), field.type) for field in schema], schema=schema)


def table_of(key: str) -> str:
    """The folder that holds one table: `klines`, `runs/run=ID/trials`, or a file of a run's own."""
    return "/".join(key.split("/")[: 3 if key.startswith("runs/") else 1])


def folders(lake: Lake) -> list[str]:
    """Every table of the tree, every folder that has files of it, and a file of each."""
    keys = [key for key in lake.list("") if key.endswith(".parquet")]
    written = {re.sub(r"run=[^/]+", "run=ID", table_of(key)) for key in keys}
    assert written == {table_of(key) for key in documented()}
    found: dict[str, None] = {}
    for key in keys:
        folder = key.rpartition("/")[0]
        if "/panel/" in key:  # a file is one field: together they are no table
            found |= {} if any(one.startswith(f"{folder}/") for one in found) else {key: None}
        elif folder not in found and table_of(key) != key:
            found |= dict.fromkeys([table_of(key), folder, key])
        else:
            found |= {key: None} if table_of(key) == key else {}
    return list(found)


def value(of: Any) -> Any:
    """One spelling of a value of any reader; numbers to the last bit, NaN only as nothing."""
    if of is None or of is pd.NaT or (isinstance(of, float) and math.isnan(of)):
        return None
    if isinstance(of, datetime):
        return (of if of.tzinfo else of.replace(tzinfo=UTC)).timestamp().hex()
    if isinstance(of, bool | np.bool_ | int | float | np.number):
        return float(of).hex()
    return [value(one) for one in of] if isinstance(of, list | tuple | np.ndarray) else str(of)


def in_order(table: pa.Table, names: Iterable[str]) -> Rows:
    columns = [[value(one) for one in table[name].to_pylist()] for name in names]
    return sorted(zip(*columns, strict=True), key=repr)


def as_we_read(lake: Lake, folder: str) -> tuple[list[str], Rows]:
    """The names and rows of a folder: the files', and what the path below it states."""
    keys = [folder] if folder.endswith(".parquet") else lake.list(folder)
    tables = []
    for key in keys:
        if not key.endswith(".parquet"):
            continue
        table = lake.read(key)
        inside = key.removeprefix(folder) if key != folder else ""
        for name, stated in stated_in(inside.strip("/")).items():
            assert name not in table.column_names, f"{key} has the column {name} of its path"
            number = name in ("round", "year")
            table = table.append_column(
                name, pa.array([int(stated) if number else stated] * len(table))
            )
        tables.append(table)
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.column_names, in_order(whole, whole.column_names)


def evaluated(code: str, **names: Any) -> Any:
    """What a line of the page gives, with its library by the name that it has there."""
    return eval(code, names)  # noqa: S307  the page is ours


def read_by_pandas(code: str) -> pa.Table:
    frame = evaluated(code, pd=pd)
    return pa.Table.from_pandas(undivided(frame))


def undivided(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns that a path states as plain ones."""
    stated = frame.select_dtypes("category")
    return frame.astype({name: stated[name].cat.categories.dtype for name in stated})


def read_by_polars(code: str) -> pa.Table:
    return evaluated(code, pl=import_module("polars")).collect().to_arrow()


def read_by_duckdb(code: str) -> pa.Table:
    duckdb = import_module("duckdb")
    duckdb.sql("SET TimeZone = 'UTC'")
    return evaluated(code, duckdb=duckdb).to_arrow_table()


def read_by_chdb(code: str) -> pa.Table:
    chdb = import_module("chdb")
    return evaluated(code, chdb=chdb)


READERS: dict[str, Callable[[str], pa.Table]] = {
    "pandas 3.1 with pyarrow": read_by_pandas,
    "pandas": read_by_pandas,
    "polars 2.1": read_by_polars,
    "polars": read_by_polars,
    "polars SQL": read_by_polars,
    "DuckDB 2.0": read_by_duckdb,
    "DuckDB": read_by_duckdb,
    "chdb 4.4, ClickHouse": read_by_chdb,
    "chdb": read_by_chdb,
}
SPARK = ("Spark 3.5 and 4.3", "Spark")


def by_weight(names: Iterable[str]) -> list[Any]:
    """The readers that are asked here; those that come with an extra of their own by its marker."""
    return [
        pytest.param(name, marks=pytest.mark.engines) if "chdb" in name else name
        for name in names
        if name not in SPARK
    ]


def code_for(line: str, folder: str) -> str:
    """A file is named in place of a glob for the files of a folder."""
    if folder.endswith(".parquet"):
        line = line.replace("FOLDER/**/*.parquet", "FOLDER")
    return line.replace("FOLDER", folder)


def test_every_reader_of_the_page_is_asked() -> None:
    assert {*ALL_OF} | {*SOME_OF} == {*READERS, *SPARK}


@pytest.mark.parametrize("reader", by_weight(ALL_OF))
def test_every_documented_folder_is_read_as_we_read_it(lake: Lake, reader: str) -> None:
    if "chdb" in reader:
        pytest.importorskip("chdb")
    wanted = folders(lake)
    assert len(wanted) > 30
    for folder in wanted:
        names, rows = as_we_read(lake, folder)
        found = READERS[reader](code_for(ALL_OF[reader], folder))
        assert in_order(found, names) == rows, (reader, folder)


def overbought(lake: Lake) -> tuple[str, Rows]:
    """The date that stands for the page's, and the rows that every reader must find."""
    names, _ = as_we_read(lake, "features")
    table = pd.read_parquet("lake/features")
    day = table["open_time"].min().normalize() + pd.Timedelta(days=5)
    wanted = table[(table["interval"] == "1h") & (table["rsi_14"] > 70)]
    wanted = wanted[wanted["open_time"] >= day]
    assert 0 < len(wanted) < table["rsi_14"].notna().sum() / 2
    assert table["rsi_14"].isna().any()
    return f"{day:%Y-%m-%d}", in_order(pa.Table.from_pandas(undivided(wanted)), names)


def on_the_day(line: str, day: str) -> str:
    year, month, date = (str(int(part)) for part in day.split("-"))
    return line.replace("2021-04-01", day).replace("2021, 4, 1", f"{year}, {month}, {date}")


@pytest.mark.parametrize("reader", by_weight(SOME_OF))
def test_a_filter_finds_the_same_rows_whoever_applies_it(lake: Lake, reader: str) -> None:
    if "chdb" in reader:
        pytest.importorskip("chdb")
    names, _ = as_we_read(lake, "features")
    day, rows = overbought(lake)
    found = READERS[reader](on_the_day(SOME_OF[reader], day))
    assert in_order(found, names) == rows


def test_no_column_holds_nan(lake: Lake) -> None:
    """Statistics leave NaN out, so that filters by them lose such rows or find too many."""
    for key in lake.list(""):
        if key.endswith(".parquet"):
            table = lake.read(key)
            floats = [one for one in table.schema.names if pa.types.is_floating(table[one].type)]
            for name in floats:
                stored = table[name].drop_null().to_numpy()
                assert not np.isnan(stored).any(), (key, name)


def test_a_panel_comes_back_with_nan_where_a_file_has_null(lake: Lake) -> None:
    key = next(key for key in lake.list("runs") if key.endswith("discovery/rsi_14.parquet"))
    assert lake.read(key)["BTCUSDT"].null_count
    assert "round" not in pq.read_schema(Path(lake.uri) / key).names


ASKED_OF_SPARK = """
import json, math, sys
from datetime import datetime, timezone
from pyspark.sql import SparkSession

def value(of):
    if of is None or (isinstance(of, float) and math.isnan(of)):
        return None
    if isinstance(of, datetime):
        return of.replace(tzinfo=timezone.utc).timestamp().hex()
    if isinstance(of, (bool, int, float)):
        return float(of).hex()
    return [value(one) for one in of] if isinstance(of, list) else str(of)

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
asked = json.load(sys.stdin)
for line in asked["settings"]:
    exec(line)
for name, (code, columns) in asked["codes"].items():
    table = eval(code)
    for number in {"round", "year"} & {*columns}:  # without inference all of a path is text
        table = table.withColumn(number, table[number].cast("int"))
    found = table.select(*[f"`{one}`" for one in columns]).collect()
    rows = sorted((tuple(map(value, row)) for row in found), key=repr)
    print(json.dumps([name, rows]), flush=True)
"""


def sparks() -> list[str]:
    given = os.environ.get("SPARK_PYTHONS", "")
    return given.split(os.pathsep) if given else [sys.executable]


@pytest.mark.engines
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.parametrize("python", sparks())
def test_spark_reads_what_we_read(lake: Lake, python: str) -> None:
    has = subprocess.run([python, "-c", "import pyspark"], capture_output=True, check=False)
    if has.returncode:
        pytest.skip(f"{python} has no pyspark: see the top of this file")
    day, overbought_rows = overbought(lake)
    tables = [one for one in folders(lake) if one == table_of(one) or "/panel/" in one]
    assert len(tables) > 20
    names = {folder: as_we_read(lake, folder) for folder in tables}
    codes = {
        folder: (code_for(ALL_OF[SPARK[0]], folder), columns)
        for folder, (columns, _) in names.items()
    }
    codes["overbought"] = (on_the_day(SOME_OF[SPARK[1]], day), names["features"][0])
    settings = [line for line in PAGE.splitlines() if line.startswith("spark.conf.set(")]
    assert len(settings) == 2
    asked = subprocess.run(
        [python, "-c", ASKED_OF_SPARK],
        input=json.dumps({"settings": settings, "codes": codes}),
        capture_output=True,
        text=True,
        timeout=work_s() * 5,
        env=os.environ | {"TZ": "UTC", "PYSPARK_PYTHON": python},
        check=False,
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    found = dict(json.loads(line) for line in asked.stdout.splitlines() if line.startswith("["))
    assert found.keys() == codes.keys()
    plain = {folder: json.loads(json.dumps(rows)) for folder, (_, rows) in names.items()}
    plain["overbought"] = json.loads(json.dumps(overbought_rows))
    for folder, rows in plain.items():
        assert found[folder] == rows, folder
