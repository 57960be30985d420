"""The klines endpoints: what a query means on each market, and which bars answer it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alphamill.frames import Interval, Market
from alphamill.sim.exchange.messages import (
    RANGE_PARAMETERS,
    ApiError,
    Parameter,
    read_limit,
    read_parameters,
    whole_number,
)
from alphamill.sim.market import Bars

_DAY_MS = 86_400_000
_COIN_M_SPAN_MS = 200 * _DAY_MS
_MICROSECONDS_FROM = 10**14  # a larger time is not in milliseconds (the year 5138)


def _spot_weight(_: int) -> int:
    return 2


def _futures_weight(limit: int) -> int:
    if limit <= 100:
        return 1
    if limit <= 500:
        return 2
    return 5 if limit <= 1000 else 10


@dataclass(frozen=True, slots=True)
class KlineRules:
    """What differs between the markets' klines.

    caps: whether a limit above the maximum counts as the maximum; else it is an error.
    default_weight: of a request that names no limit, and gets 500 bars.
    """

    max_limit: int
    caps: bool
    weight: Callable[[int], int]
    default_weight: int
    intervals: frozenset[Interval]
    accepted: tuple[Parameter, ...]


_PARAMETERS = (RANGE_PARAMETERS[0], Parameter("interval", mandatory=True), *RANGE_PARAMETERS[1:])
_FUTURES = KlineRules(
    max_limit=1500,
    caps=False,
    weight=_futures_weight,
    default_weight=5,  # though 500 bars that are asked for cost 2
    intervals=frozenset(Interval) - {Interval.S1},
    accepted=_PARAMETERS,
)
RULES: Mapping[Market, KlineRules] = {
    Market.SPOT: KlineRules(
        max_limit=1000,
        caps=True,
        weight=_spot_weight,
        default_weight=2,
        intervals=frozenset(Interval),
        accepted=(*_PARAMETERS, Parameter("timeZone")),
    ),
    Market.USD_M: _FUTURES,
    Market.COIN_M: _FUTURES,
}


@dataclass(frozen=True, slots=True)
class KlineQuery:
    """A checked query. Times are milliseconds, both ends included, on a bar's open."""

    symbol: str
    interval: Interval
    start_ms: int | None
    end_ms: int | None
    limit: int  # 1 to the market's maximum


def read_kline_query(market: Market, pairs: Sequence[tuple[str, str]]) -> KlineQuery:
    """The query of a klines request; raises ApiError.

    A start after the end is an error on every market; how the live spot exchange answers it was
    not verified.
    """
    rules = RULES[market]
    values = read_parameters(pairs, rules.accepted)
    if values["interval"] not in rules.intervals:
        raise ApiError(-1120, "Invalid interval.")
    interval = Interval(values["interval"])
    _check_time_zone(values.get("timeZone", "0"), interval)
    limit = read_limit(values, 500, rules.max_limit, caps=rules.caps)
    start_ms, end_ms = whole_number(values, "startTime"), whole_number(values, "endTime")
    if start_ms is not None and start_ms >= _MICROSECONDS_FROM:
        start_ms = -(-start_ms // 1000)
    if end_ms is not None and end_ms >= _MICROSECONDS_FROM:
        end_ms //= 1000
    if start_ms is not None and end_ms is not None:
        _check_span(market, start_ms, end_ms)
    return KlineQuery(values["symbol"], interval, start_ms, end_ms, limit)


def kline_weight(market: Market, pairs: Sequence[tuple[str, str]]) -> int:
    """Request weight, known before the query is checked: a wrong one costs as much."""
    given = dict(pairs).get("limit", "")
    rules = RULES[market]
    if not re.fullmatch(r"[0-9]{1,20}", given):
        return rules.default_weight
    return rules.weight(int(given))


def select_bars(market: Market, query: KlineQuery, bars: Bars, now_ms: int) -> tuple[int, int]:
    """First and stop index of the bars that answer the query at `now_ms`, the running one included.

    The oldest `limit` of a range with a start, else the latest; on COIN-M always the latest of at
    most 200 days.
    """
    start_ms, end_ms = query.start_ms, query.end_ms
    if market is Market.COIN_M and start_ms is not None and end_ms is None:
        end_ms = start_ms + _COIN_M_SPAN_MS
    stop = bars.stop_at(now_ms if end_ms is None else min(now_ms, end_ms))
    first = 0 if start_ms is None else bars.start_at(start_ms)
    if start_ms is None or market is Market.COIN_M:
        first = max(first, stop - query.limit)
    else:
        stop = min(stop, first + query.limit)
    return first, max(first, stop)


def _check_span(market: Market, start_ms: int, end_ms: int) -> None:
    if start_ms > end_ms:
        if market is Market.SPOT:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        raise ApiError(-1023, "Start time is greater than end time.")
    if market is Market.COIN_M and end_ms - start_ms > _COIN_M_SPAN_MS:
        raise ApiError(-1127, "More than 4800 hours between startTime and endTime.")


def _check_time_zone(text: str, interval: Interval) -> None:
    """Only zones that leave the interval's bars where they are; others need bars we do not have."""
    match = re.fullmatch(r"([+-]?)(\d{1,2})(?::(\d{2}))?", text)
    if match is not None:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        minutes = -minutes if match[1] == "-" else minutes
        if -720 <= minutes <= 840 and (
            minutes == 0 or (interval is not Interval.MO1 and minutes * 60_000 % interval.ms == 0)
        ):
            return
    raise ApiError(-1130, "Data sent for parameter 'timeZone' is not valid.")
