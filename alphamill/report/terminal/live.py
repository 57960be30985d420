"""Lives as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from alphamill.live.condition import Standing
from alphamill.live.register import Entry
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.report.terminal.followers import standing_text, troubles
from alphamill.report.terminal.tables import NotedTable, empty_grid, empty_table
from alphamill.report.values import NOTHING, moment, number, percent, plain, whole

if TYPE_CHECKING:  # they compute, which few of these tables need
    from alphamill.live.arrival_log import Lags
    from alphamill.live.book import Book
    from alphamill.live.follow_up import Checked
    from alphamill.live.parity import Parity
    from alphamill.live.waited import Price

_SHOWN_SYMBOLS = 4
_WHY = {  # by the values of parity.Why
    "equal": "equal to batch to the bit",
    "late": "differ: a bar came after the release",
    "absent": "differ: a bar never came",
    "corrected": "differ: a bar was another when it came",
    "unexplained": "differ for no known reason",
}


def lives_table(
    entries: Sequence[tuple[Entry, int, Signal | None]], standings: Sequence[Standing]
) -> RenderableType:
    """A row a live: entry, rows of its chain, its newest row; and how each stands."""
    headers = ("state", "market", ">rows", "last bar", ">factors", ">symbols")
    cells = []
    for (entry, rows, last), how in zip(entries, standings, strict=True):
        spec = entry.spec
        cells.append(
            (
                standing_text(how),
                f"{spec.market.value} {spec.interval.value}",
                whole(rows),
                NOTHING if last is None else moment(last.bar_time),
                whole(len(spec.factors)),
                whole(len(spec.symbols)),
            )
        )
    notes = [
        Text.assemble(entry.id, *((f"\n! {what}", "yellow") for what, _ in troubles(how)))
        for (entry, _, _), how in zip(entries, standings, strict=True)
    ]
    return NotedTable(headers, cells, notes, "rows: of its chain", spare=2)


def holds_line(spec: LiveSpec, now_ms: int) -> str:
    """Whose members its symbols are and until when they hold; "" of symbols that were named."""
    until_ms = spec.holds_until_ms
    if until_ms is None:
        return ""
    of = f"members of {spec.members_of} by {plain(spec.universe, 200)}"
    if now_ms < until_ms:
        return f"{of}; they hold until {moment(until_ms)} UTC"
    return f"{of}; another month has begun since {moment(until_ms)} UTC: start a new live for it"


def factors_table(entry: Entry, newest: dict[str, Signal]) -> RenderableType:
    """What a live follows, and what its factors said last."""
    headers = ("said", ">horizon", ">IC|promised IC", "verdict")
    cells, notes = [], []
    for followed in entry.spec.factors:
        row = newest.get(followed.factor)
        cells.append(
            (
                NOTHING if row is None else row.state.value.replace("_", " "),
                whole(followed.horizon_bars),
                number(followed.promised_ic, 4, signed=True),
                followed.verdict or "by hand",
            )
        )
        notes.append(Text(f"{followed.factor[:8]}  {plain(followed.expression)}"))
    legend = "horizon: bars that a signal is held for. IC: RankIC that the verdict was given on."
    return NotedTable(headers, cells, notes, legend)


def signals_table(rows: Sequence[Signal]) -> RenderableType:
    """Rows of a chain: the strongest positions of each, in a last column that is folded."""
    grid = empty_grid(">", "", ">", "", ">", "", gap=2)
    grid.add("seq", "bar", "rev", "factor", "there", "target weights, or why none")
    for row in rows:
        said = _positions(row) if row.state is State.SIGNAL else plain(row.reason, 80)
        grid.add(
            whole(row.seq),
            moment(row.bar_time),
            whole(row.revision),
            row.factor[:8] or NOTHING,
            f"{len(row.symbols)}/{row.expected}",
            said or "nothing to hold",
        )
    return grid


def _positions(row: Signal) -> str:
    weights = sorted(zip(row.symbols, row.weights, strict=True), key=lambda one: -abs(one[1]))
    shown = " ".join(
        f"{symbol} {weight:+.3f}" for symbol, weight in weights[:_SHOWN_SYMBOLS] if weight
    )
    more = f" and {len(weights) - _SHOWN_SYMBOLS} more" if len(weights) > _SHOWN_SYMBOLS else ""
    return f"{shown}{more}"


def parity_view(checked: Checked, newest: Parity, shown: int = 10) -> RenderableType:
    """Counts of all checks by reason, and the differences that the newest found."""
    from alphamill.live.parity import Why

    table = empty_table(">values", ">share", "published values that")
    values = checked.counts.total()
    for why in Why:
        count = checked.counts[why]
        table.add(whole(count), percent(count / values if values else None, 3), _WHY[why.value])
    parts: list[RenderableType] = [table]
    if not values:
        parts.append(Text("nothing to compare yet: bars must be two minutes old, and in the lake"))
    wrong = [one for one in newest.differences if one.why is Why.UNEXPLAINED]
    named = wrong or newest.differences
    if named:
        details = empty_grid(">", "", "", "", ">", ">", "", gap=1)
        details.add("seq", "bar", "factor", "symbol", "published", "batch", "because")
        for one in named[:shown]:
            because = "" if one.because is None else f"{one.because[0]} {moment(one.because[1])}"
            details.add(
                whole(one.seq),
                moment(one.bar_ms),
                one.factor[:8],
                one.symbol,
                number(one.published, 6),
                number(one.batch, 6),
                f"{one.why.value} {because}".strip(),
            )
        parts += [Text(), details]
        if len(named) > shown:
            parts.append(Text(f"and {whole(len(named) - shown)} more: --json", style="dim"))
    return Group(*parts)


def arrivals_view(all_bars: Lags, worst: Sequence[tuple[str, Lags]]) -> RenderableType:
    """When bars arrived after their close: of all symbols, then of the worst."""
    headers = (
        *(">bars", ">never", ">late", ">median|median ms", ">p99|p99 ms", ">longest|longest ms"),
        ">REST|by REST",
    )
    cells = [
        (
            whole(lags.bars),
            percent(lags.missing_frac, 2),
            whole(lags.late),
            whole(lags.median_ms),
            whole(lags.p99_ms),
            whole(lags.longest_ms),
            whole(lags.by_source["rest"]),
        )
        for _, lags in (("", all_bars), *worst)
    ]
    notes = [Text("all symbols"), *(Text(symbol) for symbol, _ in worst)]
    reasons = ", ".join(f"{reason} {whole(count)}" for reason, count in all_bars.reasons.items())
    legend = (
        "Milliseconds from the bar's end to its arrival, on the exchange's clock. never, late: not "
        "by stream when it was waited for no longer; REST: asked for. By the share that never came."
        f"{f' Absent at first: {reasons}.' if reasons else ''}"
    )
    return NotedTable(headers, cells, notes, legend, spare=1)


def waiting_view(prices: Sequence[Price]) -> RenderableType:
    """How far values at moments after the bar's end stood from the final ones; of all factors
    together, then of each where there are several.
    """
    headers = (
        *("after|s after the close", ">bars", ">absent|symbols absent", ">silent|below the quorum"),
        *(">differ|values that differ", ">gap|rank gap", ">p95|its 95th percentile"),
        *(">moved|book held otherwise", ">p95|its 95th percentile"),
    )
    factors = list(dict.fromkeys(price.factor for price in prices))
    shown = [one for one in prices if len(factors) > 2 or one.factor == ""]
    cells = [
        (
            f"{number(price.after_ms / 1000, 1)} s",
            whole(price.bars),
            percent(price.absent_frac),
            whole(price.silent),
            percent(price.differ_frac),
            number(price.rank_gap_median, 3),
            number(price.rank_gap_p95, 3),
            percent(price.moved_median),
            percent(price.moved_p95),
        )
        for price in shown
    ]
    notes = [Text(price.factor[:8] or "all factors") for price in shown]
    legend = (
        "What waiting so long after the bar's end would have published, beside the final values; "
        "of the newest seven days. absent: mean share of symbols; silent: bars below the quorum, "
        "which the rest is not about; differ: of values that were there; gap: mean difference of "
        "ranks from 0 to 1, moved: share of the book that would have been held otherwise, each "
        "the median over bars and the 95th percentile."
    )
    return NotedTable(headers, cells, notes, legend, spare=0)


def book_table(books: Sequence[Book]) -> RenderableType:
    """Forward books: what was earned, traded at the open and a bar later."""
    headers = (
        *(">bars", ">net", ">IC|live IC", ">low|IC's low", ">high|IC's high", ">was|IC promised"),
        *("health", ">gross", ">later|net, a bar later", ">silent|bars without a signal"),
    )
    cells = [
        (
            whole(book.signals),
            percent(float(book.at_open.net.sum())),
            number(book.ic.mean, 3, signed=True),
            number(book.ic.low, 3, signed=True),
            number(book.ic.high, 3, signed=True),
            number(book.followed.promised_ic, 3, signed=True),
            book.decay.health.value,
            percent(float(book.at_open.gross.sum())),
            percent(float(book.a_bar_later.net.sum())),
            whole(book.silent),
        )
        for book in books
    ]
    notes = [
        Text(f"{book.followed.factor[:8]}  {plain(book.followed.expression)}") for book in books
    ]
    legend = (
        "gross, net: sums of returns on the capital, traded at the open after the bar, as verdicts "
        "are; later: every trade a bar later. IC: live RankIC with its 95 % interval; was: what "
        "the verdict was given on. health: weakening is less than that, dead less than half; of "
        "factors that hold at most 5 % are called so within 8,760 bars."
    )
    return NotedTable(headers, cells, notes, legend, spare=3)
