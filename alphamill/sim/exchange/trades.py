"""The endpoints of trades: aggTrades, trades and historicalTrades on each market.

Sources: the documentation of the three markets; -4166 as recorded in 2026. Trades of futures that
are older than 48 hours have no page, and individual ones by id only for who has a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.frames import Market
from alphamill.sim.exchange.messages import (
    NUMBER,
    RANGE_PARAMETERS,
    ApiError,
    Parameter,
    read_limit,
    read_parameters,
    whole_number,
)
from alphamill.sim.exchange.tape import Tape, Traded
from alphamill.sim.exchange.trade_rows import aggregate_texts, trade_texts

AGGREGATES, TRADES, HISTORICAL = "aggTrades", "trades", "historicalTrades"
TRADE_ENDPOINTS = frozenset({AGGREGATES, TRADES, HISTORICAL})
_LIMIT, _MAX_LIMIT = 500, 1000
_LOOK_BACK_MS = 48 * 3_600_000
_MICROSECONDS_FROM = 10**14
_FROM_ID = Parameter("fromId", NUMBER)
_ACCEPTED = {
    AGGREGATES: (*RANGE_PARAMETERS, _FROM_ID),
    TRADES: (RANGE_PARAMETERS[0], RANGE_PARAMETERS[3]),
    HISTORICAL: (RANGE_PARAMETERS[0], RANGE_PARAMETERS[3], _FROM_ID),
}


def trades_weight(market: Market, endpoint: str) -> int:
    """Request weight, whatever the limit."""
    spot = market is Market.SPOT
    if endpoint == AGGREGATES:
        return 4 if spot else 20
    if endpoint == TRADES:
        return 25 if spot else 5
    return 25 if spot else 200


@dataclass(frozen=True, slots=True)
class TradesQuery:
    """A checked query; times are milliseconds, both ends included."""

    endpoint: str
    symbol: str
    limit: int
    from_id: int | None
    start_ms: int | None
    end_ms: int | None


def read_trades_query(
    market: Market, endpoint: str, pairs: Sequence[tuple[str, str]]
) -> TradesQuery:
    """Raises ApiError, also for whom the endpoint is closed without a key."""
    values = read_parameters(pairs, _ACCEPTED[endpoint])
    if endpoint == HISTORICAL and market.has_funding:
        raise ApiError(-2014, "API-key format invalid.", 401)
    limit = read_limit(values, _LIMIT, _MAX_LIMIT, caps=market is Market.SPOT)
    start_ms, end_ms = whole_number(values, "startTime"), whole_number(values, "endTime")
    if start_ms is not None and start_ms >= _MICROSECONDS_FROM:
        start_ms = -(-start_ms // 1000)
    if end_ms is not None and end_ms >= _MICROSECONDS_FROM:
        end_ms //= 1000
    from_id = whole_number(values, "fromId")
    timed = start_ms is not None or end_ms is not None
    if market is Market.SPOT and from_id is not None and timed:
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(-1023, "Start time is greater than end time.")
    return TradesQuery(endpoint, values["symbol"], limit, from_id, start_ms, end_ms)


def trades_page(
    market: Market, query: TradesQuery, tape: Tape, now_ms: int, unit: int
) -> tuple[str, int]:
    """The body that answers at `now_ms`, and how many rows it has; raises ApiError.

    unit: 1000 for times in microseconds.
    """
    rows: list[str] = []
    for traded in _bars(market, query, tape, now_ms):
        rows += _printed(market, query.endpoint, traded, unit)
        if _ascends(query) and len(rows) >= query.limit:
            break
    rows = rows[: query.limit] if _ascends(query) else rows[-query.limit :]
    return f"[{','.join(rows)}]", len(rows)


def _ascends(query: TradesQuery) -> bool:
    """Whether the oldest are asked for, of a range with a start; else the latest."""
    return query.from_id is not None or query.start_ms is not None


def _bars(market: Market, query: TradesQuery, tape: Tape, now_ms: int) -> Iterator[Traded]:
    """What answers, bar by bar in order of time."""
    until_ms = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
    last = tape.bars.stop_at(until_ms) - 1
    aged = query.from_id is None
    for number in range(_first_bar(market, query, tape, last, now_ms), last + 1):
        traded = _wanted(query, _until(tape.trades(number), until_ms))
        if not len(traded):
            continue
        if not aged:
            _check_age(market, int(traded.time_ms[0]), now_ms)
            aged = True
        yield traded


def _first_bar(market: Market, query: TradesQuery, tape: Tape, last: int, now_ms: int) -> int:
    """Where the answer begins; `last` is the last bar that may have some of it."""
    if query.from_id is not None:
        aggregates = query.endpoint == AGGREGATES
        return (tape.bar_of_aggregate if aggregates else tape.bar_of_trade)(query.from_id)
    if query.start_ms is not None:
        _check_age(market, query.start_ms, now_ms)
        return tape.bar_at(query.start_ms)
    until_ms = now_ms if query.end_ms is None else query.end_ms
    _check_age(market, until_ms, now_ms)
    first, found = last + 1, 0
    while first > 0 and found < query.limit:
        first -= 1
        traded = _until(tape.trades(first), until_ms)
        aggregates = query.endpoint == AGGREGATES
        found += len(np.unique(traded.aggregate)) if aggregates else len(traded)
    return first


def _until(traded: Traded, until_ms: int) -> Traded:
    return traded.where(traded.time_ms <= until_ms)


def _wanted(query: TradesQuery, traded: Traded) -> Traded:
    chosen = np.ones(len(traded), dtype=bool)
    if query.start_ms is not None:
        chosen &= traded.time_ms >= query.start_ms
    if query.from_id is not None:
        ids = traded.aggregate if query.endpoint == AGGREGATES else traded.id
        chosen &= ids >= query.from_id
    return traded.where(chosen)


def _check_age(market: Market, time_ms: int, now_ms: int) -> None:
    if market.has_funding and time_ms < now_ms - _LOOK_BACK_MS:
        raise ApiError(-4166, "Search window is restricted to recent 2 days only.")


def _printed(market: Market, endpoint: str, traded: Traded, unit: int) -> list[str]:
    """One JSON object a row."""
    spot = market is Market.SPOT
    if endpoint == AGGREGATES:
        best = ',"M":true' if spot else ""
        return [
            f'{{"a":{one.id},"p":"{one.price}","q":"{one.quantity}",'
            + ("" if spot else f'"nq":"{one.quantity}",')
            + f'"f":{one.first_id},"l":{one.last_id},"T":{one.time_ms * unit},'
            f'"m":{_word(one.sell)}{best}}}'
            for one in aggregate_texts(market, traded)
        ]
    paid = "baseQty" if market is Market.COIN_M else "quoteQty"
    best = ',"isBestMatch":true' if spot else ""
    return [
        f'{{"id":{one.id},"price":"{one.price}","qty":"{one.quantity}","{paid}":"{one.quote}",'
        f'"time":{one.time_ms * unit},"isBuyerMaker":{_word(one.sell)}{best}}}'
        for one in trade_texts(market, traded)
    ]


def _word(sell: bool) -> str:
    return "true" if sell else "false"
