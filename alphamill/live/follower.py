"""The process that follows a market: all of its lives, while it holds the market's lease.

    streams -> closed bars -> each live that has the symbol -> rows in the lake -> Redis, webhooks
                 ^-- REST, for bars that are missing at their release

Of several followers of a market and egress one holds the lease and the others stand by. Without
Redis the one that held it last goes on: rows land in the lake, and reach Redis when it is back.
"""

from __future__ import annotations

import ctypes
import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import redis

from alphamill.clock import Clock
from alphamill.errors import AlphamillError, RetryLater
from alphamill.frames import Interval, Market
from alphamill.lake import Lake, read_klines
from alphamill.live.arrival_log import ArrivalLog, ArrivalWriter
from alphamill.live.feed import (
    PATIENCE_MS,
    ClosedBar,
    ExchangeTime,
    Heard,
    RestFiller,
    Streams,
    bars_of,
    closed_bars,
)
from alphamill.live.followed_live import FollowedLive
from alphamill.live.followers import Followers
from alphamill.live.following import Following
from alphamill.live.journal import Journal
from alphamill.live.lease import Lease, Renewal
from alphamill.live.register import Entry, Register
from alphamill.live.signals import Link
from alphamill.live.spec import LiveSpec
from alphamill.live.stream import SignalStream
from alphamill.live.telling import Telling, read_parity
from alphamill.live.webhook import Courier, Webhook
from alphamill.market.exchange import Exchange, SymbolInfo
from alphamill.market.stream import Absent

_log = logging.getLogger(__name__)

_LOOK_S = 2.0  # between two looks at the register, and at the lease
_STAND_BY_S = 1.0  # between two looks at a lease that another holds
_PACK_S = 3600.0
_NOTE_S = 60.0  # between two writes of arrivals
_SLICE_S = 0.25  # the longest wait for a bar
_BEGIN_S = (2.0, 4.0, 8.0, 15.0, 30.0)  # between two tries to begin a live
_LISTING_S = 300.0  # between two looks at which symbols trade
_PARITY_S = 60.0  # between two looks at what parity checks came to


class Follower:
    """Follows every active live of one market.

    heard: closed bars from streams and REST, put there by other threads. streams: told what to
    hear. now_ms: the exchange's clock. egress: as the limiter's. who: this process, for people.
    secret: signs webhooks. patience_ms: after a bar's end until REST is asked for it, on the
    exchange's clock. compiled_for: called with what is to be followed before kernels are loaded.
    """

    def __init__(
        self,
        market: Market,
        lake: Lake,
        client: redis.Redis,
        exchange: Exchange,
        streams: Streams,
        heard: Heard,
        clock: Clock,
        now_ms: ExchangeTime,
        *,
        egress: str = "",
        who: str = "",
        secret: str = "",
        patience_ms: int = PATIENCE_MS,
        compiled_for: Callable[[LiveSpec], None] = lambda _: None,
    ) -> None:
        self._compiled_for = compiled_for
        self.market = market
        self.problems: dict[str, str] = {}  # by `condition.Problem.of`: what is the matter
        self._lake, self._redis, self._exchange = lake, client, exchange
        self._streams, self._heard = streams, heard
        self._clock, self._now_ms = clock, now_ms
        self._who, self._secret = who, secret
        self._patience_ms = patience_ms
        self._arrivals, self._writer = ArrivalLog(lake, market), ArrivalWriter(lake)
        self._register = Register(lake)
        name = f"{market}:{egress}" if egress else market.value
        self._lease = Lease(client, name)
        self._renewal = Renewal(self._lease, who)
        self._telling = Telling(Followers(client), market, name, who, clock)
        self._begin_at: dict[str, tuple[int, float]] = {}  # lives: tries, and when the next is due
        self._listing: Future[Mapping[str, SymbolInfo]] | None = None
        self._filler: RestFiller | None = None
        self._lives: dict[str, FollowedLive] = {}
        self._ending: list[FollowedLive] = []  # stopped, and not all of it is in Redis
        self._beginning: dict[str, tuple[Entry, Future[FollowedLive], list[ClosedBar]]] = {}
        self._aside = ThreadPoolExecutor(1, "follower-aside")  # what must not hold up a release
        self._leads = False
        self._published_ms = self._taken_ms = 0
        self._looked_s = self._packed_s = self._noted_s = -1e9
        self._listed_s = self._parity_s = -1e9

    @property
    def leads(self) -> bool:
        """Whether this process follows; else it stands by."""
        return self._leads

    @property
    def following(self) -> list[str]:
        """The lives that are followed at this moment."""
        return sorted(self._lives)

    def step(self) -> None:
        """Look after what changed, wait a moment for bars, publish what is due."""
        look_s = _LOOK_S if self._leads else _STAND_BY_S
        if looks := self._clock.monotonic_s() - self._looked_s >= look_s:
            self._looked_s = self._clock.monotonic_s()
            self._look()
        self._renewal.works(holds=self._leads)
        if not self._leads:
            self._clock.sleep(_SLICE_S)
            return
        self._adopt_begun()
        for one in self._news():
            if isinstance(one, Absent):
                self._arrivals.absent(one)
            else:
                self._hand_out(one)
        # Not before what is here was told: a deadline is for what has not come.
        now_ms = max(self._now_ms(), self._taken_ms, self._published_ms)
        for live in self._lives.values():
            live.following.tick(now_ms)
            self._deliver(live)
        self._finish()
        self._fill(now_ms)
        if self._arrivals.full or self._clock.monotonic_s() - self._noted_s >= _NOTE_S:
            self._noted_s = self._clock.monotonic_s()
            if (tables := self._arrivals.take(now_ms)) or self._writer.problem:
                self._aside.submit(self._writer.write, tables)
        if looks:
            self._relist(now_ms)
            self._tell(now_ms)

    def _finish(self) -> None:
        """Of lives that were stopped let Redis have what it lacks."""
        for live in list(self._ending):
            self._deliver(live)
            if not live.behind:
                self._ending.remove(live)
                self.problems.pop(live.entry.id, None)

    def _tell(self, now_ms: int) -> None:
        """Say in Redis and in the log what is the matter."""
        found = {
            "arrivals": self._writer.problem,
            "streams": self._streams.problem,
            "clock": self._clock_problem(now_ms),
        }
        for of, problem in found.items():
            self.problems.pop(of, None)
            if problem:
                self.problems[of] = problem
        if self._clock.monotonic_s() - self._parity_s >= _PARITY_S:
            self._parity_s = self._clock.monotonic_s()
            self._aside.submit(read_parity, self._lake, list(self._lives.values()))
        try:
            self._telling.tell(self.problems, list(self._lives.values()), now_ms)
        except RetryLater as error:
            self.problems["redis"] = str(error)

    def _clock_problem(self, now_ms: int) -> str:
        skew_ms = self._clock.now_ms() - now_ms
        if abs(skew_ms) < 2 * self._patience_ms:
            return ""
        side = "ahead of" if skew_ms > 0 else "behind"
        return f"this machine's clock is {abs(skew_ms) / 1000:.0f} s {side} the exchange's"

    def _relist(self, now_ms: int) -> None:
        """Where a symbol does not trade or has not come, learn which do; bars wait for no other."""
        if self._listing is not None and self._listing.done():
            done, self._listing = self._listing, None
            try:
                listed = done.result()
            except AlphamillError as error:
                self.problems["listing"] = f"which symbols trade is not known: {error}"
                return
            self.problems.pop("listing", None)
            for live in self._lives.values():
                live.trade(listed)
        wanting = any(
            live.idle or live.following.missing(now_ms - 2 * self._patience_ms)
            for live in self._lives.values()
        )
        if not wanting:
            self.problems.pop("listing", None)
        elif self._clock.monotonic_s() - self._listed_s >= _LISTING_S:
            self._listed_s = self._clock.monotonic_s()
            self._listing = self._aside.submit(self._exchange.symbols, _LISTING_S)

    def close(self) -> None:
        """Stop; another may follow at once."""
        led = self._leads
        self._stand_by()
        self._aside.shutdown(wait=False, cancel_futures=True)
        self._writer.write(self._arrivals.take(self._now_ms()))
        if self._writer.problem:
            _log.warning("arrivals are not on record: %s", self._writer.problem)
        self._renewal.close()
        try:
            if led:
                self._telling.leave()
            self._lease.let_go()
        except RetryLater as error:
            _log.warning("%s", error)

    def _look(self) -> None:
        """Hold the lease, and follow what the register says."""
        try:
            leads = self._lease.hold(self._who)
            self.problems.pop("redis", None)
        except RetryLater as error:
            leads = self._leads  # nobody else can take it either
            self.problems["redis"] = str(error)
        if not leads:
            if self._leads:
                _log.warning("another follower has taken over %s", self.market)
                self._stand_by()
            return
        if not self._leads:
            _log.info("following %s", self.market)
            self._filler = RestFiller(self._exchange, self._clock, self._now_ms, self._heard)
        self._leads = True
        self._follow_register()
        for live in self._lives.values():
            live.look()
        if self._lives and self._clock.monotonic_s() - self._packed_s >= _PACK_S:
            self._packed_s = self._clock.monotonic_s()
            self._aside.submit(self._tidy, [live.entry for live in self._lives.values()])

    def _stand_by(self) -> None:
        self._leads = False
        for live in (*self._lives.values(), *self._ending):
            live.close()
        self._lives.clear()
        self._ending.clear()
        self._beginning.clear()
        self._begin_at.clear()
        self.problems.clear()
        self._streams.follow(())
        if self._filler is not None:
            self._filler.close()
            self._filler = None

    def _follow_register(self) -> None:
        try:
            found, damaged = self._register.survey()
        except AlphamillError as error:
            self.problems["register"] = str(error)
            return
        problem = ", ".join(damaged.values())
        self.problems["register"] = problem
        if not problem:
            del self.problems["register"]
        entries = {
            entry.id: entry for entry in found if entry.active and entry.spec.market is self.market
        }
        for name in damaged.keys() & self._lives.keys():  # nobody stopped it
            entries[name] = self._lives[name].entry
        for gone in self._lives.keys() - entries.keys():
            _log.info("live %s is followed no more", gone)
            self._ending.append(self._lives.pop(gone))
            if (courier := self._ending[-1].courier) is not None:
                courier.finish()
            self.problems.pop(gone, None)
        for gone in self._begin_at.keys() - entries.keys():
            del self._begin_at[gone]
            self.problems.pop(gone, None)
        # Listen first: what closes while history is read is heard.
        self._streams.follow(
            {
                (symbol, entry.spec.interval)
                for entry in entries.values()
                for symbol in entry.spec.symbols
            }
        )
        now_s = self._clock.monotonic_s()
        for entry in entries.values():
            if live := self._lives.get(entry.id):
                self._redirect(live, entry)
            elif (
                entry.id not in self._beginning
                and self._begin_at.get(entry.id, (0, 0.0))[1] <= now_s
            ):
                self._beginning[entry.id] = entry, self._aside.submit(self._begun, entry), []

    def _redirect(self, live: FollowedLive, entry: Entry) -> None:
        """Another webhook, from the first row on that the one before has not taken."""
        if live.entry.webhook != entry.webhook:
            if live.courier is not None:
                live.courier.close()
            live.entry, live.courier = entry, self._courier(entry, live.following.rows)

    def _courier(self, entry: Entry, first: int) -> Courier | None:
        if not entry.webhook:
            return None
        webhook = Webhook(self._redis, entry.id, entry.webhook, self._secret)
        read = Journal(self._lake, entry.id, entry.started_ms)
        return Courier(webhook, read, self._now_ms, first)

    def _adopt_begun(self) -> None:
        """Follow lives that are ready, from the bars on that were heard meanwhile."""
        for name, (entry, begun, heard) in list(self._beginning.items()):
            if not begun.done():
                continue
            del self._beginning[name]
            try:
                live = begun.result()
            except AlphamillError as error:
                tries = self._begin_at.get(name, (0, 0.0))[0]
                pause_s = _BEGIN_S[min(tries, len(_BEGIN_S) - 1)]
                self._begin_at[name] = tries + 1, self._clock.monotonic_s() + pause_s
                self.problems[name] = f"it cannot be followed yet: {error}"
                continue
            self._begin_at.pop(name, None)
            self.problems.pop(name, None)
            _log.info("live %s is followed", entry.id)
            self._lives[name] = live
            bars = [(bar.symbol, bar.bar_ms, bar.values) for bar in heard if live.wants(bar)]
            live.following.recover(bars, self._now_ms())

    def _begun(self, entry: Entry) -> FollowedLive:
        """A live at the end of its rows: history from the lake, and by REST what came after it."""
        spec = entry.spec
        self._streams.learn_time()  # else the first bar is another than the one that is open
        journal = Journal(self._lake, entry.id, entry.started_ms)
        following = Following(
            spec, journal, self._now_ms(), lambda links: self._push(entry.id, links)
        )
        said = journal.head.rows  # a webhook that is new gets what comes from here on
        listed = self._exchange.symbols()
        known = [symbol for symbol in spec.symbols if symbol in listed]
        history = [
            (symbol, bar.bar_ms, bar.values)
            for symbol in spec.symbols
            for bar in self._history(spec.interval, symbol, following.first_bar_ms, symbol in known)
        ]
        live = FollowedLive(entry, journal, following, SignalStream(self._redis, entry.id))
        live.trade(listed)
        self._compiled_for(spec)
        following.recover(history, self._now_ms())
        following.warm_up(self._now_ms())
        live.courier = self._courier(entry, said)
        return live

    def _history(
        self, interval: Interval, symbol: str, first_ms: int, listed: bool
    ) -> Iterator[ClosedBar]:
        """A symbol's closed bars from `first_ms` on: the lake's, then what REST has after them."""
        now_ms = self._now_ms()
        table = read_klines(self._lake, self.market, symbol, interval, first_ms, now_ms)
        kept = closed_bars(table, symbol, interval, now_ms, "lake")
        yield from kept
        asked_ms = kept[-1].bar_ms + 1 if kept else first_ms
        if listed and asked_ms < now_ms:
            yield from bars_of(self._exchange, symbol, interval, asked_ms, now_ms, self._now_ms)

    def _tidy(self, entries: Sequence[Entry]) -> None:
        """What is done once an hour."""
        for entry in entries:
            try:
                Journal(self._lake, entry.id, entry.started_ms).pack(self._now_ms())
            except AlphamillError as error:
                _log.warning("the days of live %s stay in parts: %s", entry.id, error)
        _give_back_freed_memory()

    def _news(self) -> Iterator[ClosedBar | Absent]:
        """What is here, or comes before the next release is due."""
        now_ms = self._now_ms()
        dues = [live.following.due_ms for live in self._lives.values()]
        wait_s = min([_SLICE_S, *(max(0.0, (due_ms - now_ms) / 1000) for due_ms in dues)])
        try:
            yield self._heard.get(timeout=wait_s) if wait_s else self._heard.get_nowait()
            for _ in range(self._heard.qsize()):  # and no more: other things are due as well
                yield self._heard.get_nowait()
        except queue.Empty:
            return

    def _hand_out(self, bar: ClosedBar) -> None:
        # Later than all that was published before: so a row's time tells which bars it knew.
        now_ms = self._taken_ms = max(self._now_ms(), self._published_ms + 1)
        self._arrivals.heard(bar, now_ms)
        for _, _, heard in self._beginning.values():
            heard.append(bar)
        for live in self._lives.values():
            if live.wants(bar):
                live.following.heard(bar.symbol, bar.bar_ms, bar.values, now_ms)

    def _fill(self, now_ms: int) -> None:
        missing: dict[tuple[str, Interval, int], None] = {}
        for live in self._lives.values():
            for symbol, bar_ms in live.following.missing(now_ms - self._patience_ms):
                missing[symbol, live.entry.spec.interval, bar_ms] = None
        if self._filler is not None:
            self._filler.want(list(missing))
            self.problems.pop("rest", None)
            if self._filler.problem:
                self.problems["rest"] = self._filler.problem

    def _push(self, name: str, links: Sequence[Link]) -> None:
        """To Redis at once; if that fails, later and from the lake."""
        self._published_ms = max(self._published_ms, links[-1].row.published_at)
        if live := self._lives.get(name):  # else it is only beginning, and behind
            live.push(links)

    def _deliver(self, live: FollowedLive) -> None:
        live.deliver(self._clock.monotonic_s())
        self.problems.pop(live.entry.id, None)
        if problem := live.problem():
            self.problems[live.entry.id] = problem


def _give_back_freed_memory() -> None:
    """Without effect where there is no glibc.

    Packing a day frees thousands of small pieces, of which glibc keeps some megabytes each time.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
