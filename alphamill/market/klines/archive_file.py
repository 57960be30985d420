"""The files of Binance's public archive: how they are named, and what may be inside one.

Source: data.binance.vision and the README of binance/binance-public-data; its issues 246, 283, 469.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv

from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import KLINES, Interval, Market, Month, is_symbol
from alphamill.market.klines.parse import checked, empty_klines, in_ms, times_ms

_deflate: Any
try:
    from isal import isal_zlib as _deflate  # three times as fast; not on every platform
except ImportError:
    _deflate = zlib

Source = Literal["archive-monthly", "archive-daily"]

DAY_MS = 86_400_000
MAX_ZIP_BYTES = 32 * 2**20
_BLOCK_BYTES = 1 << 20  # the reader holds two copies of each; no line is longer
MAX_CSV_BYTES = 128 * 2**20  # sixteen times a month of BTCUSDT 1m
MARKET_FOLDERS = {Market.SPOT: "spot", Market.USD_M: "futures/um", Market.COIN_M: "futures/cm"}
_LOCAL_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A month of klines, or one day of it. ValueError for a symbol that cannot be in a path."""

    market: Market
    symbol: str
    interval: Interval
    month: Month
    day: int | None = None  # 1 to 31

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol):
            raise ValueError(f"not a symbol: {self.symbol!r}")

    @classmethod
    def of_day(cls, market: Market, symbol: str, interval: Interval, time_ms: int) -> ArchiveFile:
        """The daily file that holds `time_ms`."""
        day = datetime.fromtimestamp(time_ms // 1000, UTC).day
        return cls(market, symbol, interval, Month.of_ms(time_ms), day)

    @property
    def stem(self) -> str:
        """As BTCUSDT-1m-2021-04 or BTCUSDT-1m-2021-04-23; a bar of one month is spelled 1mo."""
        day = "" if self.day is None else f"-{self.day:02d}"
        return f"{self.symbol}-{self._interval}-{self.month}{day}"

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it."""
        span = "monthly" if self.day is None else "daily"
        folder = f"data/{MARKET_FOLDERS[self.market]}/{span}/klines"
        return f"{folder}/{self.symbol}/{self._interval}/{self.stem}.zip"

    @property
    def source(self) -> Source:
        """As the lake records it."""
        return "archive-monthly" if self.day is None else "archive-daily"

    @property
    def start_ms(self) -> int:
        """Bars of the file open at or after this."""
        return self.month.start_ms + DAY_MS * ((self.day or 1) - 1)

    @property
    def end_ms(self) -> int:
        """Bars of the file open before this."""
        return self.month.end_ms if self.day is None else self.start_ms + DAY_MS

    def parse(self, content: bytes) -> pa.Table:
        """As `parse_zip`."""
        return parse_zip(content, self)

    @property
    def _interval(self) -> str:
        return "1mo" if self.interval is Interval.MO1 else self.interval.value


def parse_zip(content: bytes, file: ArchiveFile) -> pa.Table:
    """KLINES of a verified zip. Raises ValueError, in words, for anything but that file's bars."""
    table = parse_csv(only_csv(content, f"{file.stem}.csv"), file.symbol, file.interval)
    times = times_ms(table)
    if times.size and not (file.start_ms <= times[0] and times[-1] < file.end_ms):
        raise ValueError("it holds bars from outside its range")
    return table


def only_csv(content: bytes, name: str) -> bytes:
    """The one member of a zip, in memory; nothing is written under a name from the zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"it is not a zip ({error})") from error
    if [member.filename for member in members] != [name]:
        raise ValueError(f"it holds {[m.filename[:60] for m in members[:3]]}, not {name} alone")
    if members[0].file_size > MAX_CSV_BYTES or members[0].flag_bits & _ENCRYPTED:
        raise ValueError("its CSV is encrypted or too large")
    return _inflated(content, members[0])


def _inflated(content: bytes, member: zipfile.ZipInfo) -> bytes:
    """As `ZipFile.read`, in a third of the time, and never more than the stated size."""
    head = content[member.header_offset :][: _LOCAL_HEADER.size]
    if len(head) < _LOCAL_HEADER.size:
        raise ValueError("its local header is cut off")
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    packed = memoryview(content)[start : start + member.compress_size]
    if magic != _LOCAL_MAGIC:
        raise ValueError("its local header is not where it should be")
    try:
        if member.compress_type == zipfile.ZIP_DEFLATED:
            whole = _deflate.decompressobj(-zlib.MAX_WBITS)
            data: bytes = whole.decompress(packed, member.file_size + 1)
        elif member.compress_type == zipfile.ZIP_STORED:
            data = bytes(packed)
        else:
            raise ValueError(f"it is compressed by method {member.compress_type}")
    except (zlib.error, _deflate.error) as error:
        raise ValueError(f"it does not unpack ({error})") from error
    if len(data) != member.file_size or _deflate.crc32(data) != member.CRC:
        raise ValueError("its CSV is not the one that was packed")
    return data


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
    equal Python's float(). Raises ValueError for anything malformed, and for bars off the grid.
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
    except (RetryLater, GiveUp) as error:  # what a page of the API would mean does not apply
        raise ValueError(str(error)) from error
