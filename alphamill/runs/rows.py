"""The rows of a run's tables as objects: candidates, what later stages say of them, verdicts.

What a row says of several segments lies in the lake as columns with a prefix
("validation_net_sharpe"); here and nowhere else are they made one object a segment, and columns
again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa

from alphamill.evaluation import Gate, Grade, Score, Verdict
from alphamill.frames import Interval
from alphamill.runs.figures import (
    NO_FIGURES,
    DiscoveryFigures,
    Measures,
    SegmentFigures,
    dump_score,
    finite,
    load_score,
)
from alphamill.settings import Tier

_TERM = re.compile(r"[a-z_][a-z0-9_]*(\(|$)|\(")
UNMEASURED = "unmeasured"  # status of the one row of bars that nothing could be measured on


def _names(kind: Any) -> Collection[str]:
    """A dataclass's fields, as fast as a table of many rows wants it."""
    return kind.__dataclass_fields__  # type: ignore[no-any-return]


def _own(kind: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row has of the class's fields; a column that an old lake lacks stays the default."""
    return {name: row[name] for name in _names(kind) if name in row}


def as_traded(expression: str, direction: int) -> str:
    """The expression as it is traded: "-(...)" for one that predicts falling prices.

    In the language, so that what a board or a page shows can be pasted back and is then bought. The
    minus of a whole expression is taken away in place of a second one.
    """
    if direction > 0:
        return expression
    rest = expression.removeprefix("-")
    return rest if rest != expression and _is_one_term(rest) else f"-({expression})"


def _is_one_term(text: str) -> bool:
    """Whether a canonical text is a field, or one pair of brackets with what is called before."""
    if not _TERM.match(text):
        return False
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return at == len(text) - 1
    return text.isidentifier()


class Columns(Protocol):
    """What is a row of a table: a `TableRow`, or a record of another room."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self: ...
    def to_row(self) -> dict[str, Any]: ...


AnyRow = TypeVar("AnyRow", bound=Columns)


class TableRow:
    """A row of one of a run's tables: `from_row` and `to_row` are each other's reverse."""

    __slots__ = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From plain values by column, as the lake has them."""
        return cls(**_own(cls, row))

    def to_row(self) -> dict[str, Any]:
        """Plain values by column; what a schema does not name is left out when it is written."""
        return {name: getattr(self, name) for name in _names(type(self))}

    def to_json(self, schema: pa.Schema) -> dict[str, Any]:
        """JSON values by column of the schema, with what a column holds as JSON decoded."""
        row = self.to_row()
        return {name: row[name] for name in schema.names} | self._decoded()

    def _decoded(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(TableRow):
    """A candidate, from its proposal to the published table; what a later step adds is None before.

    discovery: figures on discovery; in an `evaluate` run, over its whole range. `n_trials` and
    `deflated_sharpe` are of such a run, what stands behind them is of a mining run.
    """

    interval: Interval  # of the bars, as Binance spells it
    # evaluated, duplicate, fault, invalid, unclean, unreadable or unmeasured; before it is scored
    # parsed or repaired
    status: str
    round: int = 0  # 0-based
    tier: str | None = None  # a settings.Tier, or "given"; None of bars that are UNMEASURED
    symbol: str | None = None  # in whose call it was proposed; "" in a call about all
    call_id: str | None = None  # of the model call that proposed it; a row of calls
    call_cost_usd_micros: int | None = None  # of all that the call proposed, repairs included
    proposed: str | None = None  # as the model or the user wrote it
    expression: str | None = None  # in canonical form; None where it could not be read
    hash: str | None = None  # identity of the canonical form
    hypothesis: str | None = None  # the model's idea, or the name of a given expression
    reason: str | None = None  # why it was not scored, or what its units leave open
    repair: str | None = None  # "" as proposed, "free" mended by rule, "model" by a paid call
    repair_unread: str | None = None  # why a paid repair of it could not be read, a line a problem
    cut: bool | None = None  # the reply broke off behind it: the hypothesis may be missing
    slower_of: str | None = None  # hash of the candidate that a rule smoothed; None: proposed
    lookback_bars: int | None = None  # earlier bars that a value needs
    direction: int | None = None  # +1 or -1, as discovery found
    discovery: Measures = NO_FIGURES
    score_text: str | None = None  # see `score`
    horizon_bars: int | None = None  # of a given expression
    n_trials: int | None = None  # given expressions, each at each horizon and in both directions
    deflated_sharpe: float | None = None  # in-sample, gross
    validation: Measures = NO_FIGURES
    validation_rank: int | None = None  # 1 is the best of the interval
    finalist: bool | None = None  # whether the holdout was opened for it, unless it was vetoed
    why_not_finalist: str | None = None  # "" of a finalist

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of PROPOSALS, TRIALS, GIVEN_TRIALS or MINED_TRIALS."""
        return cls(
            **_own(cls, row)
            | {
                "interval": Interval(row["interval"]),
                "discovery": Measures.from_columns(row),
                "validation": Measures.from_columns(row, "validation_"),
                "score_text": row.get("score"),
            }
        )

    def to_row(self) -> dict[str, Any]:
        """Plain values by column."""
        return (
            {name: getattr(self, name) for name in _names(Trial)}
            | {"score": self.score_text}
            | self.discovery.to_columns()
            | self.validation.to_columns("validation_")
        )

    def _decoded(self) -> dict[str, Any]:
        return {"score": json.loads(self.score_text) if self.score_text else None}

    def with_score(self, score: Score, lookback_bars: int) -> Self:
        """As measured on discovery: evaluated, or a fault with its reason."""
        return replace(
            self,
            status="fault" if score.fault else "evaluated",
            reason=score.fault or self.reason,
            lookback_bars=lookback_bars,
            direction=score.direction,
            discovery=Measures.of(score),
            score_text=dump_score(score),
        )

    @property
    def ready(self) -> bool:
        """Whether it is a proposal that can be scored."""
        return self.status in ("parsed", "repaired")

    @property
    def scored(self) -> bool:
        """Whether it was scored, with figures or with a fault in their place."""
        return self.status in ("evaluated", "fault")

    @property
    def evaluated(self) -> bool:
        """Whether it was measured on discovery."""
        return self.status == "evaluated"

    @property
    def counted(self) -> bool:
        """Whether it counts in N: every expression does, whatever became of it, duplicates too."""
        return self.scored or self.status == "duplicate"

    def before(self, number: int, tier: str) -> bool:
        """Whether a mining run proposed it in a step before that of a tier in a round."""
        order = [one.value for one in Tier]
        return (self.round, order.index(self.tier or "")) < (number, order.index(tier))

    @property
    def text(self) -> str:
        """The expression, or what was proposed where none could be read."""
        return self.expression or self.proposed or ""

    @property
    def traded(self) -> str:
        """The expression as it is traded; as written where no direction is known."""
        return as_traded(self.text, self.direction or 1)

    @property
    def score(self) -> Score | None:
        """All figures on discovery, folds and decay with them; None unless it was scored."""
        return load_score(self.score_text) if self.score_text else None


def by_strength(trials: Sequence[Trial]) -> list[Trial]:
    """Given expressions by falling |t|, those without one last.

    Of several horizons an expression stands by its best one, its horizons together and ascending.
    """
    if len({one.horizon_bars for one in trials}) < 2:
        return sorted(trials, key=lambda one: -_strength(one))
    best: dict[Any, float] = {}
    for one in trials:
        best[_given(one)] = max(best.get(_given(one), 0.0), _strength(one))
    places = {given: (-strength, at) for at, (given, strength) in enumerate(best.items())}
    return sorted(trials, key=lambda one: (*places[_given(one)], one.horizon_bars or 0))


def _given(trial: Trial) -> tuple[Any, ...]:
    """An expression of an `evaluate` run, whatever its horizon."""
    return trial.interval, trial.hash or trial.proposed, trial.hypothesis


def _strength(trial: Trial) -> float:
    return abs(trial.discovery.association_t or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedTrial(TableRow):
    """A trial on validation, in its discovery direction; gross_returns: of its book, a bar."""

    hash: str
    expression: str
    direction: int
    figures: Measures
    score_text: str
    fault: str | None = None  # why it could not be measured
    gross_returns: list[float] | None = None  # of its book, a bar

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of VALIDATION."""
        own = {"figures": Measures.from_columns(row), "score_text": row["score"]}
        return cls(**_own(cls, row) | own)

    def to_row(self) -> dict[str, Any]:
        """Plain values by column."""
        own = {name: getattr(self, name) for name in _names(ValidatedTrial)}
        return own | self.figures.to_columns() | {"score": self.score_text}

    @property
    def score(self) -> Score:
        """All figures on validation."""
        return load_score(self.score_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTrial(TableRow):
    """A validated trial beside the others; NaN where a number that counts cannot be had."""

    hash: str
    expression: str
    direction: int
    oriented_t: float  # on validation, in discovery's direction
    bh_p: float  # adjusted for all trials
    fdr_hurdle_p: float = math.nan  # the largest p that would have passed beside the others
    n_trials: int
    n_effective: float
    n_clusters: int  # of trials whose returns correlate above 0.5
    sharpe_variance: float  # of the trials' Sharpe ratios a bar
    discovery_pbo: float  # of the search on discovery's folds, by RankIC
    pbo: float  # probability of backtest overfitting, of the whole search
    rank: int | None = None  # 1 is the best on validation; None of the unranked
    finalist: bool = False
    why: str = ""  # why not a finalist
    library_correlation: float | None = None  # with the nearest better-ranked finalist
    # With the nearest factor that earlier runs had admitted when this one began.
    earlier_correlation: float | None = None
    earlier_nearest: str | None = None
    earlier_run: str | None = None
    # Beside the better-ranked finalists: what is left of the RankIC, in discovery's direction.
    residual_rank_ic: float | None = None
    residual_t: float | None = None
    shared_subtree_frac: float | None = None
    complexity_nodes: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of RANKING, which has null for NaN."""
        own = _own(cls, row)
        return cls(**own | {name: math.nan for name in _NUMBERS if own.get(name) is None})


_NUMBERS = (
    *("oriented_t", "bh_p", "fdr_hurdle_p", "n_effective", "sharpe_variance"),
    *("discovery_pbo", "pbo"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedFinalist(TableRow):
    """What final_verification said of a finalist."""

    hash: str
    kept: bool = False  # named as one that it would keep; raises no score
    vetoed: bool = False  # then its holdout stays shut
    reason: str = ""  # of the veto
    unread: str | None = None  # of the reply about all finalists, a line a problem; None: all read


def said(verdict: Verdict) -> dict[str, Any]:
    """What a JudgedFactor has of its verdict."""
    power = verdict.power
    return {
        "verdict": verdict.grade,
        "gates": verdict.gates,
        "reasons": verdict.reasons,
        "n_trials": verdict.n_trials,
        "n_effective": finite(verdict.n_effective),
        "deflated_sharpe": finite(verdict.deflated_sharpe),
        "deflated_sharpe_effective": finite(verdict.deflated_sharpe_effective),
        "deflated_sharpe_uncapped": finite(verdict.deflated_sharpe_uncapped),
        "power": power.frac if power else None,
        "power_correlation": power.correlation if power else None,
        "power_bars": power.bars if power else None,
        "power_bars_needed": power.bars_needed if power else None,
        "power_symbols_needed": power.symbols_needed if power else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFactor(TableRow):
    """A finalist with its verdict: a row of factors.parquet."""

    hash: str
    expression: str
    interval: Interval
    verdict: Grade  # rejected, undecidable, predictive or tradable
    rank: int  # on validation, 1 is the best of all trials
    direction: int  # +1 or -1: a factor that predicts falling prices is sold
    gates: tuple[Gate, ...]  # every question that was asked of it
    reasons: tuple[str, ...]  # sentences: what failed, or that nothing did
    discovery: DiscoveryFigures
    validation: SegmentFigures
    holdout: SegmentFigures  # empty, but for its dates, where it stayed shut
    hypothesis: str | None = None
    tier: str | None = None
    symbol: str | None = None  # in whose call it was proposed; "" in a call about all
    round: int | None = None  # 0-based
    call_id: str | None = None
    call_cost_usd_micros: int | None = None  # of all that the call proposed, repairs included
    lookback_bars: int | None = None
    veto_reason: str | None = None  # "" without a veto
    kept_by_model: bool | None = None  # named by final_verification as one that it would keep
    review_unread: str | None = None  # of final_verification's reply, a line a problem
    look_ahead_ok: bool | None = None  # cutting off the future changes no past value
    holdout_looks: int | None = None  # factors shown these bars so far, by any run; 0: vetoed
    holdout_looks_before: int | None = None  # of them, earlier: by other runs, or judged anew
    n_trials: int | None = None  # of the search at this interval
    n_effective: float | None = None  # independent trials that they amount to
    n_clusters: int | None = None  # of trials whose returns correlate above 0.5
    bh_p: float | None = None  # adjusted for all trials
    deflated_sharpe: float | None = None  # gross, of validation and holdout, by n_trials
    deflated_sharpe_effective: float | None = None  # by n_effective
    deflated_sharpe_uncapped: float | None = None  # the paper's to the letter
    power: float | None = None  # share of true factors that pass the tests of it; see Power
    power_correlation: float | None = None  # mean a bar, of such a factor, in its direction
    power_bars: int | None = None  # of validation and holdout
    power_bars_needed: int | None = None  # for the power that was asked for
    power_symbols_needed: int | None = None  # or so many in all; None below three
    pbo: float | None = None  # probability of backtest overfitting, of the whole search
    discovery_pbo: float | None = None  # the same on discovery's folds
    library_correlation: float | None = None  # with the nearest better finalist
    residual_rank_ic: float | None = None  # what is left beside the better finalists
    residual_t: float | None = None  # Newey-West, of it
    shared_subtree_frac: float | None = None  # of its nodes, those that a better finalist has too
    complexity_nodes: int | None = None  # of the expression's tree
    earlier_factors: int | None = None  # of earlier runs, that it was compared with
    earlier_nearest: str | None = None  # hash of the most alike of them
    earlier_run: str | None = None  # that admitted it
    earlier_correlation: float | None = None  # with it
    earlier_residual_rank_ic: float | None = None  # what is left beside those of earlier runs
    earlier_residual_t: float | None = None  # Newey-West, of it
    snapshot: str | None = None  # hash of the panel
    code_version: str | None = None  # of alphamill, that judged

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of VERDICTS."""
        gates = json.loads(row["gates"]) if row["gates"] else ()
        return cls(
            **_own(cls, row)
            | {
                "interval": Interval(row["interval"]),
                "verdict": Grade(row["verdict"]),
                "gates": tuple(Gate.from_dict(gate) for gate in gates),
                "reasons": tuple(json.loads(row["reasons"]) if row["reasons"] else ()),
                "discovery": DiscoveryFigures.from_columns(row, "discovery_"),
                "validation": SegmentFigures.from_columns(row, "validation_"),
                "holdout": SegmentFigures.from_columns(row, "holdout_"),
            }
        )

    def to_row(self) -> dict[str, Any]:
        """Plain values by column."""
        return (
            {name: getattr(self, name) for name in _names(JudgedFactor)}
            | self.discovery.to_columns("discovery_")
            | self.validation.to_columns("validation_")
            | self.holdout.to_columns("holdout_")
            | {name: json.dumps(value) for name, value in self._decoded().items()}
        )

    def _decoded(self) -> dict[str, Any]:
        return {"reasons": list(self.reasons), "gates": [gate.to_dict() for gate in self.gates]}

    @property
    def undecidable(self) -> bool:
        """Whether its bars could hardly have shown what it was asked for."""
        return self.verdict is Grade.UNDECIDABLE

    @property
    def admitted(self) -> bool:
        """Whether it was found predictive or better."""
        return self.verdict.admitted

    @property
    def traded(self) -> str:
        """The expression as it is traded; see `as_traded`."""
        return as_traded(self.expression, self.direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission(TableRow):
    """A factor in a lake's library."""

    number: int  # 0-based, in the order of admission
    run: str  # that admitted it
    hash: str
    expression: str
    verdict: str
    rank: int  # in its run
    # Afterwards, by a person, or when its run was judged anew; None of what still counts.
    removed_ms: int | None = None  # UTC epoch
    removed_by: str | None = None  # the user's name on that machine
    removed_why: str | None = None  # as given with --why
    direction: int | None = None  # +1 or -1, sold; None of what older code admitted

    @property
    def traded(self) -> str:
        """The expression as it is traded; as written where no direction is known."""
        return as_traded(self.expression, self.direction or 1)

    @property
    def removed(self) -> bool:
        """Whether it was taken out again."""
        return self.removed_ms is not None
