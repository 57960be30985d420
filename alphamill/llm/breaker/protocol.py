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
from typing import Literal, Protocol
from urllib.parse import urlsplit


class FailureKind(Enum):
    """How a call failed, as far as a breaker cares: which circuit, and after how many in a row."""

    UNREACHABLE = ("cannot be reached", "endpoint", 1, False)
    SILENT = ("does not answer", "model", 1, False)
    BROKEN = ("breaks", "model", 5, False)
    KEY_REFUSED = ("refuses the key", "endpoint", 1, True)
    NO_ACCESS = ("refuses access", "endpoint", 3, True)  # may be about one prompt
    NO_REGION = ("is not served here", "endpoint", 1, True)
    NO_API = ("has no such API", "endpoint", 1, True)
    NO_MODEL = ("is not served", "model", 1, True)
    NO_QUOTA = ("has no quota", "model", 1, True)

    def __init__(
        self, _words: str, circuit: Literal["endpoint", "model"], in_a_row: int, refused: bool
    ) -> None:
        self.circuit = circuit
        self.in_a_row = in_a_row
        self.refused = refused  # it answers, and would answer the same again


@dataclass(frozen=True, slots=True)
class BreakerTimes:
    """For how long circuits stay open; each opening in a row lasts twice as long as the last."""

    first_open_ms: int = 5_000
    most_open_ms: int = 60_000
    refused_factor: int = 6  # of both where a person must do something first
    probe_ms: int = 120_000  # a probe that nobody reports is given up: past a call's deadline

    def open_ms(self, kind: FailureKind) -> tuple[int, int]:
        """The first opening, and the longest."""
        factor = self.refused_factor if kind.refused else 1
        return self.first_open_ms * factor, self.most_open_ms * factor


@dataclass(frozen=True, slots=True)
class CircuitState:
    """What a call's circuits say to it. wait_s 0: go; else for how long they stay open.

    down_s: since when there was no sign of life.
    kind, cause: why they are open, as `failed` was told; None while another call tries.
    """

    wait_s: float
    down_s: float
    kind: FailureKind | None = None
    cause: str = ""


class Breaker(Protocol):
    """Circuits of one endpoint. May raise RetryLater: no store, no calls."""

    def look(self, model: str) -> CircuitState:
        """What `enter` would answer; nobody is let through."""

    def enter(self, model: str) -> CircuitState:
        """Whether to call now. Who may go must report `alive`, `limited` or `failed`."""

    def alive(self, model: str) -> None:
        """It answered, be it with a refusal."""

    def limited(self, model: str) -> float:
        """It refused by rate; for how many seconds it has, without an answer in between."""

    def failed(self, model: str, kind: FailureKind, took_s: float, cause: str = "") -> None:
        """It did not, after `took_s`."""


def host_of(base_url: str) -> str:
    """Host and port of an address, without what else it may hold."""
    return urlsplit(base_url).netloc.rpartition("@")[2]
