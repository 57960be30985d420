"""Streams that one connection can carry, kept up by connections that follow each other.

When one is to be replaced, the next is opened first and the old is closed once the next is heard,
so that nothing falls between the two; what both tell is told twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from alphamill.market.stream.connection import Action, Close, Connection, Open, Phase
from alphamill.market.stream.messages import Reply
from alphamill.market.stream.venue import StreamVenue

_ATTEMPTS_SPAN_S = 300.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits of a connection, in seconds.

    answer_s: for a handshake and for the answer to a command. overlap_s: at most, that a next
    connection is listened to beside the one it replaces before it is heard. steady_s: after which a
    connection counts as one that held. first_s, longest_s: before connecting again, doubled from
    one failure to the next, of which a random half to whole is waited. renew_s: how long before the
    exchange would end it a connection is replaced, of which a random half to whole too; at most a
    tenth of its life.
    """

    answer_s: float = 10.0
    overlap_s: float = 10.0
    steady_s: float = 60.0
    first_s: float = 0.5
    longest_s: float = 60.0
    renew_s: float = 600.0


@dataclass(slots=True)
class Attempts:
    """Numbers connections, and keeps those of all relays within what an address may attempt."""

    most: int  # in five minutes
    _made_s: deque[float] = field(default_factory=deque)
    _last: int = 0

    def make(self, now_s: float) -> int | None:
        """The number of a new connection; None if there were too many of late."""
        while self._made_s and self._made_s[0] <= now_s - _ATTEMPTS_SPAN_S:
            self._made_s.popleft()
        if len(self._made_s) >= self.most:
            return None
        self._made_s.append(now_s)
        self._last += 1
        return self._last


@dataclass(slots=True)
class Relay:
    """Keeps `names` subscribed. Times are seconds of one monotonic clock."""

    base: str
    venue: StreamVenue
    names: tuple[str, ...]
    attempts: Attempts
    random: Random
    patience: Patience = field(default_factory=Patience)
    life_s: float = 86_400.0
    silences: int = 0  # connections in a row that were up and told nothing
    why: str = ""  # the connection is to be replaced; "" if not
    _current: Connection | None = None
    _next: Connection | None = None
    _failures: int = 0
    _retry_s: float = 0.0
    _renew_s: float = 0.0

    @property
    def current(self) -> Connection | None:
        """The connection that is relied on, if there is one."""
        return self._current

    @property
    def connections(self) -> list[Connection]:
        """The current one and the next."""
        return [one for one in (self._current, self._next) if one is not None]

    @property
    def up(self) -> bool:
        """Whether all its names are subscribed to."""
        return any(one.phase is Phase.UP for one in self.connections)

    def of(self, number: int) -> Connection | None:
        """Its connection of that number."""
        return next((one for one in self.connections if one.number == number), None)

    def change(self, names: tuple[str, ...]) -> None:
        """Carry these names from now on."""
        before, self.names = self.names, names
        for connection in self.connections:
            connection.ask("UNSUBSCRIBE", [name for name in before if name not in names])
            connection.ask("SUBSCRIBE", [name for name in names if name not in before])

    def replace(self, why: str) -> None:
        """Open another connection, and close this one once that is heard."""
        self.why = self.why or why

    def poll(self, now_s: float) -> Iterator[Action]:
        """What is to be done now."""
        for connection in self.connections:
            since_s = connection.unanswered_since_s()
            if since_s is not None and now_s - since_s >= self.patience.answer_s:
                what = "handshake" if connection.phase is Phase.OPENING else "answer"
                yield Close(connection.number, f"no {what} within {self.patience.answer_s:g} s")
                self.lost(connection.number, now_s)
        if self._current and self._current.phase is Phase.UP and now_s >= self._renew_s:
            self.replace("it has lived nearly as long as the exchange lets it")
        yield from self._swap(now_s)
        yield from self._connect(now_s)
        for connection in self.connections:
            yield from connection.sends(now_s)

    def next_s(self) -> float:
        """When `poll` has something to do at the latest if nothing happens."""
        held = self._current is not None and self._current.phase is Phase.UP
        times = [self._renew_s] if held and not self.why else []
        if self.names and (self._current is None or (self.why and self._next is None)):
            times.append(self._retry_s)
        for connection in self.connections:
            since_s = connection.unanswered_since_s()
            if since_s is not None:
                times.append(since_s + self.patience.answer_s)
            if connection.waits_to_send:
                times.append(connection.send_at_s)
        if self._next and self._next.phase is Phase.UP:
            heard = self._next.heard_s is not None
            times.append(self._next.up_s + (0.0 if heard else self.patience.overlap_s))
        return min(times, default=float("inf"))

    def replied(self, number: int, reply: Reply, now_s: float) -> None:
        """A command of one of its connections was done."""
        if connection := self.of(number):
            connection.replied(reply, now_s)

    def heard(self, number: int, now_s: float) -> None:
        """One of its connections has told an event."""
        if connection := self.of(number):
            connection.heard_s = now_s
            self.silences = 0

    def lost(self, number: int, now_s: float, wait_s: float = 0.0) -> None:
        """A connection has ended or did not come about. wait_s: until the next at the least."""
        connection = self.of(number)
        if connection is None:
            return
        if connection is self._next:
            self._next = None
        else:
            self._current, self._next = self._next, None
            self._begin(now_s)
        steady = connection.up_s and now_s - connection.up_s >= self.patience.steady_s
        self._failures = 1 if steady else self._failures + 1
        longest_s, doublings = self.patience.longest_s, min(self._failures - 1, 30)
        pause_s = min(longest_s, self.patience.first_s * 2.0**doublings)
        self._retry_s = now_s + max(wait_s, pause_s * self.random.uniform(0.5, 1.0))

    def _swap(self, now_s: float) -> Iterator[Action]:
        """Let the next take over when it is heard, or has been up long enough to be."""
        if self._next is None or self._next.phase is not Phase.UP:
            return
        waited = now_s - self._next.up_s >= self.patience.overlap_s
        if self._next.heard_s is None and not waited:
            return
        if self._current is not None:
            yield Close(self._current.number)
        self._current, self._next = self._next, None
        self._begin(now_s)

    def _connect(self, now_s: float) -> Iterator[Action]:
        if not self.names:
            for connection in self.connections:
                yield Close(connection.number)
            self._current = self._next = None
            return
        wanted = self._current is None or (self.why and self._next is None)
        if not wanted or now_s < self._retry_s:
            return
        number = self.attempts.make(now_s)
        if number is None:
            self._retry_s = now_s + self.patience.longest_s / 2
            return
        connection = Connection.to(number, self.base, self.venue, self.names, now_s)
        if self._current is None:
            self._current = connection
            self._begin(now_s)
        else:
            self._next = connection
        yield Open(number, connection.url)

    def _begin(self, now_s: float) -> None:
        """A connection is the current one from now on."""
        self.why = ""
        if self._current is not None:
            lead_s = min(self.patience.renew_s, self.life_s / 10)
            born_s = max(self._current.since_s, now_s - self.life_s)
            self._renew_s = born_s + self.life_s - lead_s * self.random.uniform(0.5, 1.0)
