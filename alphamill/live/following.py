"""One live being followed: from arrivals to rows in the lake, each once, whoever dies when.

Knows no clock and no socket: it is told what arrived and what time it is at the exchange. What
cannot be published now (a full disk, a store that does not answer) waits in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from alphamill.errors import AlphamillError
from alphamill.grid import index_at, open_ms
from alphamill.live.engine import Engine
from alphamill.live.journal import Journal
from alphamill.live.release import Cause, Release, ReleaseRule
from alphamill.live.signals import Link, Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.live.window import BarValues

Published = Callable[[list[Link]], None]

_CLOCKS_MS = 60_000  # two followers' clocks do not differ by more


class Following:
    """Follows a live from where its journal ends, at `now_ms` (UTC epoch ms, exchange's clock).

    published: called with rows once they are in the lake, in order. Bars whose time for corrections
    is over and that nobody followed become one row of state MISSED: nothing is filled in later.
    """

    def __init__(self, spec: LiveSpec, journal: Journal, now_ms: int, published: Published) -> None:
        self.spec = spec
        self._symbols = frozenset(spec.symbols)
        self.problem = ""  # why rows wait, "" if none does
        self.overtaken = 0  # how often somebody else had published first
        self.rows = 0  # of its chain, as far as is known here
        self._journal = journal
        self._published = published
        self._waiting: list[Release] = []
        self._said: dict[int, dict[str, Signal]] = {}  # bar -> factor -> its newest row
        self._gap: tuple[int, int] | None = None  # bars that were missed, to be told yet
        now = index_at(spec.interval, now_ms)
        self._later = now - index_at(spec.interval, now_ms - spec.correct_within_ms) + 1
        self.engine = Engine(spec, self._later)
        self._rule = self._continue(now_ms)

    def _continue(self, now_ms: int) -> ReleaseRule:
        """The rule from the bar after the last that was published."""
        spec = self.spec
        self._said = {}
        oldest = index_at(spec.interval, now_ms - spec.correct_within_ms)  # to be corrected still
        ended = None  # end of the last bar that was spoken of
        for row in self._recent(now_ms):
            ended = max(ended or 0, row.close_time)
            if row.state is not State.MISSED and index_at(spec.interval, row.bar_time) >= oldest:
                self._said.setdefault(row.bar_time, {})[row.factor] = row.remembered
        # The bar that is open now is the first to be heard to its end.
        current = open_ms(spec.interval, index_at(spec.interval, now_ms))
        first = current if ended is None else ended
        if index_at(spec.interval, first) < oldest:
            self._gap = (first, open_ms(spec.interval, oldest))
            first = self._gap[1]
        rule = ReleaseRule(
            spec.interval, spec.symbols, spec.release_ms, spec.quorum, spec.correct_within_ms, first
        )
        for bar_ms, rows in sorted(self._said.items()):
            row = max(rows.values(), key=lambda one: one.revision)
            rule.released(bar_ms, row.revision, row.symbols, row.absent)
        return rule

    def _recent(self, now_ms: int) -> Iterator[Signal]:
        """The end of the chain: all rows of bars that can still be corrected, and some more."""
        self.rows = self._journal.reload().rows
        for link in self._journal.since(now_ms - self.spec.correct_within_ms - _CLOCKS_MS):
            yield link.row

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that the live follows."""
        return self._symbols

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called at the latest."""
        return self._rule.due_ms

    @property
    def next_bar_ms(self) -> int:
        """Open time of the bar that is released next."""
        return self._rule.next_bar_ms

    @property
    def first_bar_ms(self) -> int:
        """Open time of the oldest bar that may be read: `recover` is to bring all from there."""
        bars = self.engine.bars + self._later
        return open_ms(self.spec.interval, index_at(self.spec.interval, self.next_bar_ms) - bars)

    @property
    def waiting(self) -> int:
        """Releases that could not be published yet."""
        return len(self._waiting)

    def arrived(self, symbol: str, bar_ms: int, values: BarValues, now_ms: int) -> None:
        """A closed bar has arrived, and nothing waits behind it."""
        self.heard(symbol, bar_ms, values, now_ms)
        self.tick(now_ms)

    def heard(self, symbol: str, bar_ms: int, values: BarValues, now_ms: int) -> None:
        """A closed bar has arrived; `tick` publishes once all that are here have been told."""
        if self.engine.put(symbol, bar_ms, values) and bar_ms == self.next_bar_ms:
            self.engine.expect(symbol, bar_ms)
        self._rule.known(symbol, bar_ms, now_ms)

    def recover(self, bars: Iterable[tuple[str, int, BarValues]], now_ms: int) -> None:
        """Bars that closed before anybody listened, from `first_bar_ms` on: history, and what is
        whole of it is published. The rest is waited for from now on.
        """
        for symbol, bar_ms, values in bars:
            self.heard(symbol, bar_ms, values, now_ms)
        self._rule.begin(now_ms)
        self.tick(now_ms)

    def warm_up(self, now_ms: int) -> None:
        """Have loaded or compiled what a release needs, which may take longer than one may wait."""
        bar_ms = open_ms(self.spec.interval, index_at(self.spec.interval, self.next_bar_ms) - 1)
        everybody = Release(bar_ms, 0, Cause.WHOLE, self._symbols, frozenset(), signal=True)
        self.engine.signals(everybody, now_ms)  # said to nobody

    def expect(self, symbols: Sequence[str]) -> None:
        """From the next bar on wait for these symbols alone: the others do not trade."""
        self._rule.expect(symbols)

    def tick(self, now_ms: int) -> None:
        """Publish what is due, and what could not be published before."""
        self._take(self._rule.tick(now_ms), now_ms)

    def missing(self, now_ms: int) -> list[tuple[str, int]]:
        """(symbol, bar) of bars that have closed and may still count: to be asked for elsewhere."""
        return self._rule.missing(now_ms)

    def _take(self, releases: Sequence[Release], now_ms: int) -> None:
        self._waiting.extend(releases)
        self.problem = ""
        if self._gap and not self._append([self._missed(*self._gap, now_ms)]):
            return
        self._gap = None
        while self._waiting:
            release = self._waiting[0]
            rows = list(self._new(release, now_ms))
            if rows and not self._append(rows):
                return
            if not rows and release.revision:
                self._rule.unchanged(release.bar_ms)
            said = self._said.setdefault(release.bar_ms, {})
            said.update({row.factor: row.remembered for row in rows})
            self._waiting.pop(0)
        for bar_ms in sorted(self._said)[: -(self._later + 2)]:
            del self._said[bar_ms]

    def _new(self, release: Release, now_ms: int) -> Iterator[Signal]:
        """The rows of a release; of one that only an earlier bar brought about those that differ.

        None of a release that somebody else has published meanwhile.
        """
        said = self._said.get(release.bar_ms, {})
        for row in self.engine.signals(release, now_ms):
            before = said.get(row.factor)
            if before is None:
                yield row
            elif release.revision > 0 and not (
                release.cause is Cause.EARLIER and row.says_the_same(before)
            ):
                yield replace(row, revision=before.revision + 1)

    def _append(self, rows: list[Signal]) -> bool:
        """Publish; False if they have to wait, with the reason in `problem`."""
        try:
            links = self._journal.append(rows)
            if links is None:
                self._catch_up(rows[0].published_at)
                return False
        except AlphamillError as error:
            self.problem = str(error)
            return False
        self.rows = links[-1].row.seq + 1
        self._published(links)
        return True

    def _catch_up(self, now_ms: int) -> None:
        """Somebody else has published: what it said is not said again."""
        self.overtaken += 1
        for row in self._recent(now_ms):
            if row.state is State.MISSED:
                self._gap = None
            else:
                self._said.setdefault(row.bar_time, {})[row.factor] = row.remembered

    def _missed(self, first_ms: int, end_ms: int, now_ms: int) -> Signal:
        return Signal(
            live=self.spec.id,
            factor="",
            bar_time=first_ms,
            close_time=end_ms,
            revision=0,
            published_at=now_ms,
            state=State.MISSED,
            reason="no follower ran",
            expected=len(self.spec.symbols),
            symbols=(),
            values=(),
            ranks=(),
            weights=(),
            absent=(),
            data="",
            code=self.engine.code,
        )
