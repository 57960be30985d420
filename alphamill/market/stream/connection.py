"""One websocket, without the socket: what is to be sent when, and whether it is up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from alphamill.market.stream.messages import Reply
from alphamill.market.stream.plan import address, commands
from alphamill.market.stream.venue import StreamVenue

_A_SECOND_S = 1.25  # as long as a second may seem to a server that got the first message late


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to `url`; what comes of it is told under this number."""

    connection: int
    url: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text."""

    connection: int
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close, or stop connecting; nothing more need be told of it. fault: what was wrong with it."""

    connection: int
    fault: str = ""


Action = Open | Send | Close


class Phase(StrEnum):
    """Of a connection that has not ended."""

    OPENING = "opening"
    SUBSCRIBING = "subscribing"  # not all commands have been answered
    UP = "up"


@dataclass(slots=True)
class Connection:
    """Subscribes to `names` as fast as the venue allows, the first of them by its address.

    All times are seconds of one monotonic clock.
    """

    number: int
    url: str
    venue: StreamVenue
    since_s: float
    phase: Phase = Phase.OPENING
    up_s: float = 0.0  # since when
    heard_s: float | None = None  # when an event last came
    _to_send: deque[tuple[int, str]] = field(default_factory=deque)
    _unanswered: dict[int, float] = field(default_factory=dict)
    _sent_s: deque[float] = field(default_factory=deque)  # within the last second
    _next_id: int = 1

    @classmethod
    def to(
        cls, number: int, base: str, venue: StreamVenue, names: Sequence[str], now_s: float
    ) -> Connection:
        """A connection to be opened now."""
        url, rest = address(base, venue.path, names)
        connection = cls(number, url, venue, now_s)
        connection.ask("SUBSCRIBE", rest)
        return connection

    def ask(self, method: str, names: Sequence[str]) -> None:
        """Send commands for these names when it is open."""
        for ident, text in commands(method, names, self._next_id):
            self._to_send.append((ident, text))
            self._next_id = ident + 1
        if self._to_send and self.phase is Phase.UP:
            self.phase = Phase.SUBSCRIBING

    def opened(self, now_s: float) -> None:
        """The handshake is done."""
        self.phase = Phase.SUBSCRIBING
        self._settle(now_s)

    def replied(self, reply: Reply, now_s: float) -> None:
        """A command was done."""
        if reply.ident is not None:
            self._unanswered.pop(reply.ident, None)
        self._settle(now_s)

    def sends(self, now_s: float) -> list[Send]:
        """What may be sent now."""
        sends = []
        while self.phase is not Phase.OPENING and self._to_send and self.send_at_s <= now_s:
            ident, text = self._to_send.popleft()
            self._unanswered[ident] = now_s
            self._sent_s.append(now_s)
            sends.append(Send(self.number, text))
        return sends

    @property
    def send_at_s(self) -> float:
        """When the next message may be sent: one less in any second than the venue allows, which is
        left to the answer to a ping.
        """
        most = self.venue.messages_per_s - 1
        return self._sent_s[-most] + _A_SECOND_S if len(self._sent_s) >= most else 0.0

    @property
    def waits_to_send(self) -> bool:
        """Whether there is more to send."""
        return self.phase is not Phase.OPENING and bool(self._to_send)

    def unanswered_since_s(self) -> float | None:
        """Since when it is opening or a command has no answer; None if neither."""
        if self.phase is Phase.OPENING:
            return self.since_s
        return min(self._unanswered.values(), default=None)

    def _settle(self, now_s: float) -> None:
        while len(self._sent_s) > self.venue.messages_per_s:
            self._sent_s.popleft()
        if self.phase is Phase.SUBSCRIBING and not self._to_send and not self._unanswered:
            self.phase = Phase.UP
            self.up_s = self.up_s or now_s
