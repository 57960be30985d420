"""What is no coin of its own among a market's symbols: by the listing's own words where it has any.

Only stablecoins are known by a list, `pegged.toml`; why is in docs/decisions.md.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Collection, Mapping
from enum import StrEnum
from importlib.resources import files

from alphamill.market.exchange import SymbolInfo

# Baskets of coins, and coins that no spot market has yet; equities, metals and currencies are not.
_OF_COINS = frozenset({"", "COIN", "INDEX", "PREMARKET"})
_OPPOSITE = {"UP": "DOWN", "DOWN": "UP", "BULL": "BEAR", "BEAR": "BULL"}
_DATED = re.compile(r".+_\d{6}")  # BTCUSDT_261225: delivered on that day, and without funding


class Kind(StrEnum):
    """Why a symbol is not taken for a coin; the words of `--include`."""

    TRADFI = "tradfi"  # a perpetual of an equity, a commodity, a currency
    DATED = "dated"  # a contract that is delivered
    STABLECOINS = "stablecoins"  # its base is a currency, or holds the price of one
    LEVERAGED = "leveraged"  # a spot token that multiplies another's moves


def is_dated(symbol: str) -> bool:
    """Whether it names a futures contract that is delivered; those never pay funding."""
    return _DATED.fullmatch(symbol) is not None


def kinds_of(listed: Mapping[str, SymbolInfo]) -> dict[str, frozenset[Kind]]:
    """By symbol of a market's whole listing, what it is beside a coin; most are nothing else."""
    bases = frozenset(info.base for info in listed.values())
    return {name: frozenset(_kinds(info, bases)) for name, info in listed.items()}


def _kinds(info: SymbolInfo, bases: Collection[str]) -> list[Kind]:
    tests = {
        Kind.TRADFI: info.contract_type.startswith("TRADIFI")
        or info.underlying_type not in _OF_COINS,
        Kind.DATED: ("PERPETUAL" not in info.contract_type and info.contract_type != "")
        or is_dated(info.symbol),
        Kind.STABLECOINS: info.base in pegged_assets(),
        Kind.LEVERAGED: info.leveraged or (not info.contract_type and _is_token(info.base, bases)),
    }
    return [kind for kind, holds in tests.items() if holds]


def _is_token(base: str, bases: Collection[str]) -> bool:
    """Whether a spot asset is one of the pair of tokens on an asset that is listed itself.

    BTCUP stands beside BTCDOWN and BTC; beside JUP and SYRUP stand no JDOWN, SYR or SYRDOWN.
    """
    for ending, other in _OPPOSITE.items():
        coin = base.removesuffix(ending)
        if coin and coin != base and coin in bases and coin + other in bases:
            return True
    return False


@functools.cache
def pegged_assets() -> frozenset[str]:
    """Currencies, and the assets that are meant to hold the price of one: `pegged.toml`."""
    text = files("alphamill.market").joinpath("pegged.toml").read_text(encoding="utf-8")
    return frozenset(asset for assets in tomllib.loads(text).values() for asset in assets)
