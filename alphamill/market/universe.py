"""Which symbols: the most traded of today, from a listing that is asked for once an hour.

Today's most traded coins are yesterday's winners: a study of the past over them is biased by
survival. Symbols no longer traded (status BREAK) keep their history and can be named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from alphamill.errors import GiveUp
from alphamill.frames import is_symbol
from alphamill.market.exchange import SymbolInfo

LISTING_TTL_S = 3600
_TRADING = "TRADING"


@dataclass(frozen=True, slots=True)
class Listing:
    """All symbols of a market and their volume of the last 24 hours in quote units."""

    symbols: Mapping[str, SymbolInfo]
    quote_volume: Mapping[str, float]


class Market24h(Protocol):
    """What the universe needs of an exchange."""

    def symbols(self) -> Mapping[str, SymbolInfo]:
        """All symbols by name, whatever their status."""

    def quote_volumes(self) -> Mapping[str, float]:
        """Volume of the last 24 hours by symbol, in quote units."""


class Shelf(Protocol):
    """Bytes by name, for a while."""

    def get(self, name: str) -> bytes | None:
        """What was put there and has not expired."""

    def put(self, name: str, value: bytes, ttl_s: int) -> None:
        """Keep for `ttl_s` seconds."""


def read_listing(exchange: Market24h, shelf: Shelf, name: str) -> Listing:
    """The shelf's copy, or the exchange's own, put on the shelf for an hour."""
    kept = shelf.get(name)
    if kept is not None:
        try:
            return _parsed(kept)
        except (ValueError, TypeError, KeyError):
            pass  # of another version: ask anew
    listing = Listing(exchange.symbols(), exchange.quote_volumes())
    shelf.put(name, _text(listing), LISTING_TTL_S)
    return listing


def top_symbols(listing: Listing, quote: str, count: int) -> tuple[str, ...]:
    """The `count` most traded symbols quoted in `quote` that trade now, the first most.

    Raises GiveUp, naming what there is, if no symbol is quoted so.
    """
    traded = [
        (-listing.quote_volume.get(name, 0.0), name)
        for name, info in listing.symbols.items()
        if info.quote == quote and info.status == _TRADING and is_symbol(name)
    ]
    if not traded:
        quotes = sorted({info.quote for info in listing.symbols.values()})
        raise GiveUp(f"no symbol is quoted in {quote!r}; there are {', '.join(quotes[:12])}")
    return tuple(name for _, name in sorted(traded)[:count])


def _text(listing: Listing) -> bytes:
    symbols = [asdict(info) for info in listing.symbols.values()]
    return json.dumps({"symbols": symbols, "volumes": dict(listing.quote_volume)}).encode()


def _parsed(data: bytes) -> Listing:
    kept = json.loads(data)
    infos = [SymbolInfo(**item) for item in kept["symbols"]]
    return Listing({info.symbol: info for info in infos}, kept["volumes"])
