"""Which symbols a command is about: named, from a file, or the most traded of today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import redis

from alphamill.clock import SystemClock
from alphamill.frames import Market, is_symbol
from alphamill.limits import ExchangeGate, RedisLimiter, binance_pool
from alphamill.market import Binance
from alphamill.market.universe import read_listing, top_symbols
from alphamill.redis_store import connect, reached
from alphamill.settings import Settings
from producers import options

_FIRST_WEIGHT_LIMIT = 1200  # until exchangeInfo has told the real one
_MAX_WAIT_S = 130.0  # two windows: workers may have the first one booked
_MOST = 2000


@dataclass(frozen=True, slots=True)
class Universe:
    """Symbols as asked for; `chosen_symbols` reads them."""

    symbols: tuple[tuple[str, ...], ...]
    symbols_file: Path | None
    top: int | None
    quote: str


universe_options = options.gathered(
    "universe",
    Universe,
    click.argument("symbols", nargs=-1, type=options.Symbols()),
    click.option(
        "--symbols-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="One symbol a line; # begins a comment.",
    ),
    click.option(
        "--top",
        type=click.IntRange(1, _MOST),
        metavar="N",
        help="Add the N most traded symbols of the last 24 hours.",
    ),
    click.option(
        "--quote",
        default="USDT",
        show_default=True,
        metavar="ASSET",
        help="What --top symbols are quoted in (USD on COIN-M).",
    ),
)


def chosen_symbols(settings: Settings, market: Market, universe: Universe) -> tuple[str, ...]:
    """All of them, each once, in order; those of --top are told on stderr.

    Raises click.UsageError without any symbol, and for a line that is none.
    """
    symbols = list(options.flat(universe.symbols))
    if universe.symbols_file is not None:
        symbols += read_symbols(universe.symbols_file)
    if universe.top is not None:
        quote = universe.quote.upper()
        most = _most_traded(settings, market, quote, universe.top)
        click.echo(f"top {len(most)} by 24 h volume in {quote}: {_some(most)}", err=True)
        symbols += most
    if not symbols:
        raise click.UsageError("name symbols (BTCUSDT), --symbols-file FILE or --top N")
    return tuple(dict.fromkeys(symbols))


def read_symbols(path: Path) -> list[str]:
    """The symbols of a file. Raises click.UsageError naming the line that is none."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not is_symbol(text):
            raise click.UsageError(
                f"{path}, line {number}: {text!r} is not spelled as the exchange does"
            )
        found.append(text)
    return found


def _some(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""
    return ", ".join(symbols[:5]) + more


def _most_traded(settings: Settings, market: Market, quote: str, top: int) -> tuple[str, ...]:
    """Asks the exchange through the workers' own gate, so that their limit holds here too."""
    client, binance = connect(settings), settings.binance
    url = binance.url(market)
    pool = binance_pool(binance, market, _FIRST_WEIGHT_LIMIT)
    gate = ExchangeGate(RedisLimiter(client), pool, binance.weight_frac, _MAX_WAIT_S)
    exchange = Binance(market, url, gate, SystemClock(), binance.timeout_s)
    try:
        listing = read_listing(exchange, _RedisShelf(client), f"{market.value}:{_host(url)}")
    finally:
        exchange.close()
    return top_symbols(listing, quote, top)


def _host(url: str) -> str:
    return urlsplit(url).netloc


class _RedisShelf:
    """A `Shelf` that all producers of a stack share."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def get(self, name: str) -> bytes | None:
        with reached("Redis does not answer"):
            kept = self._client.get(f"alphamill:listing:{name}")
        return kept if isinstance(kept, bytes) else None

    def put(self, name: str, value: bytes, ttl_s: int) -> None:
        with reached("Redis does not answer"):
            self._client.set(f"alphamill:listing:{name}", value, ex=ttl_s)
