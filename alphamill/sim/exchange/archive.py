"""The simulated exchange's archive: the paths, zips and checksums of data.binance.vision.

Spot CSVs have no header row and count microseconds from 2025 on; futures CSVs count milliseconds
and have a header row from May 2022 on, as the real ones do. A day appears two to nine hours after
its end, a month a week later than that; when, is one file's own. Equal bars give equal bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

import numpy as np

from alphamill.frames import Interval, Market, Month, TimeRange, Wide, is_symbol
from alphamill.sim.exchange.archive_listing import ArchiveKeys, list_bucket
from alphamill.sim.exchange.funding import funding_csv
from alphamill.sim.exchange.listing import printed_decimals
from alphamill.sim.exchange.messages import Reply
from alphamill.sim.exchange.metrics import metrics_csv
from alphamill.sim.exchange.print_rows import SPOT_DECIMALS, print_rows
from alphamill.sim.exchange.tape import Tapes
from alphamill.sim.exchange.trade_files import AGGREGATES, TRADES, RowFault, trades_csv
from alphamill.sim.market import BarSource

_PATH = re.compile(
    r"/data/(?P<market>spot|futures/um|futures/cm)/(?P<span>monthly|daily)/"
    r"(?P<kind>klines|premiumIndexKlines|markPriceKlines|indexPriceKlines|fundingRate|metrics|"
    r"aggTrades|trades)/(?P<symbol>\w{2,30})/"
    r"(?:(?P<interval>\d{1,2}(?:[smhdw]|mo))/)?"
    r"(?P<stem>(?P=symbol)-(?P<of>\w+)-(?P<month>\d{4}-(?:0[1-9]|1[0-2]))(?:-(?P<day>\d\d))?)"
    r"\.zip(?P<checksum>\.CHECKSUM)?"
)
_PRICES = {
    "premiumIndexKlines": Wide.PREMIUM,
    "markPriceKlines": Wide.MARK,
    "indexPriceKlines": Wide.INDEX,
}
_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
_HEADER_FROM = Month(2022, 5)  # futures
_MICROSECONDS_FROM = Month(2025, 1)  # spot
_DAY_MS = 86_400_000
_PUBLISHED_AFTER_MS = (2 * 3_600_000, 9 * 3_600_000)
_MONTH_LATE_DAYS = 7
_KEPT_BYTES = 256 * 2**20
_UNZIPPED_ROWS = 3_000_000  # more than a month of seconds


class ArchiveFaultKind(StrEnum):
    """What is wrong with a file; the real archive has had each."""

    BAD_CHECKSUM = "bad_checksum"  # the CHECKSUM is of an earlier version
    CORRUPT_ZIP = "corrupt_zip"  # cut in the middle; its CHECKSUM fits
    MISSING = "missing"  # neither the zip nor its CHECKSUM
    MISSING_CHECKSUM = "missing_checksum"


_NAMES = ", ".join((*ArchiveFaultKind, *RowFault))


@dataclass(frozen=True, slots=True)
class ArchiveFault:
    """A fault of every file whose name without ending matches `names`, a shell pattern.

    A `RowFault` is one of files of trades alone.
    """

    kind: ArchiveFaultKind | RowFault
    names: str = "*"

    @classmethod
    def parse(cls, text: str) -> ArchiveFault:
        """From "bad_checksum" or "missing:BTCUSDT-1m-2021-*"; raises ValueError."""
        name, _, names = text.partition(":")
        kind = RowFault if name in tuple(RowFault) else ArchiveFaultKind
        try:
            return cls(kind(name), names or "*")
        except ValueError as error:
            raise ValueError(f"{text!r} is not KIND[:NAMES] ({_NAMES})") from error


@dataclass(frozen=True, slots=True)
class _File:
    market: Market
    symbol: str
    kind: str  # as its folder is named
    interval: Interval | None  # of klines of any kind
    stem: str
    month: Month
    day: int | None

    @property
    def range(self) -> TimeRange:
        if self.day is None:
            return self.month.range
        start_ms = self.month.start_ms + (self.day - 1) * _DAY_MS
        return TimeRange(start_ms, start_ms + _DAY_MS)

    @property
    def published_ms(self) -> int:
        least_ms, most_ms = _PUBLISHED_AFTER_MS
        after_ms = least_ms + zlib.crc32(self.stem.encode()) % (most_ms - least_ms)
        days = 0 if self.day is not None else _MONTH_LATE_DAYS
        return self.range.end_ms + days * _DAY_MS + after_ms


@dataclass(frozen=True, slots=True)
class _Zip:
    content: bytes
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> _Zip:
        return cls(content, hashlib.sha256(content).hexdigest())


class SimulatedArchive:
    """Files built when first asked for and kept, the latest used.

    One event loop owns it; files are built in a thread, so that a big month delays nobody else.
    """

    def __init__(
        self,
        source: BarSource,
        now_ms: Callable[[], int],
        faults: Sequence[ArchiveFault] = (),
        burned_fracs: Mapping[Market, float] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._tapes = Tapes(source, burned_fracs)  # of the builder's thread alone
        self._now_ms = now_ms
        self._faults = tuple(faults)
        self._zips: OrderedDict[_File, _Zip] = OrderedDict()
        self._building: dict[_File, asyncio.Future[_Zip | None]] = {}
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="sim-archive")
        self.served: Counter[str] = Counter()

    def close(self) -> None:
        """Build no more."""
        self._builder.shutdown(wait=False, cancel_futures=True)

    async def reply(self, path: str) -> Reply:
        """To GET `path`: a static file or the storage's 404."""
        file, _ = self._published(path)
        if file is not None and file not in self._zips:
            await self._build_aside(file)
        body = self.body(path)
        if body is None:
            return Reply(404, not_found(path), {"Content-Type": "application/xml"})
        return Reply(200, body, {"Content-Type": "binary/octet-stream"})

    def body(self, path: str) -> bytes | None:
        """What lies at `path`, or None."""
        file, checksum = self._published(path)
        found = None if file is None else self._body(file, checksum=checksum)
        self.served["archive_missing" if found is None else "archive_files"] += 1
        return found

    def listing(self, query: Mapping[str, str]) -> Reply:
        """To GET /?prefix=...: the keys of klines that are out, as S3 lists them."""
        keys = ArchiveKeys(self._source, self._is_out)
        self.served["archive_listings"] += 1
        body = list_bucket(keys.below, query)
        return Reply(200, body, {"Content-Type": "application/xml"})

    def _is_out(self, path: str) -> bool:
        """Whether the file at `path` may be asked for, if there are bars for it."""
        file, checksum = self._published(path)
        if file is None:
            return False
        faults = {fault.kind for fault in self._faults if fnmatchcase(file.stem, fault.names)}
        held_back = {ArchiveFaultKind.MISSING}
        held_back |= {ArchiveFaultKind.MISSING_CHECKSUM} if checksum else set()
        return not faults & held_back

    def _published(self, path: str) -> tuple[_File | None, bool]:
        """The file that `path` names, if it is out, and whether its CHECKSUM is meant."""
        match = _PATH.fullmatch(path)
        file = _file(match) if match else None
        if match is None or file is None or file.published_ms > self._now_ms():
            return None, False
        return file, match["checksum"] is not None

    def _body(self, file: _File, *, checksum: bool) -> bytes | None:
        faults = self._faults_of(file)
        found = self._zip(file)
        if found is None or ArchiveFaultKind.MISSING in faults:
            return None
        if ArchiveFaultKind.CORRUPT_ZIP in faults:
            found = _Zip.of(found.content[: len(found.content) // 2])
        if not checksum:
            return found.content
        if ArchiveFaultKind.MISSING_CHECKSUM in faults:
            return None
        if ArchiveFaultKind.BAD_CHECKSUM in faults:
            found = _Zip.of(found.content + b"an earlier version")
        return f"{found.sha256}  {file.stem}.zip\n".encode()

    def _faults_of(self, file: _File) -> set[str]:
        return {fault.kind for fault in self._faults if fnmatchcase(file.stem, fault.names)}

    def _built(self, file: _File) -> _Zip | None:
        if file.kind in (AGGREGATES, TRADES):
            text = self._trades_csv(file)
        else:
            text = _csv(self._source, file)
        return None if text is None else _Zip.of(_zipped(f"{file.stem}.csv", text))

    def _trades_csv(self, file: _File) -> bytes | None:
        if file.symbol not in self._source.symbols(file.market):
            return None
        tape = self._tapes.of(file.market, file.symbol)
        if tape is None:
            return None
        return trades_csv(file.market, file.kind, tape, file.range, self._faults_of(file))

    async def _build_aside(self, file: _File) -> None:
        """Once, however many ask meanwhile."""
        if file not in self._building:
            loop = asyncio.get_running_loop()
            self._building[file] = loop.run_in_executor(self._builder, self._built, file)
        try:
            self._keep(file, await asyncio.shield(self._building[file]))
        finally:
            self._building.pop(file, None)

    def _zip(self, file: _File) -> _Zip | None:
        if file not in self._zips:
            self._keep(file, self._built(file))
        if file in self._zips:
            self._zips.move_to_end(file)
        return self._zips.get(file)

    def _keep(self, file: _File, built: _Zip | None) -> None:
        if built is None:
            return
        self._zips[file] = built
        while len(self._zips) > 1 and self._kept_bytes() > _KEPT_BYTES:
            self._zips.popitem(last=False)

    def _kept_bytes(self) -> int:
        return sum(len(kept.content) for kept in self._zips.values())


def not_found(path: str) -> bytes:
    """The storage's words for a key that it does not have."""
    key = path.removeprefix("/")
    shown = re.sub(r"[^\w./=-]", "_", key)[:200]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        f"<Message>The specified key does not exist.</Message><Key>{shown}</Key></Error>"
    ).encode()


def _file(match: re.Match[str]) -> _File | None:
    market = Market(match["market"].removeprefix("futures/"))
    month, day = Month.parse(match["month"]), int(match["day"]) if match["day"] else None
    days = month.range.length_ms // _DAY_MS
    fits = (day is None) == (match["span"] == "monthly") and (day is None or 1 <= day <= days)
    interval = Interval.MO1 if match["interval"] == "1mo" else match["interval"]
    kind = match["kind"]
    if kind == "fundingRate":
        known = market.has_funding and day is None and interval is None
    elif kind == "metrics":
        known = market.has_funding and day is not None and interval is None
    elif kind in ("aggTrades", "trades"):
        known = interval is None
    elif kind != "klines" and not market.has_funding:
        known = False
    else:
        known = interval in tuple(Interval) and not (interval == "1s" and market.has_funding)
    if not is_symbol(match["symbol"]):
        return None
    if not known or not fits or match["of"] != (match["interval"] or match["kind"]):
        return None
    kept = None if interval is None else Interval(interval)
    return _File(market, match["symbol"], kind, kept, match["stem"], month, day)


def _funding_csv(source: BarSource, file: _File) -> bytes | None:
    """The settlements stamped within the file's month as text; None where there is none."""
    known = source.funding(file.market, file.symbol)
    if known is None:
        return None
    first, stop = np.searchsorted(known.stamp_ms, [file.range.start_ms, file.range.end_ms])
    return funding_csv(known.rows(first, stop)).encode() if first < stop else None


def _csv(source: BarSource, file: _File) -> bytes | None:
    """The bars that open within the file's range as text; None where there is none."""
    symbol = file.symbol
    if file.kind == "indexPriceKlines" and file.market is Market.COIN_M:
        symbol = f"{symbol}_PERP"  # its files are named by pair
    if symbol not in source.symbols(file.market):
        return None
    if file.kind == "metrics":
        known = source.metrics(file.market, symbol)
        text = known and metrics_csv(known, file.market, symbol, file.range)
        return text.encode() if text else None
    if file.interval is None:
        return _funding_csv(source, file)
    if file.kind == "klines":
        bars = source.bars(file.market, symbol, file.interval)
    else:
        bars = source.prices(file.market, symbol, _PRICES[file.kind], file.interval)
    if bars is None:
        return None
    bars = bars.rows(bars.start_at(file.range.start_ms), bars.start_at(file.range.end_ms))
    if not 0 < len(bars) < _UNZIPPED_ROWS:
        return None
    spot = file.market is Market.SPOT
    unit = 1000 if spot and file.month >= _MICROSECONDS_FROM else 1
    traded = file.kind == "klines"
    decimals = printed_decimals(source, file.market, symbol) if traded else SPOT_DECIMALS
    rows = print_rows(bars, file.interval, unit, decimals)
    lines = [row[1:-1].replace('"', "") for row in rows]
    if not spot and file.month >= _HEADER_FROM:
        lines.insert(0, _HEADER)
    return ("\n".join(lines) + "\n").encode()


def _zipped(name: str, text: bytes) -> bytes:
    """A zip whose bytes follow from `name` and `text` alone."""
    sink = io.BytesIO()
    member = zipfile.ZipInfo(name)  # dated 1980
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(member, text)
    return sink.getvalue()
