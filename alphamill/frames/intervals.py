"""Binance's kline markets and the lengths of their bars."""

from __future__ import annotations

from enum import StrEnum


class Market(StrEnum):
    """Binance's kline markets."""

    SPOT = "spot"
    USD_M = "um"
    COIN_M = "cm"

    @property
    def has_funding(self) -> bool:
        """Whether positions held there pay funding."""
        return self is not Market.SPOT


_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Interval(StrEnum):
    """A bar's length, spelled as Binance spells it (case matters: 1m minute, 1M month)."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"

    @property
    def ms(self) -> int:
        """Milliseconds of a bar; a month, which varies, raises ValueError."""
        if self is Interval.MO1:
            raise ValueError("1M has no fixed length")
        return int(self[:-1]) * _UNIT_MS[self[-1]]

    @property
    def bars_per_year(self) -> float:
        """Bars in 365 days: crypto trades all day, every day."""
        return 12.0 if self is Interval.MO1 else 365 * _UNIT_MS["d"] / self.ms
