"""Rows of trades, as the archive's CSV and as pages of the API, to `Trades`.

Source: README of binance/binance-public-data and its issues 203, 278, 339, 342 for the columns and
spellings; Binance's "Recent trades list" and "Compressed/Aggregate trades list".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from alphamill.bars.kernels import rows as kernels
from alphamill.bars.trades import DECIMALS, Layout, Trades, TradeSource, copied, join
from alphamill.frames import IntArray, Market

_ROOM = 16_384  # rows of one piece; their columns stay in the processor's cache
_US_FROM = 10**14  # a time from here on is in microseconds: as milliseconds, the year 5138
_LINE_BREAK = 10
_LONGEST = 4096  # bytes of a line; a row has a hundred
_BOM = b"\xef\xbb\xbf"

# "-" is passed over: futures' quote_qty has a float's rounding, and price times quantity is exact
# there; isBestMatch says nothing. It stood in no early file.
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
_MIDDLE = {"-": kernels.SKIPPED, "quote": kernels.STATED, "first": kernels.SPANNED}
# A header's word, lower case and without underscores -> column.
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
    lines = []
    for number, row in enumerate(rows, 1):
        values = []
        for name, spelled in keys:
            value = next((row[key] for key in spelled if key in row), None)
            if value is None:
                raise ValueError(f"row {number} has no {spelled[0]} ({name})")
            values.append(str(value))
        lines.append(",".join(values))
    parser = TradeParser(layout, unit="row")
    whole = parser.add("".join(f"{line}\n" for line in lines).encode())
    parser.finish()
    return whole


class TradeParser:
    """Trades of a CSV that comes in pieces cut anywhere.

    With or without a header row, told by the first byte; times in milliseconds or microseconds,
    told by value; booleans as True, true, TRUE or 1; lines that end in LF or CRLF; values in
    quotes. Numbers are read exactly; more than 8 decimals are refused, except in the quote column,
    where they are a float's rounding and are rounded off.

    Raises ValueError, in words, naming line and column, for anything else; so does `finish` for a
    file whose last line is cut off.
    """

    def __init__(self, layout: Layout, *, unit: str = "line") -> None:
        self._layout = layout
        self._columns = _COLUMNS[layout.market, layout.source]
        self._unit = unit
        self._rest = b""
        self._lines = 0
        self._begun = False
        self._decimals = dict.fromkeys(("quantity", "quote"), DECIMALS)
        self._values = np.zeros((6, _ROOM), np.int64)
        self._sides = np.zeros(_ROOM, np.uint8)
        self._text_room = np.zeros(0, np.uint8)

    def add(self, piece: bytes | bytearray | memoryview) -> Trades:
        """The trades whose lines end in `piece`."""
        return join([copied(trades) for trades in self.each(piece)] or [self._trades(0)])

    def each(self, piece: bytes | bytearray | memoryview) -> Iterator[Trades]:
        """The same in pieces of which each is overwritten by the next: twice as fast as `add`."""
        if not self._begun:
            piece = self._headless(self._rest + bytes(piece))
        text, stop = self._text(piece)
        report = np.zeros(6, np.int64)
        decimals = np.empty(2, np.int64)
        at = 0
        while at < stop:
            decimals[:] = self._decimals["quantity"], self._decimals["quote"]
            kernels.read_rows(
                text,
                at,
                stop,
                _MIDDLE[self._columns[3]],
                len(self._columns) - self._columns.index("side") - 1,
                decimals,
                self._values,
                self._sides,
                report,
            )
            at = int(report[kernels.CONSUMED])
            trades = self._trades(int(report[kernels.ROWS]))
            self._lines += int(report[kernels.LINES])
            if report[kernels.FAULT] != kernels.FINE:
                text, at, stop = self._mended(text, at, stop, report)
            if len(trades):
                yield trades

    def finish(self) -> Trades:
        """The last line, if it has no line break."""
        if not self._begun and self._rest:
            self._rest += b"\n"
            return self.add(b"")
        if not self._rest:
            return self._trades(0)
        try:
            return self.add(b"\n")
        except ValueError as error:
            raise ValueError(f"{error} (the last one: the file may be cut off)") from None

    def _headless(self, begin: bytes) -> bytes:
        """What follows the header; nothing until the first line is whole."""
        begin = begin.removeprefix(_BOM).lstrip(b"\r\n")
        line, found, rest = begin.partition(b"\n")
        if not found:
            self._check_length(len(begin))
            self._rest = begin
            return b""
        self._begun = True
        self._rest = b""
        words = line.strip().replace(b'"', b"").decode("utf-8", "replace").split(",")
        if words[0][:1].isalpha():
            self._check_header(words)
            self._lines = 1
            return rest
        self._check_width(len(words))
        return begin

    def _check_length(self, size: int) -> None:
        if size > _LONGEST:
            raise ValueError(f"a {self._unit} is longer than {_LONGEST} bytes: these are no rows")

    def _check_header(self, words: list[str]) -> None:
        for place, name in enumerate(self._columns):
            said = words[place].strip() if place < len(words) else ""
            if name != "-" and _WORDS.get(said.lower().replace("_", "")) != name:
                what = f"{said[:40]!r} stands" if said else "nothing stands"
                raise ValueError(f"line 1: in the header {what} where {name} belongs")
        self._columns += ("-",) * (len(words) - len(self._columns))

    def _check_width(self, found: int) -> None:
        columns = self._columns
        least = len(columns) - (columns[-1] == "-")
        if not least <= found <= len(columns):
            raise ValueError(
                f"{self._unit} 1 has {found} columns, where {self._layout.source} of "
                f"{self._layout.market} have {len(columns)}"
            )
        self._columns = columns[:found]

    def _text(self, piece: bytes | bytearray | memoryview) -> tuple[kernels.ByteArray, int]:
        """What is left and `piece` in one buffer, and where its last line ends."""
        left, size = len(self._rest), len(self._rest) + len(piece)
        if self._text_room.size < size + kernels.PADDING:
            self._text_room = np.zeros(size + size // 8 + kernels.PADDING, np.uint8)
        text = self._text_room
        text[:left] = np.frombuffer(self._rest, np.uint8)
        text[left:size] = np.frombuffer(piece, np.uint8)
        text[size : size + kernels.PADDING] = 0
        stop = size
        while stop and text[stop - 1] != _LINE_BREAK and size - stop <= _LONGEST:
            stop -= 1
        self._check_length(size - stop)
        self._rest = text[stop:size].tobytes()
        return text, stop

    def _mended(
        self, text: kernels.ByteArray, at: int, stop: int, report: IntArray
    ) -> tuple[kernels.ByteArray, int, int]:
        """The same text without quotes, or to be read with fewer decimals. Raises ValueError."""
        fault, where_at = int(report[kernels.FAULT]), int(report[kernels.FAULT_AT])
        columns = self._columns
        k = min(int(report[kernels.FAULT_COLUMN]), len(columns) - 1)
        name = columns[k]
        if text[where_at] == ord('"'):
            plain = text[at:stop].tobytes().replace(b'"', b"")
            bare = np.zeros(len(plain) + kernels.PADDING, np.uint8)
            bare[: len(plain)] = np.frombuffer(plain, np.uint8)
            return bare, 0, len(plain)
        if fault == kernels.TOO_LARGE and self._decimals.get(name, 0) > 0:
            self._decimals[name] -= 1
            return text, at, stop
        line = text[at:stop].tobytes().partition(b"\n")[0].rstrip(b"\r")
        number = self._lines + 1
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

    def _trades(self, n: int) -> Trades:
        """The first rows that were read; of the parser's own memory."""
        values = self._values[:, :n]
        times = values[kernels.TIME]
        if n:
            first = times[0] < _US_FROM
            if first != (times.max() < _US_FROM) or first != (times.min() < _US_FROM):
                raise ValueError(
                    f"times in ms and in us stand mixed behind {self._unit} {self._lines}"
                )
            if first:
                np.multiply(times, 1000, out=times)
        names = self._columns
        return Trades(
            id=values[kernels.ID],
            time_us=times,
            price=values[kernels.PRICE],
            quantity=values[kernels.QUANTITY],
            is_buyer_maker=self._sides[:n].view(np.bool_),
            quote=values[kernels.QUOTE] if "quote" in names else None,
            first_id=values[kernels.FIRST] if "first" in names else None,
            last_id=values[kernels.LAST] if "first" in names else None,
            quantity_decimals=self._decimals["quantity"],
            quote_decimals=self._decimals["quote"],
        )


def read_trades(pieces: Iterable[bytes], layout: Layout) -> Iterator[Trades]:
    """Trades of a file that comes in pieces; each is overwritten by the next.

    Raises ValueError, in words, as `TradeParser`.
    """
    parser = TradeParser(layout)
    for piece in pieces:
        yield from parser.each(piece)
    yield parser.finish()
