"""What a bar of 1m takes in the lake, and reading two columns of 2.6 million bars against CSV.

Counted are whole files, footer and all, of all eleven columns of KLINES: the eight value columns
that Binance sends as decimals (open, high, low, close, volume, quote_volume, taker_buy_base,
taker_buy_quote), the number of trades, and both times; plain floats that any parquet reader opens.
Real bars where ../shared has them: BTCUSDT, the coin of most digits (prices of seven, quote amounts
of up to fourteen that no bar repeats), and NEARUSDT, one of the many with few; else a synthetic
market. BTCUSDT's are repeated, moved in time, to five years in monthly files for the reading. Every
value is compared after the round trip, and with the CSV. Targets: 30 bytes a bar, 41 for BTCUSDT,
5x faster than CSV.

No encoding of float64 reaches 30 for BTCUSDT: the two quote amounts alone are 13.8 bytes at any
level, byte-stream-split (a float of fourteen digits is 55 bits of noise), and brotli at level 11,
which takes four seconds a month, needs 33 for them all. Scaled integers would, and are not plain
floats. Byte-stream-split itself would save 1.2 bytes, and Spark 3.5 cannot read it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from alphamill.frames import KLINES, Interval, Market, Month
from alphamill.lake import Lake, MonthFacts, read_klines, write_klines
from alphamill.lake.months import content_hash
from alphamill.sim.market import Bars, ReplaySource, SyntheticMarket, SyntheticSource, coins_named

TARGET_BYTES, TARGET_BYTES_OF_MOST_DIGITS, TARGET_RATIO = 30.0, 41.0, 5.0
FIRST, MONTHS = Month(2019, 1), 60
MINUTE_MS = 60_000
SERIES = (Market.SPOT, "BTCUSDT", Interval.M1)
FEW_DIGITS = (Market.USD_M, "NEARUSDT", Interval.M1)
Key = tuple[Market, str, Interval]
COLUMNS = ["close", "volume"]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "klines"


def recorded(series: Key) -> tuple[Bars, str]:
    market, symbol, interval = series
    if (REAL / market / f"{symbol}-{interval}.parquet").exists():
        found, kind = ReplaySource(REAL).bars(*series), "real"
    else:
        source = SyntheticMarket(
            coins=coins_named([symbol]),
            interval=interval,
            planted=(),
            start_ms=1_704_067_200_000,
            end_ms=1_709_251_200_000,
        )
        found, kind = SyntheticSource(source).bars(Market.SPOT, symbol, interval), "synthetic"
    assert found is not None
    return found, kind


def month_of(bars: Bars, month: Month, offset: int) -> pa.Table:
    """A full month of the recording from `offset` on, starting again at its end."""
    opens = np.arange(month.start_ms, month.end_ms, MINUTE_MS, dtype=np.int64)
    rows = (np.arange(opens.size) + offset) % len(bars)
    times = {"open_time": opens, "close_time": opens + MINUTE_MS - 1}
    arrays = [
        pa.array(times[f.name]).view(f.type)
        if f.name in times
        else pa.array(getattr(bars, f.name)[rows])
        for f in KLINES
    ]
    return pa.Table.from_arrays(arrays, schema=KLINES)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake, csv = Lake(f"{folder}/lake"), Path(folder) / "bars.csv"
        options = pacsv.WriteOptions(quoting_style="none")
        with pacsv.CSVWriter(csv, KLINES, write_options=options) as writer:
            store(lake, Path(folder) / "lake", SERIES, MONTHS, writer)
        store(lake, Path(folder) / "lake", FEW_DIGITS, 1, None)
        end_ms = FIRST.start_ms
        for _ in range(MONTHS):
            end_ms = Month.of_ms(end_ms).end_ms
        read_two(lake, csv, end_ms)


def store(
    lake: Lake, folder: Path, series: Key, months: int, writer: pacsv.CSVWriter | None
) -> None:
    """Write months of a series, compare each with what is read back, and say what they take."""
    bars, kind = recorded(series)
    columns = dict.fromkeys(KLINES.names, 0)
    rows, stored, month = 0, 0, FIRST
    for _ in range(months):
        table = month_of(bars, month, rows)
        facts = MonthFacts("rest", month.range)
        key = write_klines(lake, *series, month, table, facts)
        back = read_klines(lake, *series, month.start_ms, month.end_ms)
        assert back.equals(table), key
        assert content_hash(back) == content_hash(table), key
        stored += (folder / key).stat().st_size
        add_columns(columns, folder / key)
        if writer is not None:
            writer.write_table(table)
        rows, month = rows + table.num_rows, month.next()
    target = TARGET_BYTES_OF_MOST_DIGITS if series == SERIES else TARGET_BYTES
    show_size(f"{kind} 1m bars of {series[1]}", rows, stored, columns, target)


def add_columns(columns: dict[str, int], file: Path) -> None:
    footer = pq.read_metadata(file)
    for group in range(footer.num_row_groups):
        for at in range(footer.num_columns):
            chunk = footer.row_group(group).column(at)
            columns[chunk.path_in_schema] += chunk.total_compressed_size


def show_size(name: str, rows: int, stored: int, columns: dict[str, int], target: float) -> None:
    size = stored / rows
    verdict = "met" if size <= target else "MISSED"
    print(
        f"{rows:,} {name}, all {len(columns)} columns, round trip exact: {size:.1f} bytes a bar; "
        f"target {target:.0f}: {verdict}"
    )
    print("  " + ", ".join(f"{column} {count / rows:.2f}" for column, count in columns.items()))


def read_two(lake: Lake, csv: Path, end_ms: int) -> None:
    """Files in the page cache for all; the best of some reads each. pandas is what people use."""
    convert = pacsv.ConvertOptions(include_columns=COLUMNS)
    lake_s, ours = timed(
        lambda: read_klines(lake, *SERIES, FIRST.start_ms, end_ms, COLUMNS), rounds=9
    )
    peers = {
        "pandas.read_csv": timed(lambda: pd.read_csv(csv, usecols=COLUMNS), rounds=3),
        "pyarrow's threaded CSV": timed(
            lambda: pacsv.read_csv(csv, convert_options=convert), rounds=9
        ),
    }
    print(f"two columns of {ours.num_rows:,} bars: lake {lake_s:.2f} s")
    for name, (seconds, theirs) in peers.items():
        for column in COLUMNS:
            same = np.asarray(theirs[column]) - ours[column].to_numpy()
            # pandas' default float parser may miss the last digit; ours and pyarrow's do not.
            assert np.abs(same).max() <= (1e-9 if name.startswith("pandas") else 0.0), name
        verdict = "met" if seconds / lake_s >= TARGET_RATIO else "MISSED"
        ratio = f"{seconds / lake_s:.1f}x; target {TARGET_RATIO:.0f}x: {verdict}"
        print(f"  {name} {seconds:.2f} s: {ratio}")


def timed(read: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    best_s, got = float("inf"), None
    for _ in range(rounds):
        start_s = time.perf_counter()
        got = read()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s, got


if __name__ == "__main__":
    main()
