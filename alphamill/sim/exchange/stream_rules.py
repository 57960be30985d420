"""How each market's websockets behave: limits, rhythm, and when the end of a bar is told.

Sources: "WebSocket Streams" of Spot, "Websocket Market Streams" and "Important WebSocket Change
Notice" of USD-M; recorded frames of 2021, 2022, 2023 and 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from alphamill.frames import Market


@dataclass(frozen=True, slots=True)
class StreamRules:
    """The rules of one market; by default those of spot.

    On the exchange's clock, which may run fast: push_s, between the pushes of a running bar, half
    of it for 1s; close_timer_s, after a bar's end at the latest it is told; life_s, of a
    connection. On the machine's: ping_s, between pings; who has not answered one after
    pong_within_s is disconnected; messages_per_s, from one client, pings and pongs included;
    message_bytes, of which one more and it is never answered. connections: attempts of one address
    in five minutes, None if nobody counts them.

    by_trade: running bars are pushed with the trades that change them, and a bar's end is told with
    the first trade of the next bar or by the timer. Else both follow the clock, and the timer is
    not asked. empty_closes: the end of a bar without a trade is told too. burned_frac: share of
    trade ids that no trade has, because a self-trade was prevented.
    """

    push_s: float = 2.0
    by_trade: bool = False
    close_timer_s: float = 2.0
    empty_closes: bool = True
    burned_frac: float = 0.0
    ping_s: float = 20.0
    pong_within_s: float = 60.0
    life_s: float = 86_400.0
    streams: int = 1024  # a connection
    messages_per_s: int = 5
    message_bytes: int = 4088
    connections: int | None = 300

    def __post_init__(self) -> None:
        positive = ("push_s", "ping_s", "pong_within_s", "life_s", "streams", "messages_per_s")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        if self.connections is not None and self.connections < 1:
            raise ValueError("connections must be above 0, or None")
        if not 0 <= self.close_timer_s < float("inf"):
            raise ValueError("close_timer_s must be 0 or more, and finite")
        if not 0 <= self.burned_frac < 1:
            raise ValueError("burned_frac must be from 0 to below 1")


SPOT_STREAMS = StreamRules()
# The end of a futures bar without a trade has not been seen recorded. One id in 270 was burned in
# the trades of a whole day of 2026.
FUTURES_STREAMS = StreamRules(
    push_s=0.25,
    by_trade=True,
    empty_closes=False,
    burned_frac=0.0037,
    ping_s=180.0,
    pong_within_s=600.0,
    messages_per_s=10,
    connections=None,
)


class Route(StrEnum):
    """The part of a USD-M address that says which streams it carries."""

    PUBLIC = "public"  # the book
    MARKET = "market"  # all other data of the market
    PRIVATE = "private"  # an account's, of which there is none here


_PUBLIC = re.compile(r"!bookTicker|[^@]+@(?:bookTicker|depth|rpiDepth|trade)(?:\d.*|@.*)?")


@lru_cache(maxsize=65_536)
def carries(market: Market, route: Route | None, name: str) -> bool:
    """Whether a connection delivers stream `name`; what it does not it takes, and stays silent.

    Only USD-M has routes. An address without one, as all were until 2026-04-23, still connects and
    carries what is public.
    """
    if market is not Market.USD_M:
        return True
    if _PUBLIC.fullmatch(name):
        return route in (None, Route.PUBLIC)
    return route is Route.MARKET
