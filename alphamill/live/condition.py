"""What a follower tells of itself: its lives, what is the matter, and the cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_CURES = {
    "redis": "rows go on into the lake and reach Redis when it answers: alphamill doctor",
    "rest": "streams go on, and it is asked again by itself; bars that neither brings are absent",
    "streams": "connections are tried again by themselves; meanwhile REST is asked for the bars",
    "register": "put the file back, or delete it and start the live again",
    "listing": "it is asked again by itself; meanwhile bars wait for the symbols as before",
    "clock": "the exchange's time is taken instead; synchronise the machine's (NTP)",
    "arrivals": "records wait in memory; free space in the lake, or see that it can be reached",
}
_CURE_OF_A_LIVE = "it is tried again by itself; if it stays: alphamill doctor"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is the matter now. of: a live's id, or "redis", "rest", "streams", "register",
    "listing", "clock" and "arrivals", which are all lives'. since_ms: UTC epoch ms, by the
    exchange's clock.
    """

    of: str
    text: str
    cure: str
    since_ms: int

    @classmethod
    def named(cls, of: str, said: str, since_ms: int) -> Problem:
        """From an error's words, which may end in a cure after the last semicolon."""
        text, found, cure = said.rpartition("; ")
        if not found:
            text, cure = said, _CURES.get(of, _CURE_OF_A_LIVE)
        return cls(of, text, cure, since_ms)


@dataclass(frozen=True, slots=True)
class ParityResult:
    """What all parity checks of a live came to. counts: published values by `parity.Why`."""

    at_ms: int
    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """How many were compared."""
        return sum(self.counts.values())

    @property
    def unexplained(self) -> int:
        """How many differ for no known reason."""
        return self.counts.get("unexplained", 0)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Rows that a webhook did not take: numbers first to last, and why."""

    first: int
    last: int
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class LiveState:
    """A live that is followed. symbols, factors: how many. rows: of its chain.

    next_bar_ms: open time of the bar that is published next. waiting: releases that could not be
    published yet. idle: symbols that the exchange does not trade, each with its status there.
    letters: dead letters of its webhook that are kept; `letter`: the newest.
    """

    live: str
    market: str
    interval: str
    symbols: int
    factors: int
    rows: int
    next_bar_ms: int
    next_end_ms: int
    waiting: int = 0
    idle: Mapping[str, str] = field(default_factory=dict)
    parity: ParityResult | None = None
    letters: int = 0
    letter: DeadLetter | None = None

    def behind_s(self, now_ms: int) -> float:
        """For how long the bar that is published next has been over at `now_ms`."""
        return max(0.0, (now_ms - self.next_end_ms) / 1000)


@dataclass(frozen=True, slots=True)
class Condition:
    """A follower as it told of itself at `at_ms` (exchange's clock). who: host and process.

    skew_ms: its machine's clock less the exchange's.
    """

    market: str
    who: str
    at_ms: int
    skew_ms: int
    lives: tuple[LiveState, ...] = ()
    problems: tuple[Problem, ...] = ()

    def problems_of(self, live: str) -> list[Problem]:
        """Those of the live and those of all."""
        return [one for one in self.problems if one.of == live or one.of in _CURES]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a live stands, as far as followers have told.

    state: "followed", "not followed", "stopped", or "unknown" where nobody could be asked. by: who
    follows it, "" for nobody. live: as it told of it.
    """

    state: str
    by: str = ""
    live: LiveState | None = None
    problems: tuple[Problem, ...] = ()
    letters: int = 0
    letter: DeadLetter | None = None


def standing(
    live: str,
    market: str,
    active: bool,
    told: Sequence[Condition] | None,
    letters: Mapping[str, tuple[int, DeadLetter | None]] | None = None,
) -> Standing:
    """Of a live of a market. active: whether it is to be followed. told: None for unknown."""
    if told is None:
        return Standing("unknown" if active else "stopped")
    count, newest = (letters or {}).get(live, (0, None))
    if not active:
        return Standing("stopped", letters=count, letter=newest)
    problems: dict[str, Problem] = {}
    for condition in told:
        if condition.market == market:
            for one in condition.problems_of(live):
                problems.setdefault(one.text, one)
    known = tuple(problems.values())
    for condition in told:
        for state in condition.lives:
            if state.live == live:
                return Standing("followed", condition.who, state, known, count, newest)
    return Standing("not followed", "", None, known, count, newest)
