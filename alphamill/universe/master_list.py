"""Every symbol that a market has or had: from the archive's own listing, and exchangeInfo.

exchangeInfo forgets what was delisted long ago; the archive keeps its files. So the archive says
who there was, and from which month to which there are daily bars; exchangeInfo says what a symbol
is and whether it trades.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from alphamill.frames import Market, Month, is_symbol
from alphamill.market.archive import MARKET_FOLDERS
from alphamill.market.exchange import SymbolInfo
from alphamill.market.kinds import Kind, kinds_of

# What a symbol is quoted in that exchangeInfo has no longer, beside what it quotes today.
_ONCE_QUOTED = ("BUSD", "PAX", "TUSD", "USDS", "USDP", "UST", "VAI", "BKRW", "IDRT", "BIDR", "BVND")
# Whoever has another status trades no more. Source: enums of the spot and futures documentation.
_LIVE = {"TRADING", "HALT", "END_OF_DAY", "CANCEL_ONLY", "PENDING_TRADING", "PRE_TRADING"}
_LIVE |= {"AUCTION_MATCH", "PRE_DELIVERING", "PRE_SETTLE"}
_OF_A_DAY_OR_MONTH = re.compile(r".+-1d-(\d{4}-\d{2})(?:-(\d{2}))?\.zip")
_LATE_MONTHS = 2  # a monthly file comes a week late; what ended longer ago gets no more bars


class Index(Protocol):
    """What is asked of the archive's listing; `market.archive_index` is one."""

    at_once: int

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly below a prefix."""

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Names of the files whose key begins with a prefix."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A symbol of the master list.

    status: as exchangeInfo states it; "" where it has the symbol no longer. kinds: what it is
    beside a coin. first, last: months of its daily bars in the archive, None where it has none;
    last is None too of a symbol that trades: it goes on. first_day_ms, last_day_ms: open times of
    its first and last daily bar, where known.
    """

    symbol: str
    base: str
    quote: str
    status: str
    contract_type: str = ""
    underlying_type: str = ""
    kinds: tuple[Kind, ...] = ()
    first: Month | None = None
    last: Month | None = None
    first_day_ms: int | None = None
    last_day_ms: int | None = None

    @property
    def delisted(self) -> bool:
        """Whether it trades no more."""
        return self.status not in _LIVE

    @property
    def what(self) -> str:
        """In words: "coin", "stable pair", "dated contract", ..."""
        names = {
            Kind.TRADFI: "TradFi",
            Kind.DATED: "dated contract",
            Kind.STABLECOINS: "stable pair",
            Kind.LEVERAGED: "leveraged token",
        }
        return ", ".join(names[kind] for kind in self.kinds) or "coin"

    def had_bars_in(self, month: Month) -> bool:
        """Whether there should be daily bars of that month."""
        if self.first is None:
            return not self.delisted
        return self.first <= month and (self.last is None or month <= self.last)


def read_master_list(
    index: Index,
    infos: Mapping[str, SymbolInfo],
    market: Market,
    now_ms: int,
    before: Mapping[str, Listed] | None = None,
    told: Callable[[int, int], None] | None = None,
) -> tuple[Listed, ...]:
    """By symbol. infos: exchangeInfo's symbols. before: what an earlier list says, by symbol.

    A symbol costs a request for its months and one each for the days of its first and, if it has
    ended, its last; of those that `before` knows and that cannot have changed, none. told: is given
    how many of how many are done. Raises as the index does.
    """
    root = f"data/{MARKET_FOLDERS[market]}"
    archived = {name for name in index.folders(f"{root}/monthly/klines/") if is_symbol(name)}
    archived |= {name for name in index.folders(f"{root}/daily/klines/") if is_symbol(name)}
    known = {**{name: _once(name, infos) for name in archived - infos.keys()}, **infos}
    kinds = kinds_of(known)
    listed = [
        _described(known[name], tuple(kind for kind in Kind if kind in kinds[name]))
        for name in sorted(known)
        if is_symbol(name)
    ]
    before = before or {}
    found = {one.symbol: _kept(one, before.get(one.symbol), now_ms) for one in listed}
    asked = [one for one in listed if found[one.symbol] is None]

    def dated(one: Listed) -> Listed:
        return _dated(one, index, root) if one.symbol in archived else one

    with ThreadPoolExecutor(index.at_once) as threads:
        for done, one in enumerate(threads.map(dated, asked), 1):
            found[one.symbol] = one
            if told is not None:
                told(done, len(asked))
    return tuple(one for _, one in sorted(found.items()) if one is not None)


def _described(info: SymbolInfo, kinds: tuple[Kind, ...]) -> Listed:
    return Listed(
        info.symbol,
        info.base,
        info.quote,
        info.status,
        info.contract_type,
        info.underlying_type,
        kinds,
        first_day_ms=None if not info.onboard_ms else _day_of(info.onboard_ms),
    )


def _once(symbol: str, infos: Mapping[str, SymbolInfo]) -> SymbolInfo:
    """Of a symbol that exchangeInfo has no longer: the longest known quote that it ends with."""
    quotes = {info.quote for info in infos.values() if info.quote} | {*_ONCE_QUOTED}
    pair = symbol.split("_")[0]  # of a dated contract, and of a COIN-M perpetual
    fitting = [quote for quote in quotes if pair.endswith(quote) and pair != quote]
    quote = max(fitting, key=len, default="")
    return SymbolInfo(symbol, "", pair.removesuffix(quote) if quote else pair, quote)


def _kept(one: Listed, before: Listed | None, now_ms: int) -> Listed | None:
    """With the dates of an earlier list, where they hold still; None where they must be asked."""
    if before is None or before.first is None or one.delisted != before.delisted:
        return None
    settled = Month.of_ms(now_ms - _LATE_MONTHS * 31 * 86_400_000)
    if one.delisted and (before.last is None or before.last >= settled):
        return None
    return replace(
        one,
        first=before.first,
        last=before.last,
        first_day_ms=before.first_day_ms,
        last_day_ms=before.last_day_ms,
    )


def _dated(one: Listed, index: Index, root: str) -> Listed:
    """With the months and days of its daily bars, as far as the archive lists them."""
    monthly, daily = (f"{root}/{span}/klines/{one.symbol}/1d/" for span in ("monthly", "daily"))
    months = [*_stamps(index.names(monthly))]
    if months:
        (first_month, _), (last_month, _) = min(months), max(months)
        begins = _stamps(index.names(f"{daily}{one.symbol}-1d-{first_month}"))
        first = min(begins, default=(first_month, 0))
    else:  # listed within a month that has no file yet
        days = [*_stamps(index.names(daily))]
        if not days:
            return one
        first, last_month = min(days), max(days)[0]
    last = None
    if one.delisted:  # and the last month's file may not be out yet
        ends = _stamps(index.names(daily, f"{daily}{one.symbol}-1d-{last_month}"))
        last = max(ends, default=(last_month, 0))
    return replace(
        one,
        first=first[0],
        last=last[0] if last else None,
        first_day_ms=one.first_day_ms or _open_ms(*first),
        last_day_ms=_open_ms(*last) if last else None,
    )


def _open_ms(month: Month, day: int) -> int | None:
    return month.start_ms + (day - 1) * 86_400_000 if day else None


def _day_of(time_ms: int) -> int:
    return time_ms // 86_400_000 * 86_400_000


def _stamps(names: Iterator[str]) -> Iterator[tuple[Month, int]]:
    """Month and day (0 of a month's file) of files of daily bars."""
    for name in names:
        match = _OF_A_DAY_OR_MONTH.fullmatch(name)
        if match:
            yield Month.parse(match[1]), int(match[2] or 0)
