"""`alphamill gaps`: what the lake has of each series, what is missing, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphamill.errors import GiveUp
from alphamill.frames import BarSpan, Interval, Market, Month, TimeRange
from alphamill.lake import Lake, Manifest, Missing, Series, compared_at_ms, manifest, partitions
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, moment, percent, plain, whole
from alphamill.stages.funding import read_funding
from producers import options

_STRETCHES_SHOWN = 40

_Stretch = tuple["Holdings", Missing | BarSpan, str]  # whose, where, why


@dataclass(frozen=True, slots=True)
class Holdings:
    """A series in the lake. share: of the expected bars that are there; None if none is expected.

    missing: stretches without bars between the first and the last bar asked for. halts: stretches
    of flat bars without volume, which are there. funding_unknown: stretches of a futures series
    whose settlements the lake does not know, empty on spot. asked_ms: by month, when the exchange
    was last asked; a month that is not there was never asked for.
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
        }

    def _stretch(self, stretch: Missing | BarSpan) -> dict[str, Any]:
        return asdict(stretch) | {"asked_ms": self.last_asked_ms(stretch.start_ms)}


@click.command()
@click.argument("symbols", nargs=-1, type=options.Symbols())
@click.option(
    "--interval",
    "intervals",
    type=options.Intervals(),
    metavar="1h[,4h,...]",
    help="Default: all that the lake has.",
)
@click.option(
    "--market",
    type=click.Choice([market.value for market in Market]),
    help="Default: all that the lake has.",
)
@options.json_option
@options.exits
def gaps(
    symbols: tuple[tuple[str, ...], ...],
    intervals: tuple[Interval, ...] | None,
    market: str | None,
    as_json: bool,
) -> None:
    """Show which bars the lake has, which are missing, and why.

    Reads the lake alone; no stack needs to run. --json has every stretch.

    \b
    Example:
      alphamill gaps BTCUSDT ETHUSDT --interval 1h
    """
    lake = Lake(options.settings().lake_uri)
    wanted = options.flat(symbols)
    found = [
        series
        for series in partitions(lake)
        if (not wanted or series.symbol in wanted)
        and (not intervals or series.interval in intervals)
        and (not market or series.market == market)
    ]
    absent = [symbol for symbol in wanted if all(series.symbol != symbol for series in found)]
    if not found:
        raise GiveUp(
            f"{lake.uri} has no such klines; fetch them with: "
            f"alphamill fetch {' '.join(wanted) or 'SYMBOL...'} --interval 1h --start 2024-01-01"
        )
    holdings = [
        _with_funding(
            lake,
            holdings_of(manifest(lake, s.market, s.symbol, s.interval), compared_at_ms(lake, s)),
        )
        for s in found
    ]
    if as_json:
        options.print_json(
            {"lake": lake.uri, "series": [one.to_dict() for one in holdings], "absent": absent}
        )
        return
    _show(holdings, absent, Console())


def holdings_of(held: Manifest, compared_ms: Mapping[Month, int] | None = None) -> Holdings:
    """From a manifest: the range is from the first bar asked for to the last.

    compared_ms: by month, when its bars were last compared with the exchange.
    """
    compared_ms = compared_ms or {}
    # A damaged file does not say what was asked for: its whole month counts.
    asked = [e.partition.facts.asked if e.partition else e.month.range for e in held.entries]
    start_ms, end_ms = min(one.start_ms for one in asked), max(one.end_ms for one in asked)
    return Holdings(
        held.series,
        held.rows,
        held.expected,
        start_ms,
        end_ms,
        tuple(held.missing(start_ms, end_ms)),
        tuple(halt for partition in held.partitions for halt in partition.facts.halts),
        {e.month: max(e.written_ms, compared_ms.get(e.month, 0)) for e in held.entries},
    )


def _with_funding(lake: Lake, held: Holdings) -> Holdings:
    market, symbol = held.series.market, held.series.symbol
    if not market.has_funding:
        return held
    known = read_funding(lake, market, symbol, held.start_ms, held.end_ms)
    unknown = TimeRange(held.start_ms, held.end_ms).without(*known.known)
    return replace(held, funding_unknown=tuple(unknown))


def _show(holdings: Sequence[Holdings], absent: Sequence[str], console: Console) -> None:
    console.print(_series_table(holdings))
    stretches = [(one, stretch, stretch.why) for one in holdings for stretch in one.missing]
    console.print()
    if stretches:
        _print_stretches("missing", stretches, console)
    else:
        console.print(Text("no bar is missing", style="green"))
    if unknown := _funding_lines(holdings):
        console.print()
        for line in unknown:
            console.print(Text(line, style="yellow"))
    halts = [(one, halt, "flat bars, no trade") for one in holdings for halt in one.halts]
    if halts:
        console.print()
        _print_stretches("halted", halts, console)
    if absent:
        console.print(Text(f"not in the lake at all: {', '.join(absent)}", style="yellow"))


def _funding_lines(holdings: Sequence[Holdings]) -> list[str]:
    """For example "funding of BTCUSDT (um) not known: 2023-01-01 00:00 to 2023-02-01 00:00"."""
    lines = [
        f"funding of {one.series.symbol} ({one.series.market.value}) not known: "
        + ", ".join(
            f"{moment(part.start_ms)} to {moment(part.end_ms)}" for part in one.funding_unknown[:4]
        )
        + (f" and {more} more" if (more := len(one.funding_unknown) - 4) > 0 else "")
        for one in holdings
        if one.funding_unknown
    ]
    return list(dict.fromkeys(lines))  # a symbol's intervals often say the same


def _series_table(holdings: Sequence[Holdings]) -> Table:
    table = empty_table(
        "market", "symbol", "bar", "from (UTC)", "to", ">bars", ">share", ">missing", ">halted"
    )
    for one in holdings:
        missing = [stretch.bars for stretch in one.missing]
        known = [bars for bars in missing if bars is not None]
        count = whole(sum(known)) + ("+" if len(known) < len(missing) else "")
        table.add_row(
            *(
                Text(str(part))
                for part in (one.series.market.value, one.series.symbol, one.series.interval.value)
            ),
            Text(moment(one.start_ms)[:10]),
            Text(moment(one.end_ms)[:10]),
            Text(whole(one.rows)),
            Text(percent(one.share, 2 if one.rows < one.expected else 0)),
            Text(count, style="yellow" if missing else "dim"),
            Text(whole(sum(halt.bars for halt in one.halts))),
        )
    return table


def _print_stretches(title: str, stretches: Sequence[_Stretch], console: Console) -> None:
    console.print(_stretches_table(title, stretches[:_STRETCHES_SHOWN]))
    if len(stretches) > _STRETCHES_SHOWN:
        more = len(stretches) - _STRETCHES_SHOWN
        console.print(Text(f"and {more} more stretches: --json", style="dim"))


def _stretches_table(title: str, stretches: Sequence[_Stretch]) -> Table:
    table = empty_table(title, "bar", "from (UTC)", "to", ">bars", "why (last asked)")
    table.columns[-1].no_wrap = False
    for one, stretch, why in stretches:
        asked_ms = one.last_asked_ms(stretch.start_ms)
        table.add_row(
            Text(one.series.symbol),
            Text(one.series.interval.value),
            Text(moment(stretch.start_ms)),
            Text(_until(stretch.start_ms, stretch.end_ms)),
            Text(NOTHING if stretch.bars is None else whole(stretch.bars)),
            Text(plain(why) if asked_ms is None else f"{plain(why)} ({moment(asked_ms)[:10]})"),
        )
    return table


def _until(start_ms: int, end_ms: int) -> str:
    """The end, without the date if that is the start's."""
    start, end = moment(start_ms), moment(end_ms)
    return end.removeprefix(start[:10]).strip()
