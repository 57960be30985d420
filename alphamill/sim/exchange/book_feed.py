"""The best bid and ask of one symbol, one tick apart around the running bar's last price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from alphamill.frames import Market
from alphamill.sim.exchange.kline_feed import Event, KlineFeed, Push
from alphamill.sim.exchange.stream_faults import draw

_LOTS = 1000  # at most, on either side


@dataclass(slots=True)
class BookFeed:
    """bookTicker, pushed with the trades that `bars` tells of; its ends of bars are not."""

    market: Market
    bars: KlineFeed

    @property
    def next_ms(self) -> int:
        """Nothing is due before."""
        return self.bars.next_ms

    def due(self, now_ms: int) -> Iterator[Push]:
        """The newest, if it has not been told."""
        for push in self.bars.due(now_ms):
            if push.running:
                yield Push(push.at_ms, True, self._event(push))

    def _event(self, push: Push) -> Event:
        prices, printed = self.bars.traded.price, self.bars.printed
        bid = float(push.event["k"]["c"])
        ask = round(bid + 10.0**-prices, prices)
        lot = 10.0**-self.bars.traded.volume
        sizes = [
            (1 + int(_LOTS * draw(0, self.bars.name, side, push.at_ms))) * lot for side in "ba"
        ]
        book: Event = {"u": push.at_ms, "s": self.bars.symbol}
        if self.market is Market.COIN_M:
            book["ps"] = self.bars.symbol.partition("_")[0]
        book |= {
            "b": f"{bid:.{printed.price}f}",
            "B": f"{sizes[0]:.{printed.volume}f}",
            "a": f"{ask:.{printed.price}f}",
            "A": f"{sizes[1]:.{printed.volume}f}",
        }
        if self.market is Market.SPOT:
            return book
        times = {"T": push.at_ms, "E": push.at_ms}
        return {"e": "bookTicker", **book, **times, "st": 2 if self.market is Market.COIN_M else 1}
