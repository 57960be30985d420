"""What the lake has of a series, over the whole range that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from alphamill.frames import BarSpan, Interval, Month, TimeRange, has_flow, times_ms, union
from alphamill.grid import DAY_MS
from alphamill.lake.days import DaySeries, day_facts, days_held
from alphamill.lake.layout import IndexSeries, MarkSeries, MetricsSeries, PremiumSeries, Series
from alphamill.lake.listings import COLUMNS, SILENT_MS, Listing, find_listings
from alphamill.lake.manifest import Manifest, Missing, manifest_of
from alphamill.lake.months import read_klines
from alphamill.lake.store import Lake

_LONG_BARS = (Interval.D3, Interval.W1, Interval.MO1)  # a silence need not leave one out


@dataclass(frozen=True, slots=True)
class Beside:
    """What the lake has of one kind of data beside a series' bars.

    kind: "metrics", "premium", "mark", "index" of a futures contract; "flow" of any. rows,
    expected: five minutes of metrics, else bars; those of flow by the days that there are files of.
    missing: stretches without, between the first and the last asked for; of flow, as of the bars.
    """

    kind: str
    rows: int
    expected: int
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class Holdings:
    """A series in the lake. share: of the expected bars that are there; None if none is expected.

    missing: stretches without bars between the first and the last bar asked for. halts: stretches
    of flat bars without volume, which are there. funding_unknown: stretches of a futures series
    whose settlements the lake does not know, empty on spot. funding_silent: those of them in which
    the contract traded and the exchange, when asked, had no settlement. off_grid: times of rows
    that the exchange has where no bar can open, which were left out. asked_ms: by month, when the
    exchange was last asked; a month that is not there was never asked for. new_listings: coins
    that took over the symbol. no_trade_since_ms: from when on nothing traded up to the end, for
    longer than any quiet; None if it trades. beside: what else the lake has of a contract.
    """

    series: Series
    rows: int
    expected: int
    start_ms: int
    end_ms: int
    missing: tuple[Missing, ...]
    halts: tuple[BarSpan, ...]
    asked_ms: Mapping[Month, int] = field(default_factory=dict)
    funding_unknown: tuple[TimeRange, ...] = ()
    funding_silent: tuple[TimeRange, ...] = ()
    off_grid: tuple[int, ...] = ()
    new_listings: tuple[Listing, ...] = ()
    no_trade_since_ms: int | None = None
    beside: tuple[Beside, ...] = ()

    def last_asked_ms(self, start_ms: int) -> int | None:
        """When the exchange was last asked for the bars from here on."""
        return self.asked_ms.get(Month.of_ms(start_ms))

    @property
    def share(self) -> float | None:
        """Bars there of bars expected."""
        return self.rows / self.expected if self.expected else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "market": self.series.market.value,
            "symbol": self.series.symbol,
            "interval": self.series.interval.value,
            "rows": self.rows,
            "expected": self.expected,
            "share": self.share,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "missing": [self._stretch(stretch) for stretch in self.missing],
            "halts": [self._stretch(halt) for halt in self.halts],
            "funding_unknown": [asdict(stretch) for stretch in self.funding_unknown],
            "funding_silent": [asdict(stretch) for stretch in self.funding_silent],
            "off_grid_ms": [*self.off_grid],
            "new_listings": [
                {"start_ms": one.start_ms, "price_ratio": one.price_ratio}
                for one in self.new_listings
            ],
            "no_trade_since_ms": self.no_trade_since_ms,
            **({"beside": [asdict(one) for one in self.beside]} if self.beside else {}),
        }

    def _stretch(self, stretch: Missing | BarSpan) -> dict[str, Any]:
        return asdict(stretch) | {"asked_ms": self.last_asked_ms(stretch.start_ms)}


def holdings_of(held: Manifest, compared_ms: Mapping[Month, int] | None = None) -> Holdings:
    """From a manifest: the range is from the first bar asked for to the last.

    compared_ms: by month, when its bars were last compared with the exchange.
    """
    compared_ms = compared_ms or {}
    start_ms, end_ms = _asked(held)
    if not isinstance(held.series, Series):
        raise TypeError(f"no bars: {held.series}")
    return Holdings(
        held.series,
        held.rows,
        held.expected,
        start_ms,
        end_ms,
        tuple(held.missing(start_ms, end_ms)),
        tuple(halt for partition in held.partitions for halt in partition.facts.halts),
        {e.month: max(e.written_ms, compared_ms.get(e.month, 0)) for e in held.entries},
        off_grid=tuple(time_ms for part in held.partitions for time_ms in part.facts.off_grid),
    )


def _asked(held: Manifest) -> tuple[int, int]:
    """From the first asked for to the last. Of a damaged file, which does not say, its month."""
    asked = [e.partition.facts.asked if e.partition else e.month.range for e in held.entries]
    return min(one.start_ms for one in asked), max(one.end_ms for one in asked)


def with_beside(lake: Lake, held: Holdings) -> Holdings:
    """With what the lake has beside the bars."""
    of = held.series
    flow = _flow_beside(lake, held)
    if not of.market.has_funding:
        return replace(held, beside=flow)
    kinds = (PremiumSeries, MarkSeries, IndexSeries)
    priced = [kind(of.market, of.symbol, of.interval) for kind in kinds]
    found = []
    for series in (MetricsSeries(of.market, of.symbol), *priced):
        known = manifest_of(lake, series)
        if known.entries:
            missing = tuple(known.missing(*_asked(known)))
            found.append(Beside(series.kind, known.rows, known.expected, missing))
    return replace(held, beside=(*found, *flow))


def _flow_beside(lake: Lake, held: Holdings) -> tuple[Beside, ...]:
    """Of the days that the bars were asked for; nothing where there is no flow at all.

    Days are made whole, but for the last, which says in its file how far it had come.
    """
    of = held.series
    series = DaySeries.flow(of.market, of.interval, of.symbol)
    days = [day for day in days_held(lake, series) if has_flow(of.interval)]
    if not days:
        return ()
    last = day_facts(lake, series, days[-1])
    answered = [TimeRange(day, day + DAY_MS) for day in days[:-1]]
    answered += [last.asked] if last else []
    step_ms = of.interval.ms
    missing = tuple(
        Missing(one.start_ms, one.end_ms, one.length_ms // step_ms, "not fetched")
        for one in TimeRange(held.start_ms, held.end_ms).without(*answered)
    )
    expected = (held.end_ms - held.start_ms) // step_ms
    rows = expected - sum(one.length_ms // step_ms for one in missing)
    return (Beside("flow", rows, expected, missing),)


def with_listings(lake: Lake, held: Holdings) -> Holdings:
    """With what its bars say of coins under one name; they are read only where they might.

    A silence of which a part was not fetched, or is damaged, says nothing.
    """
    absent = [one for one in held.missing if one.why == "absent at the exchange"]
    longest_ms = max((one.length_ms for one in union([*absent, *held.halts])), default=0)
    series = held.series
    if longest_ms <= SILENT_MS and series.interval not in _LONG_BARS:
        return held
    where = lake, series.market, series.symbol, series.interval
    bars = read_klines(*where, held.start_ms, held.end_ms, COLUMNS)
    if not bars.num_rows:
        return held
    listings = find_listings(bars, series.interval, held.end_ms)
    unknown = [one for one in held.missing if one.why in ("not fetched", "damaged")]
    new = tuple(
        listing
        for before, listing in pairwise(listings)
        if not _within(unknown, before.end_ms, listing.start_ms)
    )
    traded_ms = listings[-1].end_ms if listings else int(times_ms(bars)[0])
    ended = held.end_ms - traded_ms > SILENT_MS and not _within(unknown, traded_ms, held.end_ms)
    return replace(held, new_listings=new, no_trade_since_ms=traded_ms if ended else None)


def _within(stretches: Sequence[TimeRange], start_ms: int, end_ms: int) -> bool:
    """Whether any of them has a part of that time."""
    return any(one.start_ms < end_ms and start_ms < one.end_ms for one in stretches)
