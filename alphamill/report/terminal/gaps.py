"""What the lake has of each series, what is missing, and why, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alphamill.frames import BarSpan
from alphamill.lake import Missing
from alphamill.lake.holdings import Holdings
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, moment, percent, plain, times_over, whole

_STRETCHES_SHOWN = 40
_DAY_MS = 86_400_000
_STRAYS_SHOWN = 4
_FUNDING_SHOWN = 4  # stretches of a symbol without known funding

_Stretch = tuple[Holdings, Missing | BarSpan, str]  # whose, where, why


def gaps_view(holdings: Sequence[Holdings], absent: Sequence[str]) -> RenderableType:
    """A line a series, then every stretch that is missing or halted; absent: symbols."""
    missing = [(one, stretch, stretch.why) for one in holdings for stretch in one.missing]
    halts = [(one, halt, "flat bars, no trade") for one in holdings for halt in one.halts]
    parts: list[RenderableType] = [_series_table(holdings), Text()]
    parts += _stretches("missing", missing) or [Text("no bar is missing", style="green")]
    if known := _listing_lines(holdings):
        parts += [Text(), *(Text(line, style="yellow") for line in known)]
    if unknown := _funding_lines(holdings):
        parts += [Text(), *(Text(line, style="yellow") for line in unknown)]
    if beside := _beside_lines(holdings):
        parts += [Text(), *(Text(line) for line in beside)]
    if halts:
        parts += [Text(), *_stretches("halted", halts)]
    if strays := _off_grid_lines(holdings):
        parts += [Text(), *(Text(line, style="yellow") for line in strays)]
    if absent:
        parts.append(Text(f"not in the lake at all: {', '.join(absent)}", style="yellow"))
    return Group(*parts)


def _listing_lines(holdings: Sequence[Holdings]) -> list[str]:
    """For example "LUNAUSDT (spot 1h): new listing since 2022-05-31 06:00 (price x 20,000)"."""
    lines = []
    for one in holdings:
        whose = f"{one.series.symbol} ({one.series.market.value} {one.series.interval.value})"
        lines += [
            f"{whose}: new listing since {moment(new.start_ms)} "
            f"(price x {times_over(new.price_ratio)})"
            for new in one.new_listings
        ]
        if one.no_trade_since_ms is not None:
            lines.append(f"{whose}: no trade since {moment(one.no_trade_since_ms)}: ended")
    return lines


def _beside_lines(holdings: Sequence[Holdings]) -> list[str]:
    """For example "metrics of BTCUSDT (um): 12 of 8,928 rows are not there; the longest ..."."""
    lines = []
    for one in holdings:
        for kept in one.beside:
            of = f"{kept.kind} of {one.series.symbol} ({one.series.market.value}"
            of += ")" if kept.kind == "metrics" else f" {one.series.interval.value})"
            lost = kept.expected - kept.rows
            line = f"{of}: {whole(lost)} of {whole(kept.expected)} rows are not there"
            if kept.missing:
                longest = max(kept.missing, key=lambda stretch: stretch.length_ms)
                span = f"{moment(longest.start_ms)} to {moment(longest.end_ms)}"
                line += f"; the longest stretch is {span}, {longest.why}"
            lines.append(line)
    return list(dict.fromkeys(lines))


def _funding_lines(holdings: Sequence[Holdings]) -> list[str]:
    """For example "funding of BTCUSDT (um) not known: 2023-01-01 00:00 to 2023-02-01 00:00"."""
    lines = []
    for one in holdings:
        shown = one.funding_unknown[:_FUNDING_SHOWN]
        parts = ", ".join(f"{moment(part.start_ms)} to {moment(part.end_ms)}" for part in shown)
        more = len(one.funding_unknown) - len(shown)
        if shown:
            whose = f"funding of {one.series.symbol} ({one.series.market.value}) not known"
            lines.append(f"{whose}: {parts}" + (f" and {more} more" if more else ""))
    return list(dict.fromkeys(lines))  # a symbol's intervals often say the same


def funding_cure(holdings: Sequence[Holdings]) -> list[str]:
    """What to do about unknown funding: a command a market, whole, and why it may be in vain."""
    lines = []
    for market in dict.fromkeys(one.series.market for one in holdings if one.funding_unknown):
        own = [one for one in holdings if one.funding_unknown and one.series.market is market]
        parts = [part for one in own for part in one.funding_unknown]
        first = min(part.start_ms for part in parts)
        last = max(part.end_ms for part in parts) + _DAY_MS - 1
        symbols = dict.fromkeys(one.series.symbol for one in own)
        lines.append(
            f"ask again: alphamill fetch {' '.join(symbols)} --market {market} --interval "
            f"{own[0].series.interval} --start {moment(first)[:10]} --end {moment(last)[:10]} "
            "--again --wait"
        )
    if any(one.funding_silent for one in holdings):
        lines.append(
            "where the contract traded and the exchange has no settlement for over 8 hours, it is "
            "not 0, and books are charged nothing; it may have it another day"
        )
    return lines


def _off_grid_lines(holdings: Sequence[Holdings]) -> list[str]:
    """For example "BTCUSDT 1h: 2 rows off the grid left out: 2018-02-09 09:28, ..."."""
    lines = []
    for one in holdings:
        shown = ", ".join(moment(time_ms) for time_ms in one.off_grid[:_STRAYS_SHOWN])
        more = len(one.off_grid) - _STRAYS_SHOWN
        if one.off_grid:
            rows = "row" if len(one.off_grid) == 1 else "rows"
            text = f"{one.series.symbol} {one.series.interval}: {len(one.off_grid)} {rows} off the "
            lines.append(
                f"{text}grid left out: {shown}" + (f" and {more} more" if more > 0 else "")
            )
    return lines


def _series_table(holdings: Sequence[Holdings]) -> Table:
    table = empty_table(
        "market", "symbol", "bar", "from (UTC)", "to", ">bars", ">share", ">missing", ">halted"
    )
    for one in holdings:
        missing = [stretch.bars for stretch in one.missing]
        known = [bars for bars in missing if bars is not None]
        count = whole(sum(known)) + ("+" if len(known) < len(missing) else "")
        table.add(
            one.series.market,
            one.series.symbol,
            one.series.interval,
            moment(one.start_ms)[:10],
            moment(one.end_ms)[:10],
            whole(one.rows),
            percent(one.share, 2 if one.rows < one.expected else 0),
            Text(count, style="yellow" if missing else "dim"),
            whole(sum(halt.bars for halt in one.halts)),
        )
    return table


def _stretches(title: str, stretches: Sequence[_Stretch]) -> list[RenderableType]:
    if not stretches:
        return []
    table = empty_table(title, "bar", "from (UTC)", "to", ">bars", "why (last asked)")
    table.columns[-1].no_wrap = False
    for one, stretch, why in stretches[:_STRETCHES_SHOWN]:
        asked_ms = one.last_asked_ms(stretch.start_ms)
        table.add(
            one.series.symbol,
            one.series.interval,
            moment(stretch.start_ms),
            _until(stretch.start_ms, stretch.end_ms),
            NOTHING if stretch.bars is None else whole(stretch.bars),
            plain(why) if asked_ms is None else f"{plain(why)} ({moment(asked_ms)[:10]})",
        )
    more = len(stretches) - _STRETCHES_SHOWN
    note = Text(f"and {more} more stretches: --json", style="dim")
    return [table, note] if more > 0 else [table]


def _until(start_ms: int, end_ms: int) -> str:
    """The end, without the date if that is the start's."""
    start, end = moment(start_ms), moment(end_ms)
    return end.removeprefix(start[:10]).strip()
