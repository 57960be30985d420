"""How the exchange counts an address's requests, and when it refuses and bans it.

Windows are fixed and aligned to the server's clock: weight per minute, raw requests per several
minutes. Above a limit: 429 until the window ends. Going on after several 429s: 418, a ban that
doubles each time. `window_ms` scales the minute down for tests; nothing else changes.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

_LONGEST_BAN_MS = 3 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one address may use of spot's API, or of both futures markets' together.

    weight: request weight a window. requests: raw requests in `request_windows` windows, or None.
    funding: requests of past funding in `funding_windows` windows; data: those of /futures/data in
    `data_windows`.
    tolerated: 429s within one window before the ban. The first ban lasts `ban_windows` windows.
    """

    weight: int = 6000
    requests: int | None = 300_000
    funding: int = 500
    data: int = 1000
    window_ms: int = 60_000
    request_windows: int = 5
    funding_windows: int = 5
    data_windows: int = 5
    tolerated: int = 10
    ban_windows: int = 2

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__.keys() - {"requests", "tolerated"}:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@dataclass(slots=True)
class Window:
    """What one address did in one weight window. weight: what was served, never above limit."""

    start_ms: int
    address: str
    limit: int
    weight: int = 0
    requests: int = 0  # served
    refused: int = 0
    counted: int = 0  # weight as the header reports it: refused requests count too


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one request: status 200, 429 or 418, and what the headers must say."""

    status: int
    used_weight: int
    retry_after_s: int = 0  # whole seconds, rounded up; 0 when served
    banned_until_ms: int = 0
    over: str = ""  # "weight", "requests", "funding" or "data": the limit that was broken


@dataclass(slots=True)
class _Count:
    """Events in the current one of windows of a fixed length."""

    start_ms: int = -1
    events: int = 0

    def add(self, now_ms: int, span_ms: int) -> int:
        """Count one more; how many there are in its window."""
        start_ms = now_ms - now_ms % span_ms
        if self.start_ms != start_ms:
            self.start_ms, self.events = start_ms, 0
        self.events += 1
        return self.events


@dataclass(slots=True)
class _Address:
    raw: _Count = field(default_factory=_Count)
    own: defaultdict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    refused: _Count = field(default_factory=_Count)
    bans: int = 0
    banned_until_ms: int = 0
    told: bool = True  # of its ban


@dataclass(slots=True)
class Windows:
    """Counts of every address on one pool. Not thread-safe: one event loop owns it."""

    limits: Limits
    keep: int = 2000  # windows remembered for the statistics
    total_weight: int = 0  # served, over all time
    total_bans: int = 0
    total_into_bans: int = 0  # requests of an address that had been told of its ban
    _windows: OrderedDict[tuple[int, str], Window] = field(default_factory=OrderedDict)
    _addresses: defaultdict[str, _Address] = field(default_factory=lambda: defaultdict(_Address))

    def admit(self, address: str, weight: int, now_ms: int, own: str = "") -> Admission:
        """Count a request that arrives at `now_ms` and say whether it is served.

        own: "funding" or "data", of an endpoint with a limit beside the others.
        """
        state = self._addresses[address]
        window = self._window(address, now_ms)
        if now_ms < state.banned_until_ms:
            window.refused += 1
            self.total_into_bans += state.told
            return self._banned(state, window, now_ms)
        over = self._over(state, window, weight, now_ms, own)
        if not over:
            window.weight += weight
            window.requests += 1
            self.total_weight += weight
            return Admission(200, window.counted)
        window.refused += 1
        if state.refused.add(now_ms, self.limits.window_ms) > self.limits.tolerated:
            self._ban(state, now_ms)
            return self._banned(state, window, now_ms)
        span_ms = self._span_ms(over)
        return Admission(429, window.counted, _seconds(span_ms - now_ms % span_ms), over=over)

    def use_up(self, address: str, now_ms: int) -> None:
        """As if others had used up the address's weight of this window."""
        window = self._window(address, now_ms)
        window.counted = max(window.counted, self.limits.weight)

    def ban(self, address: str, now_ms: int) -> None:
        """Ban the address now; its next request is told so."""
        self._ban(self._addresses[address], now_ms)

    def history(self) -> Iterator[Window]:
        """Windows with at least one request, oldest first, the latest `keep` of them."""
        return iter(self._windows.values())

    def _window(self, address: str, now_ms: int) -> Window:
        start_ms = now_ms - now_ms % self.limits.window_ms
        key = (start_ms, address)
        if key not in self._windows:
            self._windows[key] = Window(start_ms, address, self.limits.weight)
            if len(self._windows) > self.keep:
                self._windows.popitem(last=False)
        return self._windows[key]

    def _over(self, state: _Address, window: Window, weight: int, now_ms: int, own: str) -> str:
        """Count the request; the limit that it is over, "" if none. Only what passes the others
        counts towards an endpoint's own.
        """
        requests = state.raw.add(now_ms, self._span_ms("requests"))
        window.counted += weight
        if window.counted > self.limits.weight:
            return "weight"
        if self.limits.requests is not None and requests > self.limits.requests:
            return "requests"
        if own and state.own[own].add(now_ms, self._span_ms(own)) > getattr(self.limits, own):
            return own
        return ""

    def _span_ms(self, limit: str) -> int:
        windows = {
            "requests": self.limits.request_windows,
            "funding": self.limits.funding_windows,
            "data": self.limits.data_windows,
        }
        return self.limits.window_ms * windows.get(limit, 1)

    def _ban(self, state: _Address, now_ms: int) -> None:
        first_ms = self.limits.ban_windows * self.limits.window_ms
        state.banned_until_ms = now_ms + min(first_ms * 2**state.bans, _LONGEST_BAN_MS)
        state.bans += 1
        state.told = False
        self.total_bans += 1
        state.refused.events = 0

    def _banned(self, state: _Address, window: Window, now_ms: int) -> Admission:
        state.told = True
        left_s = _seconds(state.banned_until_ms - now_ms)
        return Admission(418, window.counted, left_s, state.banned_until_ms)


def _seconds(span_ms: int) -> int:
    return max(1, -(-span_ms // 1000))
