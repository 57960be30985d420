"""Which symbols: the most traded coins of today, from a listing that is asked for once an hour.

Today's most traded coins are yesterday's winners: a study of the past over them is biased by
survival. Symbols no longer traded (status BREAK) keep their history and can be named.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from alphamill.errors import GiveUp
from alphamill.frames import is_symbol
from alphamill.market.exchange import SymbolInfo
from alphamill.market.kinds import Kind, kinds_of

LISTING_TTL_S = 3600
NOT_TRADING, NOT_SPELT = "not_trading", "not_spelt_for_the_lake"
_TRADING = "TRADING"
_REASONS = (*(kind.value for kind in Kind), NOT_SPELT, NOT_TRADING)


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


@dataclass(frozen=True, slots=True)
class TopSymbols:
    """The most traded symbols in one quote asset, and those that were passed over.

    symbols: the most traded first. left_out: reason -> symbols, the most traded first; the reason
    is a `Kind`, NOT_TRADING or NOT_SPELT.
    """

    quote: str
    symbols: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "quote": self.quote,
            "symbols": list(self.symbols),
            "left_out": {reason: list(names) for reason, names in self.left_out.items()},
        }


def top_symbols(
    listing: Listing, quote: str, count: int, include: Collection[Kind] = ()
) -> TopSymbols:
    """The `count` most traded symbols quoted in `quote` that trade now and are coins.

    include: what else to take. Raises GiveUp, naming what there is, if no symbol is left.
    """
    kinds, taken = kinds_of(listing.symbols), []
    left_out: dict[str, list[str]] = {}
    for name in sorted(listing.symbols, key=lambda one: (-listing.quote_volume.get(one, 0.0), one)):
        if listing.symbols[name].quote != quote:
            continue
        reason = _reason(listing.symbols[name], kinds[name].difference(include))
        if reason is None:
            taken.append(name)
        else:
            left_out.setdefault(reason, []).append(name)
    passed_over = {reason: tuple(left_out[reason]) for reason in _REASONS if reason in left_out}
    if not taken:
        raise _nothing(listing, quote, passed_over)
    return TopSymbols(quote, tuple(taken[:count]), passed_over)


def said(reason: str) -> str:
    """A reason of `TopSymbols.left_out` in a sentence."""
    return reason.replace("_", " ")


def _reason(info: SymbolInfo, kinds: Collection[Kind]) -> str | None:
    """Why a symbol is passed over, None if it is not."""
    if info.status != _TRADING:
        return NOT_TRADING
    if not is_symbol(info.symbol):
        return NOT_SPELT
    return next((kind.value for kind in Kind if kind in kinds), None)


def _nothing(listing: Listing, quote: str, left_out: Mapping[str, Collection[str]]) -> GiveUp:
    if left_out:
        why = ", ".join(f"{len(names)} {said(reason)}" for reason, names in left_out.items())
        return GiveUp(f"no coin that is quoted in {quote!r} trades now ({why}); see --include")
    quotes = sorted({info.quote for info in listing.symbols.values()})
    return GiveUp(f"no symbol is quoted in {quote!r}; there are {', '.join(quotes[:12])}")


# What a copy holds: one that was written by another version holds something else.
_FIELDS = [field.name for field in fields(SymbolInfo)]


def _text(listing: Listing) -> bytes:
    rows = [[getattr(info, name) for name in _FIELDS] for info in listing.symbols.values()]
    kept = {"fields": _FIELDS, "rows": rows, "volumes": dict(listing.quote_volume)}
    return json.dumps(kept).encode()


def _parsed(data: bytes) -> Listing:
    kept = json.loads(data)
    if kept["fields"] != _FIELDS:
        raise ValueError("another version's fields")
    infos = [SymbolInfo(*row) for row in kept["rows"]]
    return Listing({info.symbol: info for info in infos}, kept["volumes"])
