"""Recorded trades of BTCUSDT as the archive would print them, and bars by plain definition."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from alphamill.bars import BarBuilder, Bars, Layout, Rule, Trades, TradeSource, join_bars
from alphamill.frames import Market

SPOT = Layout(Market.SPOT, TradeSource.TRADES)
SPOT_AGGREGATES = Layout(Market.SPOT, TradeSource.AGG_TRADES)
USD_M = Layout(Market.USD_M, TradeSource.TRADES)
USD_M_AGGREGATES = Layout(Market.USD_M, TradeSource.AGG_TRADES)
COIN_M = Layout(Market.COIN_M, TradeSource.TRADES)
DAY_US = 86_400_000_000
EIGHTH_US = 1_723_075_200_000_000  # 2024-08-08


@dataclass(frozen=True)
class Row:
    """A trade, or an aggregate of the fills `first` to `last`; decimals as text."""

    id: int
    price: str
    quantity: str
    time_ms: int
    sold: bool
    first: int = 0
    last: int = 0

    @property
    def value(self) -> Fraction:
        return Fraction(self.price) * Fraction(self.quantity)


def printed(rows: Sequence[Row], layout: Layout) -> bytes:
    """A file of the archive, without a header."""
    lines = []
    for row in rows:
        side = str(row.sold) if layout.market is Market.SPOT else str(row.sold).lower()
        behind = ",True" if layout.market is Market.SPOT else ""
        if layout.aggregates:
            middle = f"{row.first},{row.last},{row.time_ms}"
        else:
            middle = f"{float(row.value):.8f},{row.time_ms}"
        lines.append(f"{row.id},{row.price},{row.quantity},{middle},{side}{behind}\n")
    return "".join(lines).encode()


def aggregated(rows: Sequence[Row], within_ms: int = 0) -> list[Row]:
    """Aggregates by the documented rule: fills of one side and price, of one time on spot and of
    100 ms on futures, that follow each other; the time is the first one's."""
    groups: list[list[Row]] = []
    for row in rows:
        last = groups[-1] if groups else None
        if (
            last
            and (last[0].price, last[0].sold) == (row.price, row.sold)
            and row.time_ms - last[0].time_ms <= within_ms
        ):
            last.append(row)
        else:
            groups.append([row])
    return [
        Row(
            number,
            group[0].price,
            f"{float(sum(Fraction(row.quantity) for row in group)):.8f}",
            group[0].time_ms,
            group[0].sold,
            group[0].id,
            group[-1].id,
        )
        for number, group in enumerate(groups, 1)
    ]


@pytest.fixture(scope="session")
def recorded(shared_data: Path) -> Callable[[str], list[Row]]:
    """Trades of "spot" or "usdm" in the last minutes of 2024-08-08, as they came."""

    def read(kind: str) -> list[Row]:
        path = shared_data / "ticks_2024" / f"{kind}_btcusdt_20240808.trades.csv.gz"
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
        cells = (line.split(",") for line in lines)
        return [
            Row(int(number), price, quantity, int(time_ms), sold == "true")
            for _, _, time_ms, number, price, quantity, sold, _ in cells
        ]

    return read


def built(
    pieces: Iterator[Trades] | Sequence[Trades],
    rule: Rule,
    layout: Layout,
    end_us: int,
    **options: object,
) -> Bars:
    """All bars of the pieces."""
    builder = BarBuilder(rule, layout, **options)  # type: ignore[arg-type]
    closed = [builder.add(piece) for piece in pieces]
    return join_bars([*closed, builder.finish(end_us)])


def bar_of(rows: Sequence[Row]) -> tuple[object, ...]:
    """Open, high, low, close, the two volumes, count and the two taker volumes, by definition."""
    prices = [float(row.price) for row in rows]
    bought = [row for row in rows if not row.sold]

    def volume(of: Sequence[Row]) -> float:
        return float(sum(Fraction(row.quantity) for row in of))

    def value(of: Sequence[Row]) -> float:
        return float(sum(row.value for row in of))

    count = sum(row.last - row.first + 1 for row in rows)
    return (
        *(prices[0], max(prices), min(prices), prices[-1]),
        *(volume(rows), value(rows), count, volume(bought), value(bought)),
    )


def shown(bars: Bars) -> list[tuple[object, ...]]:
    """The same fields of each bar with trades."""
    names = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
    columns = [getattr(bars, name) for name in (*names, "taker_buy_base", "taker_buy_quote")]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [row for row, traded in zip(rows, bars.first_id >= 0, strict=True) if traded]
