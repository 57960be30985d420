"""A finished run as it lies in the lake, for reports, commands and notebooks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

from pydantic import ValidationError

from alphamill.errors import GiveUp
from alphamill.evaluation import Score
from alphamill.frames import Interval
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.ledger import BudgetRaise, JobRecord
from alphamill.ledger.raises import budget_usd_micros
from alphamill.llm.journal.budget import Account
from alphamill.llm.journal.records import CallRecord
from alphamill.runs.builds import Share
from alphamill.runs.combined import CombinedSignal, FactorWeight
from alphamill.runs.failures import Unasked, missing_job
from alphamill.runs.figures import finite
from alphamill.runs.funnel import DOUBTFUL, spending
from alphamill.runs.panels import PanelManifest, read_manifest
from alphamill.runs.rows import AnyRow, JudgedFactor, Trial, by_strength
from alphamill.runs.schemas import RESUMED, SUMMARY, rows_in
from alphamill.runs.training import TrainedModel, models_that_answered
from alphamill.runs.unfunded import Shortfall, committed_usd_micros, shortfall
from alphamill.settings import Tier
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.usage import MemoryUsage, Usage

OFFLINE_NOTICE = (
    "The models' answers came from the offline proposer, a seeded grammar: a control arm that "
    "costs nothing, not what a language model finds."
)

_NAMED = 10  # factors that an error names


@dataclass(frozen=True, eq=False)
class PublishedRun:
    """What a finished run left: its settings, tables and panels. Needs the lake and no Redis.

    Each table is read when it is first asked for. Numbers that are NaN in the lake are None, and so
    is what an older version of alphamill did not write.

        run = PublishedRun.open(Lake("/data/lake"), "mine-1f2e3d4c5b6a7988")
        [(factor.traded, factor.validation.net_sharpe) for factor in run.factors if factor.admitted]

    Every read raises GiveUp if the file is not in the lake.
    """

    lake: Lake
    id: str
    _summary: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, lake: Lake, run_id: str) -> Self:
        """The run with that id; raises GiveUp unless it was published in this lake."""
        return cls(lake, run_id, json.loads(_file(lake, run_id, SUMMARY, lake.read_bytes)))

    @property
    def kind(self) -> RunKind:
        """A `mine` run has factors and calls, an `evaluate` run trials, a `combine` run signals."""
        return RunKind(self.plain_spec["kind"])

    @cached_property
    def spec(self) -> RunSpec:
        """What was asked for; `spec.lake` is where the run wrote, before anybody moved it."""
        try:
            return RunSpec.from_message(self.plain_spec)
        except ValidationError as error:
            raise GiveUp(f"this version cannot read the settings of {self.id}: {error}") from error

    @property
    def plain_spec(self) -> Mapping[str, Any]:
        """What was asked for as JSON values, word for word as the run wrote it."""
        return self._summary["spec"]  # type: ignore[no-any-return]

    @cached_property
    def missing(self) -> list[JobRecord]:
        """The jobs that the run ended without, by id; they say why, and not when."""
        return [missing_job(row) for row in self._summary["missing"]]

    @cached_property
    def unasked(self) -> list[Unasked]:
        """Where a budget or a stopping rule kept models from being asked; [] in older runs."""
        return [Unasked(**row) for row in self._summary.get("unasked", [])]

    @cached_property
    def builds(self) -> list[Share]:
        """Which code did how many of its jobs, the most first; [] in older runs."""
        return [Share(**row) for row in self._summary.get("builds", [])]

    @cached_property
    def budget_raises(self) -> list[BudgetRaise]:
        """What its budget was raised to, in order; the spec has the budget that was asked for."""
        return [BudgetRaise(**row) for row in self._summary.get("budget_raises", [])]

    @cached_property
    def trained_models(self) -> list[TrainedModel]:
        """Who answered, with the end of its training data; of older runs the names alone.

        Of a combination those of the searches that its factors came out of.
        """
        rows = self._summary.get("trained_models")
        if rows is not None:
            return [TrainedModel.from_row(row) for row in rows]
        names = models_that_answered(self.calls)
        if self.kind is RunKind.COMBINE and self.spec.combination:
            names = [f"whoever answered {one}" for one in self.spec.combination.searches]
        return [TrainedModel(name) for name in names]

    @property
    def budget_usd_micros(self) -> int:
        """What it might spend in the end."""
        return budget_usd_micros(self.plain_spec, self.budget_raises)

    @cached_property
    def shortfall(self) -> Shortfall | None:
        """The calls that a budget kept it from making; None if there is none."""
        committed = committed_usd_micros(self.calls)
        return shortfall(self.id, self.unasked, self.budget_usd_micros, committed)

    @property
    def unfunded(self) -> dict[str, int]:
        """Budget -> calls that it kept the run from making, as in its ledger."""
        counted: Counter[str] = Counter()
        for group in self.unasked:
            if group.unfunded:
                counted[group.unfunded] += group.jobs
        return dict(counted)

    @property
    def account(self) -> Account:
        """What its calls cost, as its budget counts them."""
        answers, spent, unknown = spending(self.calls)
        doubtful = [call for call in self.calls if call.status in DOUBTFUL]
        return Account(
            spent_usd_micros=spent,
            unknown_usd_micros=unknown,
            unknown_calls=len(doubtful),
            settled_calls=answers,
            cap_usd_micros=self.budget_usd_micros,
        )

    @cached_property
    def trials(self) -> list[Trial]:
        """Every candidate, whatever became of it, by interval, round and tier."""
        return [] if self.kind is RunKind.COMBINE else self._rows("trials", Trial)

    @cached_property
    def factors(self) -> list[JudgedFactor]:
        """What was judged, the best first: a `mine` run's finalists, a `combine` run's methods."""
        if self.kind is RunKind.COMBINE:
            return [one.judged for one in self.combined]
        return self._rows("factors", JudgedFactor) if self.kind is RunKind.MINE else []

    @cached_property
    def combined(self) -> list[CombinedSignal]:
        """A `combine` run's methods, the best on validation first; none of another."""
        return self._rows("combinations", CombinedSignal) if self.kind is RunKind.COMBINE else []

    @cached_property
    def weights(self) -> list[FactorWeight]:
        """Of a `combine` run's factors, by method and refit; none of another."""
        return self._rows("weights", FactorWeight) if self.kind is RunKind.COMBINE else []

    @cached_property
    def calls(self) -> list[CallRecord]:
        """Every attempt at a model call by start time; the prompts are not kept here."""
        return self._rows("calls", CallRecord) if self.kind is RunKind.MINE else []

    def factor(self, text: str) -> JudgedFactor:
        """The one with this number, from 1 for the best, or this hash or its unique beginning.

        Raises GiveUp, naming what there is.
        """
        there = [(at, one.hash, one.traded) for at, one in enumerate(self.factors, 1)]
        return self.factors[named(self.id, text, there)]

    def given(self, text: str) -> list[Trial]:
        """The expression of an `evaluate` run with this number, by strength, or hash; as above.

        By its hash, each of its rows: one an interval and horizon.
        """
        ranked = by_strength(self.trials)
        several = len(self.spec.horizons) > 1
        there = [
            (at, one.hash or "", one.traded + f" (horizon {one.horizon_bars})" * several)
            for at, one in enumerate(ranked, 1)
        ]
        fitting = [one for one in ranked if (one.hash or "").startswith(text)]
        numbers = {str(at) for at, _, _ in there}
        if len({one.hash for one in fitting}) == 1 and text.removeprefix("#") not in numbers:
            return fitting
        return [ranked[named(self.id, text, there)]]

    def discovery_score(self, factor: JudgedFactor) -> Score | None:
        """All that discovery says of a factor, folds and decay with it."""
        own = (trial for trial in self.trials if trial.hash == factor.hash and trial.evaluated)
        return next((trial.score for trial in own), None)

    def calls_of(self, factor: JudgedFactor) -> list[CallRecord]:
        """The call that proposed a factor and its repairs, every attempt at them."""
        own = (factor.call_id, f"{factor.call_id}.repair")
        return [call for call in self.calls if call.call_id in own]

    def manifest(self, interval: Interval) -> PanelManifest | None:
        """What the run's panel holds at an interval; None where its bars made none."""
        return read_manifest(self.lake, self.id, interval)

    @cached_property
    def manifests(self) -> list[PanelManifest]:
        """Of every interval that has a panel, in the order that they were asked for."""
        found = (self.manifest(interval) for interval in self.spec.intervals)
        return [manifest for manifest in found if manifest is not None]

    @property
    def resumed_ms(self) -> int | None:
        """When it was put back to work after this was published; None where it was not."""
        published, resumed = (self.lake.stat(run_key(self.id, of)) for of in (SUMMARY, RESUMED))
        if published is None or resumed is None or resumed.written_ns < published.written_ns:
            return None
        return int(json.loads(self.lake.read_bytes(run_key(self.id, RESUMED)))["resumed_ms"])

    def put_back(self, now_ms: int) -> None:
        """Note that it works again: until it publishes anew, what is here is older."""
        text = json.dumps({"run": self.id, "resumed_ms": now_ms})
        self.lake.write_bytes(run_key(self.id, RESUMED), text.encode())

    @property
    def offline(self) -> bool:
        """Whether its models are the offline proposer."""
        return asks_offline(self.plain_spec)

    def usage(self) -> dict[str, Any]:
        """Tokens, cost and latencies, added up again from the calls; see `usage.build_report`."""
        counters = MemoryUsage()
        self.count_usage(counters)
        return counters.report(self.id)

    def count_usage(self, counters: Usage) -> None:
        """Add its calls to those of other runs."""
        for call in self.calls:
            if call.paid:
                counters.record(call.usage)
            elif call.error_class:
                counters.record_error(call.run, call.day, call.tier, call.model, call.error_class)

    def _rows(self, name: str, kind: type[AnyRow]) -> list[AnyRow]:
        """A table; None for what is not a finite number."""
        rows = _file(self.lake, self.id, f"{name}.parquet", partial(rows_in, self.lake))
        return [kind.from_row({name: finite(row[name]) for name in row}) for row in rows]


def named(run_id: str, text: str, there: Sequence[tuple[int, str, str]]) -> int:
    """Which of a run's factors a text means: its place in `there`.

    there: number, hash, and the expression as it is traded, of each. text: a number, as "3" or
    "#3", or a hash or its unique beginning. Raises GiveUp, naming what there is.
    """
    number = text.removeprefix("#")
    fitting = [place for place, one in enumerate(there) if str(one[0]) == number]
    fitting = fitting or [place for place, one in enumerate(there) if one[1].startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    known = "; ".join(f"#{at} {own_hash[:8]} {traded}" for at, own_hash, traded in there[:_NAMED])
    raise GiveUp(
        f"{text!r} fits {len(fitting)} factors of {run_id}; name one by number or hash: "
        f"{known or '(it has none)'}"
    )


def asks_offline(spec: Mapping[str, Any]) -> bool:
    """Whether a run of that spec, as a message, asks the offline proposer."""
    tiers: Mapping[Tier, Mapping[str, Any]] = spec.get("tiers") or {}
    return any(tier.get("model") == PROPOSER for tier in tiers.values())


def _file(lake: Lake, run_id: str, name: str, read: Any) -> Any:
    try:
        return read(run_key(run_id, name))
    except FileNotFoundError as error:
        raise GiveUp(
            f"{run_id} is done, but {lake.uri} has no {name} of it; "
            "ask on a machine that sees that lake"
        ) from error
