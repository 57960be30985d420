"""Which coin a symbol's bars are of, and which bars are of none.

Two things that bars alone do not say. A name is given again: LUNAUSDT ended near 0.00005 and was
another coin, near 9, seventeen days later; SUN, QUICK, BNX and VIDT came back from a halt of days
as 1000, 1000, 100 and 10 new coins each. And the exchange may go on giving bars of a symbol that
trades no more: flat, without volume. `find_listings` cuts a symbol's bars into listings; what is
silent between and after them is in none. The two limits are argued in docs/decisions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray, Interval, Month, TimeRange, times_ms

BoolArray = NDArray[np.bool_]

# No trade for longer is no outage and no quiet: over 411 spot symbols and 33 months the longest
# outage lasted 4 hours (33.5 in 2018), the longest quiet of the least liquid coin 23 hours.
SILENT_MS = 2 * 86_400_000
# Prices this many times apart over such a silence are two coins' prices. Coins that went on came
# back at 0.37 to 1.84 of the price before, the nearest that did not at 1/10.8.
JUMP = 5.0

COLUMNS = ("open_time", "open", "high", "low", "close", "volume", "trades")
_LONGEST_MONTH_MS = 31 * 86_400_000
_BESIDE = "@"  # between a symbol and the day of a later listing; no symbol has it


@dataclass(frozen=True, slots=True)
class Listing:
    """One coin's bars under a symbol.

    spans: where they are, by open time, in order; a silent stretch between them is left out.
    price_ratio: its first open over the last close of the listing before; None for the first.
    """

    spans: tuple[TimeRange, ...]
    price_ratio: float | None = None

    @property
    def start_ms(self) -> int:
        """Open time of its first bar."""
        return self.spans[0].start_ms

    @property
    def end_ms(self) -> int:
        """The end of its last bar."""
        return self.spans[-1].end_ms

    def holds(self, open_ms: IntArray) -> BoolArray:
        """Which of these open times are of its bars."""
        edges = [edge for span in self.spans for edge in (span.start_ms, span.end_ms)]
        inside: BoolArray = np.searchsorted(edges, open_ms, side="right") % 2 == 1
        return inside


@dataclass(frozen=True, slots=True)
class Quiet:
    """What open times and volumes say of a symbol: enough to know that all is one listing.

    inside_ms: the longest time that can lie between two trades. head: bars without volume come
    first. traded_ms, end_ms: the end of the last bar with volume, and of the last bar.
    """

    inside_ms: int
    head: bool
    traded_ms: int
    end_ms: int

    def doubtful(self, until_ms: int) -> bool:
        """Whether `find_listings` could say more than one listing of all bars."""
        flat_to_the_end = self.traded_ms < self.end_ms
        silent = max(until_ms, self.end_ms) - self.traded_ms > SILENT_MS
        return self.head or self.inside_ms > SILENT_MS or (flat_to_the_end and silent)


def quiet_of(open_ms: IntArray, volume: FloatArray, interval: Interval) -> Quiet:
    """Of at least one bar, in order. COIN-M volumes are contracts; 0 is 0 everywhere."""
    traded = open_ms[volume != 0]
    end_ms = _end_ms(interval, int(open_ms[-1]))
    if not traded.size:
        return Quiet(end_ms - int(open_ms[0]), True, int(open_ms[0]), end_ms)
    inside_ms = int(np.diff(traded).max(initial=0)) + _length_ms(interval)
    traded_ms = _end_ms(interval, int(traded[-1]))
    return Quiet(inside_ms, bool(traded[0] > open_ms[0]), traded_ms, end_ms)


def find_listings(bars: pa.Table, interval: Interval, until_ms: int) -> tuple[Listing, ...]:
    """The listings of a symbol, in order; none where nothing traded for longer than a quiet.

    bars: COLUMNS, ascending. until_ms: up to where the exchange would have had bars.

    A silence is more than SILENT_MS without a trade: bars that are absent, or flat without volume,
    or some of both. Its flat bars are in no listing, and what is flat up to `until_ms` for so long
    has ended where that begins. A new listing begins where, over a time that may be a silence (bars
    of 3d and 1w do not show one), both the open and the close of the first bar are JUMP times apart
    from the last close. One bar that holds a change of coins cannot be told from a collapse.
    """
    times = times_ms(bars, "open_time")
    if not times.size:
        return ()
    end_ms = max(until_ms, _end_ms(interval, int(times[-1])))
    trades = np.flatnonzero(_traded(bars))
    numbers, ratios = np.zeros(len(times), dtype=np.int64), [None]
    kept = np.ones(len(times), dtype=bool)
    if not trades.size:
        silent = end_ms - int(times[0]) > SILENT_MS
        return () if silent else (Listing(_spans(times, np.arange(len(times)), interval)),)
    opens, closes = (bars[name].to_numpy() for name in ("open", "close"))
    before, after = trades[:-1], trades[1:]
    apart = times[after] - times[before]
    for one in np.flatnonzero(apart - _length_ms(interval) > SILENT_MS):
        kept[before[one] + 1 : after[one]] = False
    jumps = _jumps(closes[before], opens[after], closes[after])
    new = np.flatnonzero((apart + _length_ms(interval) > SILENT_MS) & jumps)
    numbers[after[new]] = 1
    ratios += (opens[after[new]] / closes[before[new]]).tolist()
    first, last = int(trades[0]), int(trades[-1])
    # How long a range that begins flat was flat before is not known: the price has to tell.
    at_first = closes[:1], opens[first : first + 1], closes[first : first + 1]
    if times[first] - times[0] > SILENT_MS or _jumps(*at_first)[0]:
        kept[:first] = False
    if end_ms - _end_ms(interval, int(times[last])) > SILENT_MS:
        kept[last + 1 :] = False
    numbers = np.cumsum(numbers)
    return tuple(
        Listing(_spans(times, np.flatnonzero(kept & (numbers == number)), interval), ratio)
        for number, ratio in enumerate(ratios)
    )


def listing_name(symbol: str, listing: Listing) -> str:
    """How a panel names a listing: the first by its symbol, "LUNAUSDT@2022-05-31" a later one.

    So a range that ends later gives no other name to what it had before.
    """
    if listing.price_ratio is None:
        return symbol
    day = datetime.fromtimestamp(listing.start_ms / 1000, UTC).date()
    return f"{symbol}{_BESIDE}{day.isoformat()}"


def symbol_of(name: str) -> str:
    """The symbol of a listing's name."""
    return name.partition(_BESIDE)[0]


def listed_on(name: str) -> int | None:
    """The first day of a later listing, by its name; None of a symbol's first."""
    day = name.partition(_BESIDE)[2]
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000) if day else None


def _traded(bars: pa.Table) -> BoolArray:
    """Bars with any sign of a trade; what is not known counts as one."""
    high, low, volume = (bars[name].to_numpy() for name in ("high", "low", "volume"))
    trades = bars["trades"].fill_null(0).to_numpy()
    traded: BoolArray = (volume != 0) | (trades != 0) | (high != low)
    return traded


def _jumps(before: FloatArray, opened: FloatArray, closed: FloatArray) -> BoolArray:
    """Where both prices after are JUMP times above the one before, or below it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.minimum(opened, closed) / before
        most = np.maximum(opened, closed) / before
    jumps: BoolArray = (least >= JUMP) | (most * JUMP <= 1)
    return jumps


def _spans(times: IntArray, rows: IntArray, interval: Interval) -> tuple[TimeRange, ...]:
    """The open times of rows in order, one range for those that follow each other."""
    cuts = [0, *(np.flatnonzero(np.diff(rows) > 1) + 1).tolist(), len(rows)]
    return tuple(
        TimeRange(int(times[rows[start]]), _end_ms(interval, int(times[rows[end - 1]])))
        for start, end in pairwise(cuts)
    )


def _length_ms(interval: Interval) -> int:
    return _LONGEST_MONTH_MS if interval is Interval.MO1 else interval.ms


def _end_ms(interval: Interval, open_ms: int) -> int:
    return Month.of_ms(open_ms).end_ms if interval is Interval.MO1 else open_ms + interval.ms
