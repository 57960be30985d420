"""Who belonged when, as a run keeps it: part of what it asks for, and of its panel's hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alphamill.frames.times import Month, TimeRange

if TYPE_CHECKING:  # every command reads messages, and few of them arrays
    import numpy as np
    from numpy.typing import NDArray

    from alphamill.frames import IntArray

_TO = ".."


@dataclass(frozen=True, slots=True)
class Universe:
    """A rule and whom it named.

    rule: its canonical text. members: symbol -> stretches of months in which it belongs, each as
    "2021-08..2023-12", both included; empty where a run only brings what the rule is judged by.
    lives: symbol -> when its bars begin and end, where that is within the run's range, UTC epoch
    milliseconds; it is asked for no others.
    """

    rule: str
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lives: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of rule and members."""
        said = {symbol: list(spans) for symbol, spans in self.members.items()}
        text = json.dumps([self.rule, said], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of_month(self, month: Month) -> tuple[str, ...]:
        """Symbols that belong in a month, sorted."""
        wanted = str(month)
        return tuple(
            symbol
            for symbol, spans in sorted(self.members.items())
            if any(first <= wanted <= last for first, _, last in map(_parted, spans))
        )

    def range_of(self, symbol: str, whole: TimeRange) -> TimeRange | None:
        """The part of the range in which the symbol has bars; None if there is none."""
        return TimeRange(*self.lives[symbol]).within(whole) if symbol in self.lives else whole

    def mask(self, columns: Sequence[str], times_ms: IntArray) -> NDArray[np.bool_]:
        """Where a panel's columns belong, (bars, columns); a bar belongs to the month it opens in.

        columns: as a panel names them. Of two coins under a symbol the one belongs that was listed
        at the month's start.
        """
        import numpy as np

        from alphamill.lake.listings import listed_on, symbol_of

        inside = np.zeros((len(times_ms), len(columns)), dtype=np.bool_)
        if not len(times_ms):
            return inside
        later = {name: day_ms for name in columns if (day_ms := listed_on(name)) is not None}
        for at, name in enumerate(columns):
            symbol = symbol_of(name)
            begins_ms = later.get(name, 0)
            others = [ms for other, ms in later.items() if symbol_of(other) == symbol]
            ends_ms = min((ms for ms in others if ms > begins_ms), default=2**62)
            for first, _, last in map(_parted, self.members.get(symbol, ())):
                for month in _months(first, last):
                    if begins_ms <= month.start_ms < ends_ms:
                        rows = np.searchsorted(times_ms, [month.start_ms, month.end_ms])
                        inside[rows[0] : rows[1], at] = True
        return inside


def members_of(months: Iterable[tuple[Month, Iterable[str]]]) -> dict[str, tuple[str, ...]]:
    """`Universe.members` from months in order, one after another, and the names of each."""
    from alphamill.lake.listings import symbol_of

    found: dict[str, list[tuple[Month, Month]]] = {}
    for month, names in months:
        for symbol in sorted({symbol_of(name) for name in names}):
            spans = found.setdefault(symbol, [])
            if spans and spans[-1][1].next() == month:
                spans[-1] = spans[-1][0], month
            else:
                spans.append((month, month))
    return {
        symbol: tuple(f"{first}{_TO}{last}" for first, last in spans)
        for symbol, spans in sorted(found.items())
    }


def _parted(span: str) -> tuple[str, str, str]:
    return span.partition(_TO)


def _months(first: str, last: str) -> Iterable[Month]:
    month, end = Month.parse(first), Month.parse(last)
    while month <= end:
        yield month
        month = month.next()
