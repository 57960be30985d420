"""The archive's files of metrics: one a contract and day, on futures only; there are no monthly.

Source: data.binance.vision, futures/{um,cm}/daily/metrics; binance-public-data issues 491 and 350.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from alphamill.frames import METRICS, IntArray, Market, Month, TimeRange, is_symbol, rows_within
from alphamill.market.archive import MARKET_FOLDERS
from alphamill.market.archive_zip import only_csv
from alphamill.market.metrics.labels import STEP_MS, VALUES, metrics_table, opens_of_file

_DAY_MS = 86_400_000
_COLUMNS = (
    "create_time",
    "symbol",
    "sum_open_interest",
    "sum_open_interest_value",
    "count_toptrader_long_short_ratio",
    "sum_toptrader_long_short_ratio",
    "count_long_short_ratio",
    "sum_taker_long_short_vol_ratio",
)
_HEADER = ",".join(_COLUMNS).encode()
_TIME = pa.timestamp("s")
_CONVERT = pacsv.ConvertOptions(
    column_types={
        "create_time": _TIME,
        "symbol": pa.string(),
        **dict.fromkeys(_COLUMNS[2:], pa.float64()),
    },
    timestamp_parsers=["%Y-%m-%d %H:%M:%S"],  # a label without a time says nothing of the day's end
    null_values=["", "null", "NULL"],
    strings_can_be_null=False,
)
_PARSE = pacsv.ParseOptions(quote_char='"', escape_char=False)


@dataclass(frozen=True, slots=True)
class MetricsFile:
    """A day of metrics. ValueError for a symbol that cannot be in a path, and for spot."""

    market: Market
    symbol: str
    month: Month
    day: int  # 1 to 31

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol) or not self.market.has_funding:
            raise ValueError(f"no metrics of {self.symbol!r} on {self.market}")

    @property
    def stem(self) -> str:
        """As BTCUSDT-metrics-2021-04-23."""
        return f"{self.symbol}-metrics-{self.month}-{self.day:02d}"

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it."""
        folder = f"data/{MARKET_FOLDERS[self.market]}/daily/metrics"
        return f"{folder}/{self.symbol}/{self.stem}.zip"

    @property
    def source(self) -> Literal["archive-daily"]:
        """As the lake records it."""
        return "archive-daily"

    @property
    def range(self) -> TimeRange:
        """Where the five minutes of its rows begin."""
        start_ms = self.month.start_ms + (self.day - 1) * _DAY_MS
        return TimeRange(start_ms, start_ms + _DAY_MS)

    def parse(self, content: bytes) -> pa.Table:
        """METRICS of a verified zip. Raises ValueError, in words, for anything else."""
        return parse_metrics_csv(only_csv(content, f"{self.stem}.csv"), self)


def parse_metrics_csv(text: bytes, file: MetricsFile) -> pa.Table:
    """METRICS of a day's CSV with or without a header row, which is told by its first byte.

    What a neighbouring day's file has too is left to that. Raises ValueError for anything malformed
    and for rows of another symbol or day.
    """
    if text[:1].isalpha():
        header, _, text = text.partition(b"\n")
        if not header.strip().startswith(_HEADER):
            raise ValueError(f"its columns are not those of metrics: {header[:80]!r}")
    if not text.strip():
        return METRICS.empty_table()
    options = pacsv.ReadOptions(use_threads=False, column_names=_COLUMNS)
    try:
        table = pacsv.read_csv(pa.BufferReader(text), options, _PARSE, _CONVERT).combine_chunks()
    except pa.ArrowInvalid as error:
        raise ValueError(f"its CSV is malformed ({str(error)[:160]})") from error
    others = set(table["symbol"].unique().to_pylist()) - {file.symbol}
    if others:
        raise ValueError(f"it holds rows of {sorted(map(str, others))[0][:40]!r}")
    if table["create_time"].null_count:
        raise ValueError("its CSV has rows without a time")
    labels: IntArray = table["create_time"].cast(pa.int64()).to_numpy() * 1000
    day = file.range
    if labels.min() < day.start_ms - STEP_MS or labels.max() > day.end_ms + STEP_MS:
        raise ValueError("it holds rows from outside its day")
    values = {
        name: table[column].to_numpy().astype(np.float64)
        for name, column in zip(VALUES, _COLUMNS[2:], strict=True)
    }
    return rows_within(metrics_table(opens_of_file(labels, day.start_ms, file.market), values), day)
