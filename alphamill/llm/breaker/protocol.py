"""A circuit breaker: a dead provider costs one timeout, not one a job, and a bad key one refusal.

Two circuits guard a call: the endpoint's, which opens when no connection can be made or the key is
refused, and the model's, which opens when it does not answer (at once) or breaks (after several in
a row), is not served or has no quota, since one model behind a gateway may be down while others
work. An open circuit lets nobody through and says why; after a while it lets one call try, and that
one's outcome closes it or opens it for longer.

The state is shared by all workers: in each process alone, a fleet of fifty would pay for fifty
timeouts. It lives beside the budget, without which no call is made anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit

FIRST_OPEN_S = 5.0
MOST_OPEN_S = 60.0
REFUSED_S = 6.0  # times the spans above where a person must do something first
KNOWN_S = 0.25  # for so long a process takes a closed circuit, or a sign of life, as known
PROBE_S = 120.0  # a probe that nobody reports is given up after this: past a call's deadline


class Trouble(Enum):
    """How a call failed, as far as a breaker cares: which circuit, and after how many in a row."""

    UNREACHABLE = ("cannot be reached", "endpoint", 1, False)
    SILENT = ("does not answer", "model", 1, False)
    BROKEN = ("breaks", "model", 5, False)
    KEY_REFUSED = ("refuses the key", "endpoint", 1, True)
    NO_ACCESS = ("refuses access", "endpoint", 3, True)  # may be about one prompt
    NO_API = ("has no such API", "endpoint", 1, True)
    NO_MODEL = ("is not served", "model", 1, True)
    NO_QUOTA = ("has no quota", "model", 1, True)

    def __init__(self, _said: str, circuit: str, in_a_row: int, refused: bool) -> None:
        self.circuit = circuit
        self.in_a_row = in_a_row
        self.refused = refused  # it answers, and would answer the same again

    @property
    def open_s(self) -> tuple[float, float]:
        """For how long the first opening lasts, and the longest."""
        times = REFUSED_S if self.refused else 1.0
        return FIRST_OPEN_S * times, MOST_OPEN_S * times


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to a call that asks to go. wait_s 0: go; else how long the circuit stays open.

    down_s: since when there was no sign of life.
    trouble, said: why it is open, and what `failed` was told; None while another call tries it.
    """

    wait_s: float
    down_s: float
    trouble: Trouble | None = None
    said: str = ""


class Breaker(Protocol):
    """Circuits of one endpoint. May raise RetryLater: no store, no calls."""

    def look(self, model: str) -> Entry:
        """What `enter` would answer; nobody is let through."""

    def enter(self, model: str) -> Entry:
        """Whether to call now. Who may go must report `alive`, `limited` or `failed`."""

    def alive(self, model: str) -> None:
        """It answered, be it with a refusal."""

    def limited(self, model: str) -> float:
        """It refused by rate; for how many seconds it has, without an answer in between."""

    def failed(self, model: str, trouble: Trouble, took_s: float, said: str = "") -> None:
        """It did not, after `took_s`."""


def host_of(base_url: str) -> str:
    """Host and port of an address, without what else it may hold."""
    return urlsplit(base_url).netloc.rpartition("@")[2]


def to_ms(seconds: float) -> int:
    """Whole milliseconds, as the store counts them."""
    return round(seconds * 1000)
