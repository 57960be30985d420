"""Faults that the simulated exchange causes on purpose, at seeded random or in a fixed rhythm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class FaultKind(StrEnum):
    """What goes wrong with a reply. The request was counted all the same."""

    HTTP_500 = "http_500"  # an unknown error, as JSON
    HTML = "html"  # a gateway's 502 page where JSON was expected
    WAF = "waf"  # the firewall's 403 page, without the exchange's headers
    TRUNCATE = "truncate"  # half of the body, then the connection closes
    RESET = "reset"  # the connection is reset before any reply
    TIMEOUT = "timeout"  # no reply until the client gives up


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: a share of requests, or every n-th one.

    probability: 0 to 1, each request by itself. every: n > 0 takes the place of the probability.
    """

    kind: FaultKind
    probability: float = 0.0
    every: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.every < 0:
            raise ValueError(f"{self.kind}: probability must be 0 to 1, every at least 0")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From "truncate:0.02" (a share) or "reset:/50" (every fiftieth); raises ValueError."""
        name, _, amount = text.partition(":")
        kinds = ", ".join(FaultKind)
        try:
            kind = FaultKind(name)
            if amount.startswith("/"):
                return cls(kind, every=int(amount[1:]))
            return cls(kind, probability=float(amount))
        except ValueError as error:
            raise ValueError(f"{text!r} is not KIND:SHARE or KIND:/N ({kinds}): {error}") from error


class FaultPlan:
    """Decides for each request in turn; the same seed and order give the same faults."""

    def __init__(self, faults: Sequence[Fault], seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._rngs = [np.random.Generator(np.random.PCG64([seed, i])) for i in range(len(faults))]
        self._requests = 0
        self.caused: Counter[str] = Counter()

    def next(self) -> FaultKind | None:
        """The fault of this request; the first that strikes wins."""
        self._requests += 1
        struck = [
            self._strikes(fault, rng) for fault, rng in zip(self._faults, self._rngs, strict=True)
        ]
        for fault, hit in zip(self._faults, struck, strict=True):
            if hit:
                self.caused[fault.kind] += 1
                return fault.kind
        return None

    def _strikes(self, fault: Fault, rng: np.random.Generator) -> bool:
        if fault.every:
            return self._requests % fault.every == 0
        return bool(rng.random() < fault.probability)
