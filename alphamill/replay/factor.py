"""One factor's verdict computed again from the run's snapshot, to the last digit.

Its scores on all three segments, its rank, the luck of the search and the look-ahead certificate
are computed; the other trials' scores and the models' veto are read. No look is counted: what the
holdout says of this factor is known already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from alphamill.errors import GiveUp
from alphamill.evaluation import Segment
from alphamill.frames import Interval
from alphamill.lake import run_key
from alphamill.language import read_expression
from alphamill.replay.run import NOT_COMPARED
from alphamill.runs.holdout_looks import Looks, looks_before
from alphamill.runs.known_factors import KnownFactors
from alphamill.runs.library import Moment, recorded
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import VERDICTS, Row, RunDeps, read_rows, read_trials, score_columns
from alphamill.stages.rank import ranked_rows
from alphamill.stages.validate import validated_row
from alphamill.stages.verify import by_hash, segment_readers, verdict_row


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """A column of the verdict that came out otherwise."""

    column: str
    stored: Any
    computed: Any


@dataclass(frozen=True, slots=True)
class Recheck:
    """What came out. `columns` were compared bit by bit."""

    hash: str
    expression: str
    interval: str
    verdict: str  # as computed now
    columns: int
    differences: tuple[ColumnDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether every column is what the run stored."""
        return not self.differences


def recheck(row: Row, deps: RunDeps) -> Recheck:
    """Compute the verdict of a row of VERDICTS again and compare it.

    Raises GiveUp if the run's panel or trials are no longer in the lake, or are damaged.
    """
    interval = Interval(row["interval"])
    computed = _computed(row, interval, deps)
    names = [name for name in VERDICTS.names if name not in NOT_COMPARED and name in row]
    differences = tuple(
        ColumnDifference(name, row[name], computed.get(name))
        for name in names
        if not _same(row[name], computed.get(name))
    )
    return Recheck(
        row["hash"], row["expression"], interval.value, computed["verdict"], len(names), differences
    )


def _computed(row: Row, interval: Interval, deps: RunDeps) -> Row:
    readers = segment_readers(deps, interval)
    trials = read_trials(deps.lake, deps.run_id, interval)
    own = [one for one in trials if one["hash"] == row["hash"] and one["status"] == "evaluated"]
    validated = read_rows(deps.lake, run_key(deps.run_id, f"validation/interval={interval.value}"))
    places = [at for at, one in enumerate(validated) if one["hash"] == row["hash"]]
    if not own or not places:
        raise GiveUp(f"the trials of {deps.run_id} are no longer in the lake")
    trial = own[0] | _scored(row["expression"], readers[Segment.DISCOVERY], deps)
    validated[places[0]] = validated_row(trial, readers[Segment.VALIDATION], deps)
    ranking = ranked_rows(trials, validated, deps, interval)
    veto = by_hash(deps.lake, deps.run_id, "veto", interval).get(row["hash"], {})
    looks = Looks(looks_before(deps.lake, deps.run_id, interval), row["holdout_looks"])
    told = recorded(deps.lake, deps.run_id, interval, Moment.END) or ()
    known = KnownFactors(told, readers[Segment.VALIDATION])
    ranked, validation = ranking[places[0]], validated[places[0]]
    return verdict_row(ranked, trial, validation, veto, looks, known, readers, deps)


def _scored(expression: str, reader: SegmentReader, deps: RunDeps) -> Row:
    return score_columns(reader.score(read_expression(expression), deps.spec))


def _same(stored: Any, computed: Any) -> bool:
    """Equal to the last digit; what is not known is stored as null or NaN."""
    return bool(_known(stored) == _known(computed))


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
