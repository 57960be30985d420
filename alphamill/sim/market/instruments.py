"""What a simulated symbol is by its name: a coin, a TradFi perpetual, a contract that is delivered.

Source: exchangeInfo of USD-M, recorded on 2026-10-07.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from alphamill.frames import FloatArray, Market
from alphamill.sim.market.bars import Bars
from alphamill.sim.market.coins import Coin, SyntheticMarket
from alphamill.sim.market.price_paths import generate

_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")
_FUTURES_QUOTES = ("USDT", "USDC", "USD")  # of names with an ending: DOTUSD_PERP is no DO in TUSD
_DATED = re.compile(r"(?P<pair>.+)_(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)")
_UNDERLYING = {"XAG": "COMMODITY", "XAU": "COMMODITY", "NVDA": "EQUITY", "TSLA": "EQUITY"}
_DELIVERED_AT = timedelta(hours=8)  # of the last Friday of a quarter, UTC
_QUARTER_MS = 100 * 86_400_000  # no quarter is longer
_YEAR_MS = 365 * 86_400_000
_YEARLY_BASIS = 0.08  # what a contract costs more than its coin, a year before its delivery


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol of a futures market, or of spot, where only base and quote count.

    pair: the symbol without its ending. underlying: COIN, COMMODITY, EQUITY. delivery_ms: None for
    a perpetual.
    """

    pair: str
    base: str
    quote: str  # "" if none of the known ones fits
    underlying: str
    delivery_ms: int | None = None

    @classmethod
    def named(cls, symbol: str) -> Instrument:
        """As BTCUSDT, XAUUSDT, BTCUSD_PERP or BTCUSDT_261225."""
        dated = _DATED.fullmatch(symbol)
        delivery_ms = _delivery_ms(dated) if dated else None
        pair = dated["pair"] if dated and delivery_ms else symbol.removesuffix("_PERP")
        base, quote = split_pair(pair, _QUOTES if pair == symbol else _FUTURES_QUOTES)
        return cls(pair, base, quote, _UNDERLYING.get(base, "COIN"), delivery_ms)

    def contract_type(self, now_ms: int) -> str:
        """As the exchange words it."""
        if self.delivery_ms is None:
            return "PERPETUAL" if self.underlying == "COIN" else "TRADIFI_PERPETUAL"
        soon = self.delivery_ms - now_ms <= _QUARTER_MS
        return "CURRENT_QUARTER" if soon else "NEXT_QUARTER"


def split_pair(pair: str, quotes: Sequence[str] = _QUOTES) -> tuple[str, str]:
    """Base and quote asset by the first of the quotes that fits; the quote is "" if none does."""
    for quote in quotes:
        if pair.endswith(quote) and len(pair) > len(quote):
            return pair.removesuffix(quote), quote
    return pair, ""


def _delivery_ms(dated: re.Match[str]) -> int | None:
    try:
        day = datetime(
            2000 + int(dated["year"]), int(dated["month"]), int(dated["day"]), tzinfo=UTC
        )
    except ValueError:
        return None
    return _ms(day + _DELIVERED_AT)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


_OTHERS = (
    Coin("币安人生USDT", 0.1432, 5, 0.0075, 1.2, 1.5e6),
    Coin("XAUUSDT", 1_824.0, 2, 0.0012, 0.1, 5e6),
)


def others(market: SyntheticMarket, coins: Mapping[str, Bars]) -> dict[Market, dict[str, Bars]]:
    """What trades beside the market's coins, which it leaves as they are.

    A coin whose name is of another script, on spot and USD-M; on USD-M a TradFi perpetual and the
    quarterly contract on the first coin that is under way at the market's end.
    """
    apart = generate(replace(market, coins=_OTHERS, planted=(), seed=market.seed + 1))
    coin, metal = _OTHERS
    first = next(iter(coins))
    listed_ms, delivery = _quarter_after(market.start_ms + market.n_bars * market.interval.ms)
    contract = f"{first}_{delivery:%y%m%d}"
    dated = _towards_delivery(coins[first], listed_ms, _ms(delivery))
    here = {coin.symbol: apart[coin.symbol]}
    return {
        Market.SPOT: here,
        Market.USD_M: here | {metal.symbol: apart[metal.symbol], contract: dated},
        Market.COIN_M: {},
    }


def _quarter_after(time_ms: int) -> tuple[int, datetime]:
    """The first quarterly delivery after that, and when its contract was listed: two before."""
    year = datetime.fromtimestamp(time_ms / 1000, UTC).year
    ends = [_last_friday(year + at // 4, 3 * (at % 4) + 3) for at in range(-2, 5)]
    at = next(at for at, end in enumerate(ends) if _ms(end) > time_ms and at >= 2)
    return _ms(ends[at - 2]), ends[at]


def _last_friday(year: int, month: int) -> datetime:
    last = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - 4) % 7) + _DELIVERED_AT


def _towards_delivery(bars: Bars, listed_ms: int, delivery_ms: int) -> Bars:
    """The coin's bars since then, dearer by a basis that is gone on the day of delivery."""
    part = bars.rows(bars.start_at(listed_ms), bars.start_at(delivery_ms))
    dearer = 1 + _YEARLY_BASIS * (delivery_ms - part.open_ms) / _YEAR_MS
    prices = {
        name: np.round(getattr(part, name) * dearer, 4) for name in ("open", "high", "low", "close")
    }
    average: FloatArray = sum(prices.values()) / 4
    return replace(
        part,
        **prices,
        quote_volume=np.round(part.volume * average, 8),
        taker_buy_quote=np.round(part.taker_buy_base * average, 8),
    )
