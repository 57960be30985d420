"""Faults that the simulated exchange causes on purpose: when, and at which requests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np


class FaultKind(StrEnum):
    """What goes wrong with a reply. The request was counted all the same."""

    HTTP_429 = "http_429"  # somebody has used up the address's limit: 429 until the window ends
    HTTP_418 = "http_418"  # the address is banned from now on
    HTTP_451 = "http_451"  # the service does not serve this place
    HTTP_500 = "http_500"  # an unknown error, as JSON
    HTML = "html"  # a gateway's 502 page where JSON was expected
    HTML_200 = "html_200"  # a maintenance page that claims to be a success
    WAF = "waf"  # the firewall's 403 page, without the exchange's headers
    TRUNCATE = "truncate"  # half of the body, then the connection closes
    RESET = "reset"  # the connection is reset before any reply
    TIMEOUT = "timeout"  # no reply until the client gives up
    CUT_JSON = "cut_json"  # half of the JSON, as a whole reply
    NULLS = "nulls"  # klines, fundingRate: numbers that are null
    DUPLICATES = "duplicates"  # the same: rows that come twice, one of them at the end
    UNORDERED = "unordered"  # the same: the later half of the rows comes first
    EXTRA_COLUMN = "extra_column"  # the same: one value more in every row
    NO_FUNDING = "no_funding"  # fundingRate: no row, as if nothing had been settled
    CLOCK = "clock"  # time, exchangeInfo: serverTime is off


ROW_FAULTS = frozenset(
    {FaultKind.NULLS, FaultKind.DUPLICATES, FaultKind.UNORDERED, FaultKind.EXTRA_COLUMN}
)
_AMOUNT = re.compile(r"/(?P<every>\d+)|@(?P<first>\d+)(?P<on>-(?P<last>\d+)?)?")
_FOREVER = 2**63


def _concerns(kind: FaultKind, path: str) -> bool:
    """Whether a reply to `path` can have the fault."""
    if kind in ROW_FAULTS:
        return path.endswith(("/klines", "/fundingRate", "PriceKlines", "IndexKlines"))
    if kind is FaultKind.NO_FUNDING:
        return path.endswith("/fundingRate")
    if kind is FaultKind.CLOCK:
        return path.endswith(("/time", "/exchangeInfo"))
    return True


@dataclass(frozen=True, slots=True)
class When:
    """Which of many events a fault strikes: a share of them, every n-th, or those numbered.

    probability: 0 to 1, each event by itself. every: n > 0, every n-th one. first, last: the events
    with these numbers and those between, counted from 1. One of the three is given.
    """

    FORMS: ClassVar[str] = "KIND:SHARE, KIND:/N, KIND:@N, KIND:@N-M or KIND:@N-"

    probability: float = 0.0
    every: int = 0
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.every < 0 or not 0 <= self.first <= self.last:
            raise ValueError("a share is 0 to 1, counts are positive and in order")

    @classmethod
    def parse(cls, text: str) -> When:
        """From "0.02", "/50", "@7", "@7-9" or "@7-"; raises ValueError."""
        match = _AMOUNT.fullmatch(text)
        if match is None:
            return cls(probability=float(text))
        if match["every"]:
            return cls(every=int(match["every"]))
        first = int(match["first"])
        last = int(match["last"]) if match["last"] else _FOREVER if match["on"] else first
        return cls(first=first, last=last)

    def strikes(self, number: int, draw: Callable[[], float]) -> bool:
        """Whether the event of this number is struck; `draw`, uniform in [0, 1), decides shares."""
        if self.every:
            return number % self.every == 0
        if self.last:
            return self.first <= number <= self.last
        return draw() < self.probability


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, and which of the requests that it concerns it strikes."""

    kind: FaultKind
    when: When

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From "truncate:0.02" (a share), "reset:/50" (every fiftieth), "http_418:@7" (the seventh
        alone), "waf:@7-9" or "http_451:@7-" (from the seventh on); raises ValueError.
        """
        name, _, amount = text.partition(":")
        try:
            return cls(FaultKind(name), When.parse(amount))
        except ValueError as error:
            kinds = ", ".join(FaultKind)
            raise ValueError(f"{text!r} is not {When.FORMS} ({kinds}): {error}") from error


class FaultPlan:
    """Decides for each request in turn; the same seed and order give the same faults."""

    def __init__(self, faults: Sequence[Fault], seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._rngs = [np.random.Generator(np.random.PCG64([seed, i])) for i in range(len(faults))]
        self._seen = [0] * len(faults)  # requests that each fault concerns
        self.caused: Counter[str] = Counter()

    def next(self, path: str) -> FaultKind | None:
        """The fault of this request; the first that strikes wins."""
        struck = [at for at, fault in enumerate(self._faults) if self._strikes(at, fault, path)]
        if not struck:
            return None
        kind = self._faults[struck[0]].kind
        self.caused[kind] += 1
        return kind

    def _strikes(self, at: int, fault: Fault, path: str) -> bool:
        if not _concerns(fault.kind, path):
            return False
        self._seen[at] += 1
        return fault.when.strikes(self._seen[at], self._rngs[at].random)
