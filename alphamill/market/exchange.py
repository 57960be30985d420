"""What the mill needs of an exchange, and what an exchange client needs of a limiter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from alphamill.frames import Interval

if TYPE_CHECKING:
    import pyarrow as pa

# A bar or settlement so recent that is absent may still appear; an older one was never there.
SETTLE_MS = 120_000


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A symbol as exchangeInfo states it."""

    symbol: str
    status: str  # TRADING, HALT, BREAK, ...
    base: str
    quote: str
    contract_type: str = ""  # futures only: PERPETUAL, TRADIFI_PERPETUAL, CURRENT_QUARTER, ...
    underlying_type: str = ""  # futures only: COIN, EQUITY, COMMODITY, ...
    onboard_ms: int | None = None  # futures only; spot does not say when a symbol was listed
    delivery_ms: int | None = None  # futures only; of a perpetual that goes on, in the year 2100
    contract_usd: int | None = None  # COIN-M only: what a contract is worth
    leveraged: bool = False  # its permissions say LEVERAGED, as those of spot's tokens do


@dataclass(frozen=True, slots=True)
class Klines:
    """Closed bars of a range.

    table: KLINES. server_time_ms: a time that the exchange's clock had reached before the bars were
    asked for; every bar that closed before it is final. requests: calls made for these bars.
    source: "rest", "archive-monthly", "archive-daily", or several joined by "+". off_grid: open
    times of rows that are not in the table, since no bar of the interval can open there.
    """

    table: pa.Table
    server_time_ms: int
    requests: int
    source: str = "rest"
    off_grid: tuple[int, ...] = ()


class Exchange(Protocol):
    """Market data of one market (spot, USD-M or COIN-M).

    Any call may raise RetryLater (network, limits), GiveUp (no such symbol) or Misconfigured.
    """

    def server_time_ms(self) -> int:
        """The exchange's clock, UTC epoch milliseconds."""

    def symbols(self, max_age_s: float | None = None) -> Mapping[str, SymbolInfo]:
        """All symbols by name, whatever their status; as known at most so long ago."""

    def weight_limit(self) -> int:
        """Request weight that the exchange allows in a minute."""

    def klines(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Klines:
        """Closed bars with start_ms <= open_time < end_ms; bars the exchange lacks are absent."""


class KlineSource(Protocol):
    """Where klines of one kind come from: an `Exchange`, or what has another kind."""

    def klines(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Klines:
        """As those of an `Exchange`."""


class RequestGate(Protocol):
    """The shared limit that every request to one exchange passes through."""

    def reserve(self, weight: float) -> Any:
        """Wait for room for one request of `weight`; a slot to report on. May raise RetryLater."""

    def observe(self, slot: Any, used_weight: float, server_time_ms: int | None) -> None:
        """What the reply to `slot` said: weight used this minute and, if in the body, the time."""

    def pause(self, for_s: float, reason: str) -> None:
        """Nobody may send for `for_s` seconds."""

    def configure(self, weight_limit: int) -> None:
        """The weight a minute that the exchange states; called whenever it is read."""
