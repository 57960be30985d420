"""Whether a run over a synthetic market came back with the factors that were planted there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.evaluation import Grade, Segment, signal_correlation
from alphamill.frames import FloatArray
from alphamill.language import read_expression
from alphamill.runs.published import PublishedRun
from alphamill.runs.reader import SegmentReader

FOUND_CORRELATION = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """A planted expression and the leaderboard's factor that is most like it.

    Of factors that were admitted and correlate enough, the nearest; else the nearest of all.
    correlation: mean cross-sectional rank correlation, -1 to 1; None without any factor.
    """

    planted: str
    nearest: str = ""
    correlation: float | None = None
    verdict: Grade | None = None

    @property
    def found(self) -> bool:
        """Whether it was found and held up."""
        known = abs(self.correlation or 0.0) >= FOUND_CORRELATION
        return known and self.verdict is not None and self.verdict.admitted


def search_planted(run: PublishedRun, planted: Sequence[str]) -> list[Match]:
    """A Match for each planted expression, by the factors' values on the discovery panels."""
    matches: dict[str, list[Match]] = {text: [Match(text)] for text in planted}
    for interval in sorted({factor.interval for factor in run.factors}):
        reader = SegmentReader(run.lake, run.id, interval, Segment.DISCOVERY)
        known = {text: _scored(text, reader) for text in planted}
        for factor in run.factors:
            if factor.interval is not interval:
                continue
            values = _scored(factor.expression, reader)
            for text, wanted in known.items():
                correlation = signal_correlation(wanted, values)
                matches[text].append(Match(text, factor.expression, correlation, factor.verdict))
    return [max(found, key=_nearness) for found in matches.values()]


def _scored(expression: str, reader: SegmentReader) -> FloatArray:
    factor = read_expression(expression)
    return reader.values(factor)[reader.panel(()).scored]


def _nearness(match: Match) -> tuple[bool, float]:
    known = match.correlation is not None and math.isfinite(match.correlation)
    return match.found, abs(match.correlation or 0.0) if known else -1.0
