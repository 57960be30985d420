"""bars: a day of trades made into bars of one rule, and into the lake.

A job a symbol and UTC day. Each rule begins anew at midnight, so a day is done by itself, whole,
and in one go: nothing is in the lake of a day that could not be read to its end. A day that is
there as far as it was asked for costs one look at its file; one that had not ended then is made
anew. Safe to repeat, and safe beside another worker.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from alphamill.bars import (
    BARS,
    Bars,
    Layout,
    Quality,
    Rule,
    Trades,
    TradeSource,
    join_bars,
    parse_rule,
)
from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import SYMBOL_SPELLING, Interval, Market, TimeRange, has_flow, is_symbol
from alphamill.grid import DAY_MS
from alphamill.jobs import BarsJob, Facts
from alphamill.lake import Lake
from alphamill.lake.days import DayFacts, DaySeries, day_facts, write_day
from alphamill.market import Damaged, Exchange
from alphamill.market.trades.api import TradeExchange
from alphamill.market.trades.history import DayRead, TradeArchive, TradeHistory
from alphamill.stages.bring import keep_damaged
from alphamill.stages.kept_pages import KeptPages
from alphamill.stages.kept_trades import KeptTrades

if TYPE_CHECKING:
    from alphamill.bars import BarBuilder

_MINUTE_MS = 60_000
_WITH_FLOW = {interval.value: interval for interval in Interval if has_flow(interval)}


@dataclass(frozen=True, slots=True)
class BarsDeps:
    """What the stage works with; `archive` is None where the exchange's API is the only source.

    klines: for the close before a day's first trade.
    """

    exchange: TradeExchange
    klines: Exchange
    lake: Lake
    archive: TradeArchive | None = None
    clock: Clock = field(default_factory=SystemClock)  # tells which files the archive may have


@dataclass(frozen=True, slots=True)
class BarsFacts(Facts):
    """What is in the lake of the day, or of the part of it that has passed.

    bars: those that are complete. trades: rows that they are made of; lacking: rows that are
    missing by their ids. requests: of the exchange's API; files: of its archive. skipped: all was
    there already and nothing was asked. note: "" or why there is no complete bar. archive_note: ""
    or what of the archive could not be used, and what was wrong with the trades.
    """

    bars: int
    trades: int
    lacking: int
    requests: int
    source: str
    key: str
    skipped: bool
    files: int = 0
    note: str = ""
    archive_note: str = ""

    @property
    def landed(self) -> dict[str, int]:
        return {"made": 0 if self.skipped else self.bars, "requests": self.requests}


def run(job: BarsJob, deps: BarsDeps) -> BarsFacts:
    """Make the job's bars. Raises GiveUp, in one line, where nobody has the trades."""
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake ({SYMBOL_SPELLING} can)")
    day = _Day(job, deps)
    held = day.held()
    if held is not None:
        return _facts(day, held, skipped=True)
    return day.made()


@dataclass(frozen=True, slots=True)
class _Day:
    """A job's day and where its bars go."""

    job: BarsJob
    deps: BarsDeps

    @property
    def rule(self) -> Rule:
        return parse_rule(self.job.rule)

    @property
    def layout(self) -> Layout:
        return Layout(self.job.market, TradeSource(self.job.source))

    @property
    def asked(self) -> TimeRange:
        """From midnight: a rule's bars depend on all trades of their day."""
        return TimeRange(self.job.start_ms // DAY_MS * DAY_MS, self.job.end_ms)

    @property
    def bars(self) -> DaySeries:
        return DaySeries.bars(self.job.market, self.rule.text, self.job.symbol)

    @property
    def trades(self) -> DaySeries:
        return DaySeries.trades(self.job.market, self.job.source, self.job.symbol)

    @property
    def flow(self) -> DaySeries | None:
        """Of rules that are intervals of klines, up to an hour."""
        interval = _WITH_FLOW.get(self.rule.text)
        if interval is None:
            return None
        return DaySeries.flow(self.job.market, interval, self.job.symbol)

    def held(self) -> DayFacts | None:
        """What the lake says of the day, if all that is asked for is there."""
        start_ms = self.asked.start_ms
        held = day_facts(self.deps.lake, self.bars, start_ms)
        if held is None or held.rows != self.job.source or held.asked.end_ms < self.asked.end_ms:
            return None
        wanted = [self.flow] if self.flow else []
        if self.job.keep_trades:
            if not held.details["kept_trades"]:
                return None
            wanted.append(self.trades)
        there = all(self.deps.lake.exists(series.key(start_ms)) for series in wanted)
        return held if there else None

    def made(self) -> BarsFacts:
        """Read the trades, build, and write: the bars last, since they say that all is there."""
        deps, job = self.deps, self.job
        pages = KeptPages(deps.lake, self.trades, self.asked.start_ms, deps.clock)
        history = TradeHistory(
            job.market, deps.exchange, deps.archive, deps.clock, self._keep_damaged, pages
        )
        with ExitStack() as stack:
            kept = stack.enter_context(KeptTrades(self.layout)) if job.keep_trades else None
            try:
                read = history.read(
                    job.symbol, self.layout.source, self.asked, partial(_Builder, self, kept)
                )
            except RetryLater:
                pages.flush()
                raise
            bars, quality = read.reader.finished(read.range)
            facts = DayFacts(
                read.range, read.source, job.source, self._details(bars, quality, read)
            )
            if kept is not None:
                kept.put(deps.lake, self.trades, self.asked.start_ms)
        table = bars.table()
        if self.flow is not None:
            columns = ["open_time", *bars.flow, "complete"]
            write_day(deps.lake, self.flow, table.select(columns), facts)
            table = table.select(BARS.names)
        write_day(deps.lake, self.bars, table, facts)
        pages.drop()
        return _facts(self, facts, skipped=False, read=read)

    def previous_close(self) -> float | None:
        """Of the last minute before the day, by the exchange's own bars; None if it has none."""
        start_ms = self.asked.start_ms
        try:
            before = self.deps.klines.klines(
                self.job.symbol, Interval.M1, start_ms - _MINUTE_MS, start_ms
            ).table
        except GiveUp:  # of a symbol that was removed
            return None
        return float(before["close"][0].as_py()) if before.num_rows else None

    def contract_usd(self) -> int | None:
        """What a contract of COIN-M is worth, where the exchange says so."""
        return self.deps.exchange.contract_usd(self.job.symbol)

    def assumed_usd(self) -> int:
        """Of a contract that was removed: what those of its coin are worth."""
        return 100 if self.job.symbol.startswith("BTCUSD_") else 10

    def _keep_damaged(self, damaged: Damaged) -> None:
        keep_damaged(self.deps.lake, self.trades, [damaged], self.deps.clock.now_ms())

    def _details(self, bars: Bars, quality: Quality, read: DayRead[_Builder]) -> dict[str, Any]:
        lacking = max(read.lacking, quality.missing(self.layout))
        found = {name: value for name, value in quality.to_message().items() if value}
        return {
            "rule": self.rule.text,
            "kept_trades": self.job.keep_trades,
            "bars": int(bars.complete.sum()),
            "trades": quality.trades,
            "lacking": lacking,
            "quality": found,
            "notes": [*read.notes, *said(quality, self.layout), *read.reader.said()],
        }


class _Builder:
    """A day's bars, of trades that come in pieces; they may be kept beside.

    The close before the day is asked for only where its first bar has no trade.
    """

    def __init__(self, day: _Day, kept: KeptTrades | None) -> None:
        self._day = day
        self._kept = kept
        self._builder: BarBuilder | None = None
        self._closed: list[Bars] = []
        self.assumed_usd: int | None = None  # a contract's worth that nobody stated
        if kept is not None:
            kept.begin()

    def add(self, trades: Trades) -> None:
        """The next piece. Raises OutOfOrder."""
        if not len(trades):
            return
        if self._builder is None:
            self._builder = self._begun(int(trades.time_us[0]))
        self._closed.append(self._builder.add(trades))
        if self._kept is not None:
            self._kept.add(trades)

    def finished(self, answered: TimeRange) -> tuple[Bars, Quality]:
        """All bars, of which those that need takers' sides lack them where they are not known."""
        builder = self._builder or self._begun(None)
        bars = join_bars([*self._closed, builder.finish(1000 * answered.end_ms)])
        quality = builder.quality
        if quality.sides_known:
            return bars, quality
        if self._day.rule.imbalance:
            raise GiveUp(
                f"{self._day.job.symbol}: is_buyer_maker is the same in all {quality.trades:,} "
                f"{self._day.job.source} of the day, which says nothing about takers, so no "
                f"{self._day.rule} bars can be made; --source aggTrades may have it right"
            )
        return bars.without_sides(), quality

    def said(self) -> list[str]:
        """What was assumed."""
        if self.assumed_usd is None:
            return []
        return [
            f"exchangeInfo does not have {self._day.job.symbol}: "
            f"a contract is taken to be worth {self.assumed_usd} USD"
        ]

    def _begun(self, first_us: int | None) -> BarBuilder:
        from alphamill.bars import BarBuilder  # compiled code, for whose job it is

        day, start_us = self._day, 1000 * self._day.asked.start_ms
        late = first_us is None or (day.rule.is_time and first_us - start_us >= day.rule.length_us)
        close = day.previous_close() if late and day.rule.is_time else None
        contract_usd = None
        if day.layout.aggregates and day.job.market is Market.COIN_M:
            contract_usd = day.contract_usd()
            if contract_usd is None:
                contract_usd = self.assumed_usd = day.assumed_usd()
        return BarBuilder(
            day.rule,
            day.layout,
            within_us=(start_us, start_us + 1000 * DAY_MS),
            previous_close=close,
            contract_usd=contract_usd,
            flow=day.flow is not None,
        )


def said(quality: Quality, layout: Layout) -> list[str]:
    """What was wrong with a day's trades, a line each."""
    told = [
        (quality.duplicates, "rows stood there twice and count once"),
        (quality.conflicts, "of them differ from the row that counts"),
        (quality.no_quantity, "rows have no quantity: the volumes of their bars are null"),
        (quality.void, "rows have no price and were left out"),
        (quality.outside, "rows are of another day and were left out"),
        (quality.missing(layout), "rows are missing, by their ids"),
    ]
    lines = [f"{count:,} {what}" for count, what in told if count]
    if not quality.sides_known:
        lines.append(
            f"is_buyer_maker is the same in all {quality.trades:,} rows, which cannot be: what "
            "takers bought is null"
            + ("" if layout.aggregates else "; --source aggTrades may have it right")
        )
    return lines


def _facts(
    day: _Day, held: DayFacts, *, skipped: bool, read: DayRead[_Builder] | None = None
) -> BarsFacts:
    bars, trades = held.details["bars"], held.details["trades"]
    note = ""
    if not trades:
        note = "nothing was traded on that day, or the symbol was not listed"
    elif not bars:
        note = f"no bar of {day.rule} closed: the day's {trades:,} {day.job.source} do not reach it"
    return BarsFacts(
        bars=bars,
        trades=trades,
        lacking=held.details["lacking"],
        requests=read.requests if read else 0,
        source=held.source,
        key=day.bars.key(day.asked.start_ms),
        skipped=skipped,
        files=read.files if read else 0,
        note=note,
        archive_note="; ".join(held.details["notes"]),
    )
