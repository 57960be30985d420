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


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address may use of one market's API.

    weight: request weight a window. requests: raw requests in `request_windows` windows, or None.
    funding: requests of past funding in `funding_windows` windows.
    tolerated: 429s within one window before the ban. The first ban lasts `ban_windows` windows.
    """

    weight: int = 6000
    requests: int | None = 61_000
    funding: int = 500
    window_ms: int = 60_000
    request_windows: int = 5
    funding_windows: int = 5
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
    over: str = ""  # "weight", "requests" or "funding": the limit that was broken


@dataclass(slots=True)
class _Address:
    raw_start_ms: int = -1
    raw_count: int = 0
    funding_start_ms: int = -1
    funding_count: int = 0
    refused_start_ms: int = -1
    refused_in_window: int = 0
    bans: int = 0
    banned_until_ms: int = 0
    told: bool = True  # of its ban


@dataclass(slots=True)
class Windows:
    """Counts of every address on one market. Not thread-safe: one event loop owns it."""

    limits: Limits
    keep: int = 2000  # windows remembered for the statistics
    total_weight: int = 0  # served, over all time
    total_bans: int = 0
    total_into_bans: int = 0  # requests of an address that had been told of its ban
    _windows: OrderedDict[tuple[int, str], Window] = field(default_factory=OrderedDict)
    _addresses: defaultdict[str, _Address] = field(default_factory=lambda: defaultdict(_Address))

    def admit(self, address: str, weight: int, now_ms: int, *, funding: bool = False) -> Admission:
        """Count a request that arrives at `now_ms` and say whether it is served."""
        state = self._addresses[address]
        window = self._window(address, now_ms)
        if now_ms < state.banned_until_ms:
            window.refused += 1
            self.total_into_bans += state.told
            return self._banned(state, window, now_ms)
        over = self._count(state, window, weight, now_ms)
        if funding and not over:
            over = self._count_funding(state, now_ms)
        if not over:
            window.weight += weight
            window.requests += 1
            self.total_weight += weight
            return Admission(200, window.counted)
        window.refused += 1
        if state.refused_start_ms != window.start_ms:
            state.refused_start_ms, state.refused_in_window = window.start_ms, 0
        state.refused_in_window += 1
        if state.refused_in_window > self.limits.tolerated:
            self._ban(state, now_ms)
            return self._banned(state, window, now_ms)
        spans = {"requests": self.limits.request_windows, "funding": self.limits.funding_windows}
        span_ms = self.limits.window_ms * spans.get(over, 1)
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

    def _count(self, state: _Address, window: Window, weight: int, now_ms: int) -> str:
        span_ms = self.limits.window_ms * self.limits.request_windows
        raw_start_ms = now_ms - now_ms % span_ms
        if state.raw_start_ms != raw_start_ms:
            state.raw_start_ms, state.raw_count = raw_start_ms, 0
        state.raw_count += 1
        window.counted += weight
        if window.counted > self.limits.weight:
            return "weight"
        if self.limits.requests is not None and state.raw_count > self.limits.requests:
            return "requests"
        return ""

    def _count_funding(self, state: _Address, now_ms: int) -> str:
        span_ms = self.limits.window_ms * self.limits.funding_windows
        start_ms = now_ms - now_ms % span_ms
        if state.funding_start_ms != start_ms:
            state.funding_start_ms, state.funding_count = start_ms, 0
        state.funding_count += 1
        return "funding" if state.funding_count > self.limits.funding else ""

    def _ban(self, state: _Address, now_ms: int) -> None:
        first_ms = self.limits.ban_windows * self.limits.window_ms
        state.banned_until_ms = now_ms + min(first_ms * 2**state.bans, _LONGEST_BAN_MS)
        state.bans += 1
        state.told = False
        self.total_bans += 1
        state.refused_in_window = 0

    def _banned(self, state: _Address, window: Window, now_ms: int) -> Admission:
        state.told = True
        left_s = _seconds(state.banned_until_ms - now_ms)
        return Admission(418, window.counted, left_s, state.banned_until_ms)


def _seconds(span_ms: int) -> int:
    return max(1, -(-span_ms // 1000))
