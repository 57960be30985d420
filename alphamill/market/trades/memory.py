"""Trades in memory, for tests and for runs worked in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alphamill.bars import Trades, TradeSource
from alphamill.clock import Clock
from alphamill.market.replies import unknown_symbol


@dataclass(slots=True)
class FakeTrades:
    """A `TradeExchange` that holds trades by symbol, and answers by a clock.

    aggregates, trades: by symbol, each ascending in id. `asked` remembers what pages begin with.
    """

    clock: Clock
    aggregates: dict[str, Trades] = field(default_factory=dict)
    trades: dict[str, Trades] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    page_rows: int = 1000
    contracts_usd: dict[str, int] = field(default_factory=dict)

    def reached_ms(self, wanted_ms: int) -> int:  # noqa: ARG002  the fake's clock is exact
        return self.clock.now_ms()

    def onboard_ms(self, symbol: str) -> int | None:  # noqa: ARG002
        return None

    def contract_usd(self, symbol: str) -> int | None:
        return self.contracts_usd.get(symbol)

    def aggregates_since(self, symbol: str, start_ms: int) -> Trades:
        held = self._held(symbol, self.aggregates)
        return held[held.time_us >= 1000 * start_ms][: self.page_rows]

    def page(self, symbol: str, source: TradeSource, from_id: int) -> Trades:
        self.asked.append((symbol, from_id))
        aggregates = source is TradeSource.AGG_TRADES
        held = self._held(symbol, self.aggregates if aggregates else self.trades)
        return held[held.id >= from_id][: self.page_rows]

    def _held(self, symbol: str, known: Mapping[str, Trades]) -> Trades:
        if symbol not in known:
            raise unknown_symbol(symbol, known)
        held = known[symbol]
        return held[held.time_us <= 1000 * self.clock.now_ms()]
