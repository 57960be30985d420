"""The page of a `combine` run: its methods beside random formulas, and every refit's weights.

There are no plots of a combined signal. Its series is walked forward from refit to refit, while its
expression has the newest weights only: drawn over the past, that would show what nobody could have
traded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.evaluation import Segment
from alphamill.jobs import RunSpec
from alphamill.report.caveats import page_caveats
from alphamill.report.excess import COMBINED_LEGEND, asked_line, headline, raw_line
from alphamill.report.factor.certificate import Certificate, combined_certificate
from alphamill.report.factor.tear_sheet import Subject
from alphamill.runs.combined import CombinedSignal, FactorWeight
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import JudgedFactor


@dataclass(frozen=True, slots=True)
class MethodPage:
    """One method. weights: a row a refit, its first bar's opening and a weight a factor."""

    row: CombinedSignal
    subject: Subject
    headline: str
    raw: str
    certificate: Certificate
    factors: Sequence[tuple[str, str]]  # hash, expression
    weights: Sequence[tuple[int, Sequence[float | None]]]


@dataclass(frozen=True, slots=True)
class CombinedPage:
    """What the page shows. rows: all methods; methods: those that are shown in full."""

    run_id: str
    spec: RunSpec
    headline: str
    asked: str
    rows: Sequence[CombinedSignal]
    methods: Sequence[MethodPage]
    legend: str
    caveats: Sequence[str]
    notice: str = ""


def combined_page(run: PublishedRun, alone: JudgedFactor | None = None) -> CombinedPage:
    """All methods of a finished run, or only that one in full; the table has all of them."""
    shown = [row for row in run.combined if alone is None or row.judged.hash == alone.hash]
    return CombinedPage(
        run_id=run.id,
        spec=run.spec,
        headline=headline(shown),
        asked=asked_line(run),
        rows=run.combined,
        methods=[_method(run, row) for row in shown],
        legend=COMBINED_LEGEND,
        caveats=page_caveats(run),
        notice=OFFLINE_NOTICE if run.offline else "",
    )


def _method(run: PublishedRun, row: CombinedSignal) -> MethodPage:
    judged = row.judged
    own = [one for one in run.weights if one.method == row.method]
    factors = dict.fromkeys((one.hash, one.expression) for one in own)
    return MethodPage(
        row,
        Subject(
            f"#{judged.rank}",
            judged.hash,
            judged.expression,
            judged.interval,
            judged.direction,
            {
                Segment.DISCOVERY: judged.discovery,
                Segment.VALIDATION: judged.validation,
                Segment.HOLDOUT: judged.holdout,
            },
            factor=judged,
        ),
        headline([row]),
        raw_line(row),
        combined_certificate(run, row),
        list(factors),
        _calendar(own, [own_hash for own_hash, _ in factors]),
    )


def _calendar(
    weights: Sequence[FactorWeight], hashes: Sequence[str]
) -> list[tuple[int, list[float | None]]]:
    """Refits by time, each with a weight a factor in the order of `hashes`."""
    refits: dict[int, dict[str, float | None]] = {}
    for one in weights:
        refits.setdefault(one.from_ms, {})[one.hash] = one.weight
    return [
        (from_ms, [own.get(known) for known in hashes]) for from_ms, own in sorted(refits.items())
    ]
