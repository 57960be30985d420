"""Rows of trades, as the archive's CSV and as pages of the API, to `Trades`.

Source: README of binance/binance-public-data and its issues 203, 278, 339, 342 for the columns and
spellings; Binance's "Recent trades list" and "Compressed/Aggregate trades list".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alphamill.bars.kernels import rows as kernels
from alphamill.bars.trades import DECIMALS, BoolArray, Layout, Trades, TradeSource, join
from alphamill.frames import IntArray, Market

_PIECE_BYTES = 1 << 20
_US_FROM = 10**14  # a time from here on is in microseconds: as milliseconds, the year 5138
_BOM = b"\xef\xbb\xbf"

# Of a file without a header. "-" is read over: futures' quote_qty has a float's rounding, and
# price times quantity is exact there.
_COLUMNS: Mapping[tuple[Market, TradeSource], tuple[str, ...]] = {
    (Market.SPOT, TradeSource.TRADES): ("id", "price", "quantity", "quote", "time", "side", "-"),
    (Market.USD_M, TradeSource.TRADES): ("id", "price", "quantity", "-", "time", "side"),
    (Market.COIN_M, TradeSource.TRADES): ("id", "price", "quantity", "quote", "time", "side"),
    (Market.SPOT, TradeSource.AGG_TRADES): (
        *("id", "price", "quantity", "first", "last", "time", "side", "-"),
    ),
    (Market.USD_M, TradeSource.AGG_TRADES): (
        *("id", "price", "quantity", "first", "last", "time", "side"),
    ),
    (Market.COIN_M, TradeSource.AGG_TRADES): (
        *("id", "price", "quantity", "first", "last", "time", "side"),
    ),
}
# A header's word, lower case and without underscores -> column; others are read over.
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("id", "tradeid", "aggtradeid", "aggregatetradeid", "a"), "id"),
    **dict.fromkeys(("price", "p"), "price"),
    **dict.fromkeys(("qty", "quantity", "q"), "quantity"),
    **dict.fromkeys(("quoteqty", "quotequantity", "baseqty", "basequantity"), "quote"),
    **dict.fromkeys(("firsttradeid", "f"), "first"),
    **dict.fromkeys(("lasttradeid", "l"), "last"),
    **dict.fromkeys(("time", "timestamp", "transacttime", "tradetime", "t"), "time"),
    **dict.fromkeys(("isbuyermaker", "wasthebuyerthemaker", "m"), "side"),
}
_KINDS = {
    "-": kernels.SKIPPED,
    "id": kernels.WHOLE,
    "first": kernels.WHOLE,
    "last": kernels.WHOLE,
    "time": kernels.WHOLE,
    "price": kernels.EXACT,
    "quantity": kernels.EXACT,
    "quote": kernels.ROUNDED,
    "side": kernels.SIDE,
}
_KEYS: Mapping[TradeSource, tuple[tuple[str, tuple[str, ...]], ...]] = {
    TradeSource.TRADES: (
        ("id", ("id",)),
        ("price", ("price",)),
        ("quantity", ("qty",)),
        ("quote", ("quoteQty", "baseQty")),
        ("time", ("time",)),
        ("side", ("isBuyerMaker",)),
    ),
    TradeSource.AGG_TRADES: (
        ("id", ("a",)),
        ("price", ("p",)),
        ("quantity", ("q",)),
        ("first", ("f",)),
        ("last", ("l",)),
        ("time", ("T",)),
        ("side", ("m",)),
    ),
}


def parse_trades(text: bytes, layout: Layout) -> Trades:
    """A whole CSV. Raises ValueError, in words, as `TradeParser`."""
    parser = TradeParser(layout)
    pieces = [parser.add(text), parser.finish()]
    return join(pieces) if len(pieces[1]) else pieces[0]


def parse_trade_rows(rows: Sequence[Mapping[str, object]], layout: Layout) -> Trades:
    """A page of the API, decoded from JSON. Raises ValueError, in words, naming row and column."""
    keys = _KEYS[layout.source]
    names = tuple(name for name, _ in keys)
    if "quote" in names and layout.market is Market.USD_M:
        names = tuple("-" if name == "quote" else name for name in names)
    lines = []
    for number, row in enumerate(rows, 1):
        values = []
        for name, spelled in keys:
            value = next((row[key] for key in spelled if key in row), None)
            if value is None:
                raise ValueError(f"row {number} has no {spelled[0]} ({name})")
            values.append(str(value))
        lines.append(",".join(values))
    parser = TradeParser(layout, columns=names, unit="row")
    whole = parser.add("".join(f"{line}\n" for line in lines).encode())
    parser.finish()
    return whole


class TradeParser:
    """Trades of a CSV that comes in pieces cut anywhere.

    With or without a header row, told by the first byte, and then by the header's own words; times
    in milliseconds or microseconds, told by value; booleans as True, true, TRUE or 1; lines that
    end in LF or CRLF; values in quotes. Numbers are read exactly; more than 8 decimals are refused,
    except in the quote column, where they are a float's rounding and are rounded off.

    Raises ValueError, in words, naming line and column, for anything else; so does `finish` for a
    file whose last line is cut off.
    """

    def __init__(
        self, layout: Layout, *, columns: tuple[str, ...] | None = None, unit: str = "line"
    ) -> None:
        self._layout = layout
        self._columns = columns
        self._unit = unit
        self._rest = b""
        self._lines = 0
        self._begun = False
        self._decimals = dict.fromkeys(("quantity", "quote"), DECIMALS)

    def add(self, piece: bytes | bytearray | memoryview) -> Trades:
        """The trades whose lines end in `piece`."""
        if not self._begun:
            piece = self._headless(self._rest + bytes(piece))
        text, stop = self._text(piece)
        return self._read(text, stop)

    def finish(self) -> Trades:
        """The last line, if it has no line break."""
        if not self._begun and self._rest:
            self._rest += b"\n"
            return self.add(b"")
        if not self._rest:
            return self._read(*self._text(b""))
        try:
            return self.add(b"\n")
        except ValueError as error:
            raise ValueError(f"{error} (the last one: the file may be cut off)") from None

    def _headless(self, begin: bytes) -> bytes:
        """What follows the header; nothing until the first line is whole."""
        begin = begin.removeprefix(_BOM).lstrip(b"\r\n")
        line, found, rest = begin.partition(b"\n")
        if not found:
            self._rest = begin
            return b""
        self._begun = True
        self._rest = b""
        first = line.strip().replace(b'"', b"")
        words = first.decode("utf-8", "replace").split(",")
        if self._columns is None and words[0][:1].isalpha():
            self._columns = self._named(words)
            self._lines = 1
            return rest
        if self._columns is None:
            self._columns = self._counted(len(words))
        return begin

    def _named(self, words: list[str]) -> tuple[str, ...]:
        names = [_WORDS.get(word.strip().lower().replace("_", ""), "-") for word in words]
        if self._layout.market is Market.USD_M:
            names = ["-" if name == "quote" else name for name in names]
        wanted = {"id", "price", "quantity", "time", "side"}
        if self._layout.aggregates:
            wanted |= {"first", "last"}
        elif self._layout.market is Market.COIN_M:
            wanted |= {"quote"}
        lacks = sorted(wanted - set(names))
        if lacks or len(set(names) - {"-"}) < sum(name != "-" for name in names):
            said = ",".join(words)[:120]
            fault = f"has no column for {', '.join(lacks)}" if lacks else "names a column twice"
            raise ValueError(f"line 1: the header {said!r} {fault}")
        return tuple(names)

    def _counted(self, found: int) -> tuple[str, ...]:
        columns = _COLUMNS[self._layout.market, self._layout.source]
        least = len(columns) - (columns[-1] == "-")
        if not least <= found <= len(columns):
            raise ValueError(
                f"{self._unit} 1 has {found} columns, where {self._layout.source} of "
                f"{self._layout.market} have {len(columns)}"
            )
        return columns[:found]

    def _text(self, piece: bytes | bytearray | memoryview) -> tuple[kernels.ByteArray, int]:
        """What is left and `piece` in one buffer, and where its last line ends."""
        left = len(self._rest)
        size = left + len(piece)
        text = np.empty(size + kernels.PADDING, np.uint8)
        text[:left] = np.frombuffer(self._rest, np.uint8)
        text[left:size] = np.frombuffer(piece, np.uint8)
        text[size:] = 0
        end = bytes(piece).rfind(b"\n") if not isinstance(piece, bytes) else piece.rfind(b"\n")
        stop = left + end + 1 if end >= 0 else 0
        self._rest = text[stop:size].tobytes()
        return text, stop

    def _read(self, text: kernels.ByteArray, stop: int) -> Trades:
        columns = self._columns or _COLUMNS[self._layout.market, self._layout.source]
        capacity = int(np.count_nonzero(text[:stop] == 10))
        names = [name for name in columns if name not in ("-", "side")]
        kinds = np.array([_KINDS[name] for name in columns])
        places = np.array([names.index(name) if name in names else 0 for name in columns])
        values = np.empty((len(names), capacity), np.int64)
        sides = np.empty(capacity, np.uint8)
        report = np.zeros(5, np.int64)
        while True:
            decimals = np.array([self._decimals.get(name, DECIMALS) for name in columns])
            kernels.read_rows(text, stop, kinds, places, decimals, values, sides, report)
            if report[kernels.FAULT] == kernels.FINE:
                break
            text, stop = self._mended(text, stop, columns, report)
        rows = int(report[kernels.ROWS])
        self._lines += capacity
        found = {name: values[place, :rows] for place, name in enumerate(names)}
        return self._trades(found, sides[:rows].view(np.bool_))

    def _mended(
        self, text: kernels.ByteArray, stop: int, columns: tuple[str, ...], report: IntArray
    ) -> tuple[kernels.ByteArray, int]:
        """The same text without quotes, or to be read with fewer decimals. Raises ValueError."""
        fault, at = int(report[kernels.FAULT]), int(report[kernels.FAULT_AT])
        k = min(int(report[kernels.FAULT_COLUMN]), len(columns) - 1)
        name = columns[k]
        if text[at] == ord('"'):
            plain = text[:stop].tobytes().replace(b'"', b"")
            bare = np.zeros(len(plain) + kernels.PADDING, np.uint8)
            bare[: len(plain)] = np.frombuffer(plain, np.uint8)
            return bare, len(plain)
        if fault == kernels.TOO_LARGE and self._decimals.get(name, 0) > 0:
            self._decimals[name] -= 1
            return text, stop
        start = int(report[kernels.CONSUMED])
        line = text[start:stop].tobytes().partition(b"\n")[0].rstrip(b"\r")
        number = self._lines + int(np.count_nonzero(text[:start] == 10)) + 1
        said = line.decode("utf-8", "replace")
        values = said.split(",")
        value = values[k][:40] if k < len(values) else ""
        where = f"{self._unit} {number}, column {name if name != '-' else k + 1}"
        raise ValueError(
            {
                kernels.TOO_SHORT: f"{self._unit} {number} ends after {len(values)} of "
                f"{len(columns)} columns: {said[:80]!r}",
                kernels.TOO_LONG: f"{self._unit} {number} has {len(values)} columns, the first "
                f"one had {len(columns)}: {said[:80]!r}",
                kernels.TOO_LARGE: f"{where}: {value!r} does not fit 64 bits",
                kernels.TOO_FINE: f"{where}: {value!r} has more than "
                f"{self._decimals.get(name, DECIMALS)} decimals",
            }.get(fault, f"{where}: {value!r} is no {'boolean' if name == 'side' else 'number'}")
        )

    def _trades(self, found: dict[str, IntArray], sides: BoolArray) -> Trades:
        times = found["time"]
        if times.size and times[0] < _US_FROM:
            if times.max() >= _US_FROM:
                raise ValueError(f"{self._unit}s up to {self._lines} mix times in ms and in us")
            times = times * 1000
        elif times.size and times.min() < _US_FROM:
            raise ValueError(f"{self._unit}s up to {self._lines} mix times in ms and in us")
        return Trades(
            id=found["id"],
            time_us=times,
            price=found["price"],
            quantity=found["quantity"],
            is_buyer_maker=sides,
            quote=found.get("quote"),
            first_id=found.get("first"),
            last_id=found.get("last"),
            quantity_decimals=self._decimals["quantity"],
            quote_decimals=self._decimals["quote"],
        )
