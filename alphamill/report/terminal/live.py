"""Lives as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from alphamill.live.arrival_log import Lags
from alphamill.live.book import Book
from alphamill.live.follow_up import Checked
from alphamill.live.parity import Parity, Why
from alphamill.live.register import Entry
from alphamill.live.signals import Signal, State
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, moment, number, percent, plain, whole

_SHOWN_SYMBOLS = 4
_WHY = {
    Why.EQUAL: "equal to batch to the bit",
    Why.LATE: "differ: a bar came after the release",
    Why.ABSENT: "differ: a bar never came",
    Why.CORRECTED: "differ: a bar was another when it came",
    Why.UNEXPLAINED: "differ for no known reason",
}


def lives_table(entries: Sequence[tuple[Entry, int, Signal | None]]) -> RenderableType:
    """A row a live: entry, rows of its chain, its newest row."""
    table = empty_table("live", "state", "market", ">factors", ">symbols", ">rows", "last bar")
    for entry, rows, last in entries:
        spec = entry.spec
        table.add(
            entry.id,
            "followed" if entry.active else "stopped",
            f"{spec.market.value} {spec.interval.value}",
            whole(len(spec.factors)),
            whole(len(spec.symbols)),
            whole(rows),
            NOTHING if last is None else moment(last.bar_time),
        )
    return table


def factors_table(entry: Entry, newest: dict[str, Signal]) -> RenderableType:
    """What a live follows, and what its factors said last."""
    table = empty_table("factor", "verdict", ">promised IC", ">horizon", "said", "expression")
    for followed in entry.spec.factors:
        row = newest.get(followed.factor)
        said = NOTHING if row is None else row.state.value.replace("_", " ")
        table.add(
            followed.factor[:8],
            followed.verdict or "by hand",
            number(followed.promised_ic, 4, signed=True),
            whole(followed.horizon_bars),
            said,
            plain(followed.expression, 60),
        )
    return table


def signals_table(rows: Sequence[Signal]) -> RenderableType:
    """Rows of a chain: the strongest positions of each."""
    table = empty_table(">seq", "bar", ">rev", "factor", ">there", "target weights, or why none")
    for row in rows:
        weights = sorted(zip(row.symbols, row.weights, strict=True), key=lambda one: -abs(one[1]))
        shown = " ".join(
            f"{symbol} {weight:+.3f}" for symbol, weight in weights[:_SHOWN_SYMBOLS] if weight
        )
        more = f" and {len(weights) - _SHOWN_SYMBOLS} more" if len(weights) > _SHOWN_SYMBOLS else ""
        said = f"{shown}{more}" if row.state is State.SIGNAL else plain(row.reason, 80)
        table.add(
            whole(row.seq),
            moment(row.bar_time),
            whole(row.revision),
            row.factor[:8] or NOTHING,
            f"{len(row.symbols)}/{row.expected}",
            said or "nothing to hold",
        )
    return table


def parity_view(checked: Checked, newest: Parity, shown: int = 10) -> RenderableType:
    """Counts of all checks by reason, and the differences that the newest found."""
    table = empty_table(">values", ">share", "published values that")
    values = checked.counts.total()
    for why in Why:
        count = checked.counts[why]
        table.add(whole(count), percent(count / values if values else None, 3), _WHY[why])
    parts: list[RenderableType] = [table]
    if not values:
        parts.append(Text("nothing to compare yet: bars must be two minutes old, and in the lake"))
    wrong = [one for one in newest.differences if one.why is Why.UNEXPLAINED]
    named = wrong or newest.differences
    if named:
        details = empty_table(">seq", "bar", "factor", "symbol", ">published", ">batch", "because")
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
    table = empty_table(
        "", ">bars", ">never", ">late", ">median ms", ">p99 ms", ">longest ms", ">by REST"
    )
    for name, lags in (("all", all_bars), *worst):
        table.add(
            name,
            whole(lags.bars),
            percent(lags.missing_frac, 2),
            whole(lags.late),
            whole(lags.median_ms),
            whole(lags.p99_ms),
            whole(lags.longest_ms),
            whole(lags.by_source["rest"]),
        )
    reasons = ", ".join(f"{reason} {whole(count)}" for reason, count in all_bars.reasons.items())
    return Group(table, Text(f"absent at first: {reasons}")) if reasons else table


def book_table(books: Sequence[Book]) -> RenderableType:
    """Forward books: what was earned, traded at the open and a bar later."""
    table = empty_table(
        "factor",
        ">bars",
        ">silent",
        ">gross",
        ">net",
        ">net later",
        ">live IC",
        ">95 % of it",
        ">IC",
        "health",
    )
    for book in books:
        ic = book.ic
        interval = f"{number(ic.low, 3, signed=True)} {number(ic.high, 3, signed=True)}"
        table.add(
            book.followed.factor[:8],
            whole(book.signals),
            whole(book.silent),
            percent(float(book.at_open.gross.sum())),
            percent(float(book.at_open.net.sum())),
            percent(float(book.a_bar_later.net.sum())),
            number(ic.mean, 4, signed=True),
            interval,
            number(book.followed.promised_ic, 4, signed=True),
            book.decay.health.value,
        )
    legend = Text(
        "gross, net: sums of returns on the capital, traded at the open after the bar, as verdicts "
        "are; later: every trade a bar later. IC: what the verdict was given on. health: weakening "
        "is less than that, dead less than half; of factors that hold at most 5 % are called so "
        "within 8,760 bars.",
        style="dim",
    )
    return Group(table, legend)
