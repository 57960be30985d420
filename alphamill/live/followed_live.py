"""One live of a follower: its rows in the lake, and where they go from there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alphamill.errors import RetryLater
from alphamill.grid import index_at, next_ms
from alphamill.live.condition import LiveState, ParityResult
from alphamill.live.feed import ClosedBar
from alphamill.live.following import Following
from alphamill.live.journal import Journal
from alphamill.live.register import Entry
from alphamill.live.signals import Link
from alphamill.live.stream import SignalStream
from alphamill.live.webhook import Courier
from alphamill.market.exchange import SymbolInfo

_AGAIN_S = 1.0  # between two tries to reach Redis
_RIVAL_BARS = 3  # so long it is told that somebody else publishes too
_RIVAL = (
    "another follower publishes it too, from another Redis or egress: each row is published once, "
    "by whoever is first; to have one alone, stop the other stack or give both one Redis"
)


@dataclass(slots=True)
class FollowedLive:
    """A live that is followed. All times in seconds are of one monotonic clock.

    idle: symbols that the exchange does not trade, each with its status there.
    """

    entry: Entry
    journal: Journal
    following: Following
    stream: SignalStream
    courier: Courier | None = None
    idle: Mapping[str, str] = field(default_factory=dict)
    parity: ParityResult | None = None
    behind: bool = True  # the stream may lack rows of the lake
    _unsent: str = ""  # why
    _again_s: float = -1e9
    _overtaken: int = 0  # as `following` told last
    _rival_bar: int | None = None  # the number of the bar that was published next then

    def wants(self, bar: ClosedBar) -> bool:
        """Whether the bar is one of its own."""
        spec = self.entry.spec
        return bar.interval is spec.interval and bar.symbol in self.following.symbols

    def trade(self, listed: Mapping[str, SymbolInfo]) -> None:
        """Wait from the next bar on for those symbols that the exchange trades."""
        status = {
            symbol: listed[symbol].status if symbol in listed else "not listed"
            for symbol in self.entry.spec.symbols
        }
        self.idle = {symbol: said for symbol, said in status.items() if said != "TRADING"}
        self.following.expect([symbol for symbol in status if symbol not in self.idle])

    def push(self, links: Sequence[Link]) -> None:
        """Rows that are in the lake now: to Redis at once; if that fails, `deliver` does."""
        if not self.behind:
            try:
                self.behind = not self.stream.push(links)
            except RetryLater as error:
                self.behind, self._unsent = True, str(error)
        if self.courier is not None:
            self.courier.wake()

    def deliver(self, now_s: float) -> None:
        """Have the stream say what the lake does."""
        if self._overtaken != self.following.overtaken:  # what others said it may lack
            self._overtaken, self.behind = self.following.overtaken, True
            self._rival_bar = self._next_bar
        if self.behind and now_s >= self._again_s:
            began_s = time.monotonic()
            try:
                self.stream.catch_up(self.journal)
                self.behind, self._unsent = False, ""
            except RetryLater as error:
                took_s = time.monotonic() - began_s  # one that hangs must not hold up every bar
                self._again_s, self._unsent = now_s + max(_AGAIN_S, 5 * took_s), str(error)

    def look(self) -> None:
        """Learn whether Redis still has the rows that it was told."""
        try:
            self.behind = self.behind or self.stream.lacks(self.journal)
        except RetryLater:
            self.behind = True

    def problem(self) -> str:
        """What is the matter with it, the gravest first; "" for nothing."""
        shared = self._rival_bar is not None and self._next_bar - self._rival_bar < _RIVAL_BARS
        rival = _RIVAL if shared else ""
        courier = self.courier.problem if self.courier is not None else ""
        return self.following.problem or courier or self._unsent or rival

    @property
    def _next_bar(self) -> int:
        return index_at(self.entry.spec.interval, self.following.next_bar_ms)

    def state(self) -> LiveState:
        """As it is told to people."""
        spec, bar_ms = self.entry.spec, self.following.next_bar_ms
        return LiveState(
            live=self.entry.id,
            market=spec.market.value,
            interval=spec.interval.value,
            symbols=len(spec.symbols),
            factors=len(spec.factors),
            rows=self.following.rows,
            next_bar_ms=bar_ms,
            next_end_ms=next_ms(spec.interval, bar_ms),
            waiting=self.following.waiting,
            idle=self.idle,
            parity=self.parity,
        )

    def close(self) -> None:
        """Deliver no more."""
        if self.courier is not None:
            self.courier.close()
