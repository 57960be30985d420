"""The archive's files of trades and aggregates as text, and what is wrong with some of their rows.

Sources: README of binance/binance-public-data; its issues 12, 203, 278, 339, 342, 476, 492.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum

from alphamill.frames import Market, TimeRange
from alphamill.sim.exchange.tape import Tape
from alphamill.sim.exchange.trade_rows import aggregate_texts, trade_texts

AGGREGATES, TRADES = "aggTrades", "trades"
_MOST_ROWS = 1_000_000  # some seconds of work, in which nobody else is answered
_AGGREGATE_HEADER = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
)
_TRADE_HEADERS = {
    Market.USD_M: "id,price,qty,quote_qty,time,is_buyer_maker",
    Market.COIN_M: "id,price,qty,base_qty,time,is_buyer_maker",
}
# Of the first files of futures with a header row.
_HEADER_FROM_MS = {AGGREGATES: 1_640_995_200_000, TRADES: 1_660_176_000_000}
_MICROSECONDS_FROM_MS = 1_735_689_600_000  # spot: 2025-01-01
_ZERO_EVERY, _TENTH, _CUT_AFTER = 3, 10, 12

Row = list[str]
Rows = list[Row]


class RowFault(StrEnum):
    """What is wrong with the rows of a file of trades; its CHECKSUM fits."""

    INTERLEAVED = "interleaved"  # from both halves of the file in turn
    REPEATED = "repeated"  # each row twice
    ZERO_QUANTITY = "zero_quantity"  # every third quantity is 0.0
    ALWAYS_MAKER = "always_maker"  # is_buyer_maker is true in every row
    CUT_ROWS = "cut_rows"  # the rows of the first twelfth alone
    LOST_ROWS = "lost_rows"  # a tenth of the rows is missing in the middle
    NO_HEADER = "no_header"
    OTHER_BOOLEANS = "other_booleans"  # those of the other markets


def trades_csv(
    market: Market, kind: str, tape: Tape, within: TimeRange, faults: Collection[str] = ()
) -> bytes | None:
    """The text of the file of that time; None where nothing was traded, or too much."""
    rows = _rows(market, kind, tape, within)
    if not rows:
        return None
    for fault in RowFault:
        if fault in faults and fault in _CHANGES:
            rows = _CHANGES[fault](rows)
    if RowFault.OTHER_BOOLEANS in faults:
        rows = [[_other_case(word) for word in row] for row in rows]
    lines = [",".join(row) for row in rows]
    header = _header(market, kind, within.start_ms)
    if header and RowFault.NO_HEADER not in faults:
        lines.insert(0, header)
    return ("\n".join(lines) + "\n").encode()


def _rows(market: Market, kind: str, tape: Tape, within: TimeRange) -> Rows:
    spot = market is Market.SPOT
    unit = 1000 if spot and within.start_ms >= _MICROSECONDS_FROM_MS else 1
    words = ("False", "True") if spot else ("false", "true")
    best = ["True"] if spot else []
    rows: Rows = []
    at = tape.bar_at(within.start_ms)
    if tape.rows(kind == AGGREGATES, at, tape.bars.stop_at(within.end_ms - 1)) > _MOST_ROWS:
        return []
    while at < len(tape.bars) and int(tape.bars.open_ms[at]) < within.end_ms:
        traded = tape.trades(at)
        traded = traded.where(
            (traded.time_ms >= within.start_ms) & (traded.time_ms < within.end_ms)
        )
        if kind == AGGREGATES:
            for one in aggregate_texts(market, traded):
                ids = str(one.first_id), str(one.last_id)
                end = str(one.time_ms * unit), words[one.sell], *best
                rows.append([str(one.id), one.price, one.quantity, *ids, *end])
        else:
            for each in trade_texts(market, traded):
                end = str(each.time_ms * unit), words[each.sell], *best
                rows.append([str(each.id), each.price, each.quantity, each.quote, *end])
        at += 1
    return rows


def _header(market: Market, kind: str, start_ms: int) -> str:
    if market is Market.SPOT or start_ms < _HEADER_FROM_MS[kind]:
        return ""
    return _AGGREGATE_HEADER if kind == AGGREGATES else _TRADE_HEADERS[market]


def _interleaved(rows: Rows) -> Rows:
    middle = -(-len(rows) // 2)
    late = rows[middle:]
    pairs = zip(rows[: len(late)], late, strict=True)
    return [row for pair in pairs for row in pair] + rows[len(late) : middle]


def _with_zeros(rows: Rows) -> Rows:
    for row in rows[::_ZERO_EVERY]:
        row[2] = "0.0"
    return rows


def _always_true(rows: Rows) -> Rows:
    words = {"False": "True", "false": "true"}
    return [[words.get(word, word) for word in row] for row in rows]


def _with_a_hole(rows: Rows) -> Rows:
    tenth = len(rows) // _TENTH
    middle = len(rows) // 2
    return rows[:middle] + rows[middle + tenth :]


def _other_case(word: str) -> str:
    return word.swapcase()[0] + word[1:] if word.lower() in ("true", "false") else word


_CHANGES: Mapping[str, Callable[[Rows], Rows]] = {
    RowFault.INTERLEAVED: _interleaved,
    RowFault.REPEATED: lambda rows: [row for row in rows for _ in range(2)],
    RowFault.ZERO_QUANTITY: _with_zeros,
    RowFault.ALWAYS_MAKER: _always_true,
    RowFault.CUT_ROWS: lambda rows: rows[: len(rows) // _CUT_AFTER],
    RowFault.LOST_ROWS: _with_a_hole,
}
