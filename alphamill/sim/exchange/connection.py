"""What keeps a websocket open and what ends it: pings, its life, and how much the client says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from alphamill.sim.exchange.stream_rules import StreamRules

POLICY_VIOLATION = 1008
GOING_AWAY = 1001
Ending = tuple[int, str]  # code and reason of the closing frame


@dataclass(slots=True)
class Upkeep:
    """One connection since `since_s`; all times are seconds of one monotonic clock."""

    rules: StreamRules
    since_s: float
    _pinged_s: float = field(init=False)
    _unanswered: list[tuple[bytes, float]] = field(default_factory=list)
    _heard_s: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self._pinged_s = self.since_s
        self._heard_s = deque(maxlen=self.rules.messages_per_s)

    def ending(self, now_s: float) -> Ending | None:
        """Why the connection ends now, if it does."""
        if now_s - self.since_s >= self.rules.life_s:
            return GOING_AWAY, "end of life"
        if self._unanswered and now_s - self._unanswered[0][1] >= self.rules.pong_within_s:
            return POLICY_VIOLATION, "Pong timeout"
        return None

    def wants_ping(self, now_s: float) -> bool:
        """Whether the client is to be pinged again."""
        return now_s - self._pinged_s >= self.rules.ping_s

    def pinged(self, payload: bytes, now_s: float) -> None:
        """A ping was sent."""
        self._pinged_s = now_s
        self._unanswered.append((payload, now_s))

    def answered(self, payload: bytes) -> None:
        """Only a ping's own payload answers it, and those before it."""
        payloads = [sent for sent, _ in self._unanswered]
        if payload in payloads:
            del self._unanswered[: payloads.index(payload) + 1]

    def hears(self, now_s: float) -> bool:
        """Count what the client sent; False if it came too fast."""
        full = len(self._heard_s) == self.rules.messages_per_s
        if full and now_s - self._heard_s[0] < 1:
            return False
        self._heard_s.append(now_s)
        return True
