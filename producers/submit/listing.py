"""What the exchange lists, kept for an hour for all producers, and symbols held against it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import click
import redis

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError
from alphamill.frames import Market
from alphamill.limits import ExchangeGate, RedisLimiter, binance_pool
from alphamill.market import Binance
from alphamill.market.replies import nearest_symbol
from alphamill.market.universe import Listing, read_listing
from alphamill.redis_store import reached
from alphamill.settings import Settings

_MAX_WAIT_S = 130.0  # two windows of the exchange's limit: workers may have the first one booked
_FIRST_WEIGHT_LIMIT = 1200  # until exchangeInfo has told the real one
_TO_CHECK_S = 3.0  # a check is not worth more: whoever cannot ask goes on
_NAMED = 5
_UNLISTED = "with --unlisted they are asked for all the same: the archive keeps what was delisted"


def exchange_listing(
    settings: Settings,
    market: Market,
    client: redis.Redis,
    *,
    patience_s: float = _MAX_WAIT_S,
    fresh: bool = False,
) -> Listing:
    """Asked through the workers' own gate, so that their limit holds here too.

    fresh: not the copy of an hour. Raises RetryLater, GiveUp or Misconfigured where the exchange
    cannot be asked within `patience_s`.
    """
    binance = settings.binance
    url = binance.url(market)
    pool = binance_pool(binance, market, _FIRST_WEIGHT_LIMIT)
    gate = ExchangeGate(RedisLimiter(client), pool, binance.weight_frac, patience_s)
    timeout_s = min(binance.timeout_s, patience_s)
    tries = 3 if patience_s > timeout_s else 1
    exchange = Binance(market, url, gate, SystemClock(), timeout_s, tries=tries)
    try:
        name = f"{market.value}:{urlsplit(url).netloc}"
        return read_listing(exchange, _RedisShelf(client, empty=fresh), name)
    finally:
        exchange.close()


def check_listed(
    settings: Settings,
    market: Market,
    symbols: Sequence[str],
    client: redis.Redis,
    *,
    hint: str = _UNLISTED,
) -> None:
    """Raise click.UsageError for symbols that the exchange does not list, each with its nearest.

    Where it cannot be asked that is said, and nobody is kept from submitting: the workers may stand
    elsewhere. hint: a line after what is wrong, "" for none.
    """
    url = settings.binance.url(market)
    try:
        listed = exchange_listing(settings, market, client, patience_s=_TO_CHECK_S).symbols
        if not listed.keys() >= set(symbols):  # one may be younger than the copy
            listing = exchange_listing(settings, market, client, patience_s=_TO_CHECK_S, fresh=True)
            listed = listing.symbols
    except AlphamillError as error:
        click.echo(f"not known whether the exchange has these symbols: {error}", err=True)
        return
    unknown = [symbol for symbol in dict.fromkeys(symbols) if symbol not in listed]
    if unknown:
        told = [f"{symbol}{_hint(nearest_symbol(symbol, listed))}" for symbol in unknown[:_NAMED]]
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise click.UsageError(
            f"{url} does not list {', '.join(told)}{more} on {market.value}"
            + (f"\n{hint}" if hint else "")
        )


def _hint(near: str | None) -> str:
    return f" (did you mean {near}?)" if near else ""


class _RedisShelf:
    """A `Shelf` that all producers of a stack share; empty: nothing is taken from it."""

    def __init__(self, client: redis.Redis, *, empty: bool = False) -> None:
        self._client = client
        self._empty = empty

    def get(self, name: str) -> bytes | None:
        if self._empty:
            return None
        with reached("Redis does not answer"):
            kept = self._client.get(f"alphamill:listing:{name}")
        return kept if isinstance(kept, bytes) else None

    def put(self, name: str, value: bytes, ttl_s: int) -> None:
        with reached("Redis does not answer"):
            self._client.set(f"alphamill:listing:{name}", value, ex=ttl_s)
