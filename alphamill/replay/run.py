"""A mining run done again from its snapshot and its paid replies, at no cost.

The panel of the run is copied, not built again: bars that the exchange has corrected since must not
change what is compared. Everything after it is computed: prompts, replies read, scores, verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from alphamill.errors import GiveUp
from alphamill.flow import plan
from alphamill.frames import Interval
from alphamill.jobs import PublishJob
from alphamill.lake import Lake, run_key
from alphamill.ledger import JobSpec
from alphamill.llm.call import Call, PaidReply
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.mill import InProcess
from alphamill.replay.difference import Code, farthest
from alphamill.replay.rules import as_then
from alphamill.runs.panels import read_refusal
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import SUMMARY, RunDeps
from alphamill.stages import publish

# Computed again, or of control arms; what else lies in a run's folder is its input.
_COMPUTED = ("proposals", "trials", "validation", "ranking", "veto", "verdicts", "bench")
# What may differ between two honest computations: other runs look at holdouts, versions move on.
NOT_COMPARED = ("holdout_looks", "code_version")


class JournalOnly:
    """A gateway without a model: replies that were paid for, and nothing else.

    unfunded: the budget that kept the run from making some of its calls, "" for none.
    """

    def __init__(self, calls: Sequence[CallRecord], unfunded: str = "") -> None:
        self._settled = {call.call_id: call for call in calls if call.status is CallStatus.SETTLED}
        self._made = {call.call_id for call in calls}
        self._unfunded = unfunded

    def answered(self, _run: str, call_id: str) -> CallRecord | None:
        """The record of a call that has a reply."""
        return self._settled.get(call_id)

    def ask(self, call: Call) -> PaidReply:
        """The reply of then.

        Raises BudgetExhausted for a call that a budget may have prevented then too, GiveUp for
        another that was never answered.
        """
        found = self._settled.get(call.call_id)
        if found is None and self._unfunded and call.call_id not in self._made:
            raise BudgetExhausted("the budget of then had no room for it", self._unfunded)
        if found is None:
            raise GiveUp(f"call {call.call_id} has no reply in the journal")
        return PaidReply(found.reply, replayed=True, cost_usd_micros=found.cost_usd_micros or 0)


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that is not the same: which table, which row, which columns."""

    table: str
    row: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many rows were compared, what differs, and which jobs failed this time.

    farthest: the largest relative difference of two numbers; None if something else differs.
    code: what computed the run, and what computes now.
    """

    trials: int
    verdicts: int
    differences: tuple[RowDifference, ...]
    failed: tuple[str, ...]
    farthest: float | None
    code: Code

    @property
    def equal(self) -> bool:
        """Whether every trial and every verdict came out the same."""
        return not self.differences


def replay(run: PublishedRun, scratch: Lake) -> Replayed:
    """Do again in `scratch` what a mining run computed from its panel, and compare.

    Raises GiveUp for a run that is not whole in its lake.
    """
    _copy_inputs(run, scratch)
    spec = as_then(run.lake, run.id, run.spec)
    deps = RunDeps(scratch, run.id, spec)
    unfunded = next((group.unfunded for group in run.unasked if group.unfunded), "")
    process = InProcess(JournalOnly(run.calls, unfunded))
    jobs = [job for job in plan(spec) if job.needs and not _refused(job, deps)]
    process.work_in_order(jobs, deps)
    failed = tuple(f"{job.stage}: {job.error}" for job in process.dead(run.id))
    publish.run(PublishJob(), publish.PublishDeps(scratch, run.id, spec, (), run.missing))
    differences: list[RowDifference] = []
    pairs: list[tuple[Any, Any]] = []
    sizes = {}
    for name in ("trials", "factors"):
        key = run_key(run.id, f"{name}.parquet")
        before, after = (lake.read(key).to_pylist() for lake in (run.lake, scratch))
        found = _compare(name, before, after)
        differences += found
        if found:
            pairs += [(_compared(one), _compared(two)) for one, two in _rows(before, after)]
        sizes[name] = len(before)
    code = Code.of(run.factors)
    found_apart = farthest(pairs)
    return Replayed(
        sizes["trials"], sizes["factors"], tuple(differences), failed, found_apart, code
    )


def _compared(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in NOT_COMPARED}


def _rows(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    nothing: Mapping[str, Any] = {}
    for one, two in zip_longest(before, after, fillvalue=nothing):
        yield one, {name: two.get(name) for name in (one or two)}


def _copy_inputs(run: PublishedRun, scratch: Lake) -> None:
    folder = run_key(run.id, SUMMARY).removesuffix(f"/{SUMMARY}")
    for key in run.lake.list(folder):
        inside = key.removeprefix(f"{folder}/")
        if "/" in inside and inside.partition("/")[0] not in _COMPUTED:
            scratch.write_bytes(key, run.lake.read_bytes(key))


def _refused(job: JobSpec, deps: RunDeps) -> bool:
    """Whether the job is of bars that make no panel: it was not done then either."""
    return bool(read_refusal(deps.lake, deps.run_id, Interval(job.message["interval"])))


def _compare(
    table: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[RowDifference]:
    """Row by row; numbers must be the same to the last bit, a NaN of older code is today's null."""
    found = []
    for one, two in _rows(before, after):
        row = one or two
        names = [name for name in row if _stored(one.get(name)) != _stored(two.get(name))]
        if columns := tuple(name for name in names if name not in NOT_COMPARED):
            label = str(row.get("expression") or row.get("proposed"))
            found.append(RowDifference(table, label, columns))
    return found


def _stored(value: Any) -> str:
    return "None" if isinstance(value, float) and math.isnan(value) else repr(value)
