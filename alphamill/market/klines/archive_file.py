"""The files of Binance's public archive: how they are named, and what may be inside one.

Source: data.binance.vision and the README of binance/binance-public-data; its issues 246, 283, 469.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pacsv

from alphamill.errors import RetryLater
from alphamill.frames import KLINES, Interval, Market, Month, TimeRange, is_symbol, times_ms
from alphamill.grid import DAY_MS
from alphamill.market.archive import MARKET_FOLDERS
from alphamill.market.archive_zip import only_csv
from alphamill.market.klines.parse import checked, empty_klines, in_ms

Source = Literal["archive-monthly", "archive-daily"]

_BLOCK_BYTES = 1 << 20  # the reader holds two copies of each; no line is longer


@dataclass(frozen=True, slots=True)
class KlineFile:
    """A month of klines, or one day of it. ValueError for a symbol that cannot be in a path.

    folder: "klines", or that of another kind.
    """

    market: Market
    symbol: str
    interval: Interval
    month: Month
    day: int | None = None  # 1 to 31
    folder: str = "klines"

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol):
            raise ValueError(f"not a symbol: {self.symbol!r}")

    def of_day(self, time_ms: int) -> KlineFile:
        """The daily file that holds `time_ms`."""
        return replace(self, day=(time_ms - self.month.start_ms) // DAY_MS + 1)

    @property
    def stem(self) -> str:
        """As BTCUSDT-1m-2021-04 or BTCUSDT-1m-2021-04-23; a bar of one month is spelled 1mo."""
        day = "" if self.day is None else f"-{self.day:02d}"
        return f"{self.symbol}-{self._interval}-{self.month}{day}"

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it."""
        span = "monthly" if self.day is None else "daily"
        folder = f"data/{MARKET_FOLDERS[self.market]}/{span}/{self.folder}"
        return f"{folder}/{self.symbol}/{self._interval}/{self.stem}.zip"

    @property
    def source(self) -> Source:
        """As the lake records it."""
        return "archive-monthly" if self.day is None else "archive-daily"

    @property
    def range(self) -> TimeRange:
        """Where its bars open."""
        if self.day is None:
            return self.month.range
        start_ms = self.month.start_ms + DAY_MS * (self.day - 1)
        return TimeRange(start_ms, start_ms + DAY_MS)

    def parse(self, content: bytes) -> pa.Table:
        """As `parse_zip`."""
        return parse_zip(content, self)

    @property
    def _interval(self) -> str:
        return "1mo" if self.interval is Interval.MO1 else self.interval.value


def parse_zip(content: bytes, file: KlineFile) -> pa.Table:
    """KLINES of a verified zip. Raises ValueError, in words, for anything but that file's bars."""
    table = parse_csv(only_csv(content, f"{file.stem}.csv"), file.symbol, file.interval)
    times = times_ms(table)
    if times.size and not (file.range.start_ms <= times[0] and times[-1] < file.range.end_ms):
        raise ValueError("it holds bars from outside its range")
    return table


_NAMES = [*KLINES.names, "ignore"]
_READ_AS: Mapping[str, pa.DataType] = {
    field.name: pa.float64() if field.type == pa.float64() else pa.int64() for field in KLINES
}
_CONVERT = pacsv.ConvertOptions(
    column_types=dict(_READ_AS),
    include_columns=KLINES.names,
    null_values=[],
    strings_can_be_null=False,
)
_PARSE = pacsv.ParseOptions(quote_char=False, escape_char=False)


def parse_csv(text: bytes, symbol: str, interval: Interval) -> pa.Table:
    """KLINES of a CSV with or without a header row, in milliseconds or microseconds.

    Both are told by content: a first byte that is a letter; a time past the year 5138. Numbers
    equal Python's float(). Bars off the grid are in it. Raises ValueError for anything malformed.
    """
    if text[:1].isalpha():
        text = text[text.find(b"\n") + 1 or len(text) :]
    if not text:
        return empty_klines()
    options = pacsv.ReadOptions(
        use_threads=False,  # a worker's threads each read a file of their own
        column_names=_NAMES,
        block_size=_BLOCK_BYTES,
    )
    try:
        table = pacsv.read_csv(pa.BufferReader(text), options, _PARSE, _CONVERT).combine_chunks()
    except pa.ArrowInvalid as error:
        raise ValueError(f"its CSV is malformed ({str(error)[:160]})") from error
    for name in ("open_time", "close_time"):
        times = pa.array(in_ms(table[name].to_numpy())).view(KLINES.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, times)
    try:
        return checked(table.cast(KLINES), symbol, interval)
    except RetryLater as error:  # what a page of the API would mean does not apply
        raise ValueError(str(error)) from error
