"""What stands behind a factor's verdict: its proof, its search, its data, its money, its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alphamill.evaluation import Gate
from alphamill.jobs import RunKind
from alphamill.report.caveats import (
    funding_line,
    power_words,
    returns_line,
    training_words,
    universe_words,
)
from alphamill.report.values import (
    NOTHING,
    moment,
    number,
    percent,
    plain,
    probability,
    real,
    usd,
    whole,
)
from alphamill.runs.combined import CombinedSignal
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial

if TYPE_CHECKING:
    from alphamill.report.factor.tear_sheet import TearSheet

_SYMBOLS_TOLD = 6


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate with its margin. margin: how far the figure is on the right side; "" without one."""

    passed: bool
    name: str
    meaning: str
    value: str
    needed: str
    margin: str
    needed_for: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """gates: those that failed first. lines: a name and a sentence."""

    gates: tuple[GateRow, ...]
    lines: tuple[tuple[str, str], ...]

    @property
    def passed(self) -> int:
        """How many gates were passed."""
        return sum(gate.passed for gate in self.gates)


def certificate(run: PublishedRun, sheet: TearSheet) -> Certificate:
    """Of a judged factor, or the little that can be said of a given expression."""
    factor, trial = sheet.subject.factor, sheet.subject.trial
    lines: list[tuple[str, str]] = []
    if factor is not None:
        lines += [*_proof(factor), *_search(factor), *_looks(factor)]
    if trial is not None:
        lines += _given(trial, len(run.spec.horizons))
    lines += [*_data(run, sheet), *_money(run, factor), *_origin(run, sheet)]
    gates = _failed_first(factor) if factor else ()
    return Certificate(tuple(_row(gate) for gate in gates), tuple(lines))


def combined_certificate(run: PublishedRun, row: CombinedSignal) -> Certificate:
    """Of a combined signal: its calendar of refits stands for the call that named a factor."""
    judged = row.judged
    own = [one.from_ms for one in run.weights if one.method == row.method]
    lines = [
        *_proof(judged),
        ("trials", f"{_tried(judged)}; it is in place {whole(judged.rank)} on validation."),
        *_looks(judged),
    ]
    if own:
        lines.append(
            (
                "refits",
                f"{whole(len(set(own)))}, from {moment(min(own))} to {moment(max(own))} UTC; each "
                "saw labels that had matured by then.",
            )
        )
    lines += [("universe", line) for line in universe_words(run)]
    lines += [
        ("returns", returns_line(run.spec)),
        ("training data", training_words(run)),
        ("data hash", plain(judged.snapshot, 80)),
        ("computed by", f"alphamill {plain(judged.code_version, 20)}"),
        ("hash", plain(judged.hash, 64)),
    ]
    return Certificate(tuple(map(_row, _failed_first(judged))), tuple(lines))


def _tried(factor: JudgedFactor) -> str:
    return (
        f"{whole(factor.n_trials)} at {factor.interval}, the methods and settings among them "
        f"({number(factor.n_effective, 0)} effective): deflated Sharpe ratio "
        f"{number(factor.deflated_sharpe, 3)} before costs, "
        f"{number(deflated_after_costs(factor), 3)} after"
    )


def _failed_first(factor: JudgedFactor) -> list[Gate]:
    return sorted(factor.gates, key=lambda gate: gate.passed)


def deflated_after_costs(factor: JudgedFactor) -> float | None:
    """Of net returns, as its gate has it; None of a run without that gate."""
    return next((gate.value for gate in factor.gates if gate.name == "net_deflated_sharpe"), None)


def _row(gate: Gate) -> GateRow:
    value, threshold = real(gate.value), real(gate.threshold)
    known = value is not None and threshold is not None
    margin = abs(gate.value - gate.threshold) * (1 if gate.passed else -1)
    return GateRow(
        gate.passed,
        gate.name,
        gate.meaning,
        NOTHING if value is None else f"{value:.4g}",
        NOTHING if threshold is None else f"{threshold:.4g}",
        f"{margin:+.3g}" if known else NOTHING,
        gate.needed_for,
    )


def _proof(factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    said = {
        True: "Computed again on bars that end earlier: cutting off the future changes no past "
        "value.",
        False: "NOT proved: cutting off the future changes a past value.",
        None: "Not certified.",
    }
    yield "look-ahead", said[factor.look_ahead_ok]
    if factor.power is not None:
        yield (
            "power",
            f"{power_words(factor)}: how often a factor whose correlation is truly that would pass "
            "the tests of it, and so all gates at most.",
        )


def _search(factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    yield (
        "trials",
        f"{whole(factor.n_trials)} expressions were tried at {factor.interval} "
        f"({number(factor.n_effective, 0)} effective, {whole(factor.n_clusters)} clusters); it is "
        f"in place {whole(factor.rank)} on validation. "
        f"Deflated Sharpe ratio {number(factor.deflated_sharpe, 3)} before costs, "
        f"{number(deflated_after_costs(factor), 3)} after; adjusted p {probability(factor.bh_p)}; "
        f"probability of backtest overfitting {number(factor.pbo, 2)}.",
    )
    folds = factor.discovery
    yield (
        "inside discovery",
        f"{percent(folds.cpcv_same_sign_frac, 0)} of the 28 purged splits keep the sign; "
        f"walk-forward {number(folds.walk_forward_rank_corr, 4, signed=True)}.",
    )


def _looks(factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    if factor.holdout_looks == 0:
        yield "holdout", "Sealed: it was vetoed before, and never saw these bars."
    elif factor.holdout_looks:
        yield (
            "holdout",
            f"Opened once for it; its bars were shown to {whole(factor.holdout_looks)} factors so "
            f"far, {whole(factor.holdout_looks_before)} of them by earlier runs.",
        )


def _given(trial: Trial, horizons: int) -> Iterator[tuple[str, str]]:
    at_each = f" at each of {horizons} horizons and" if horizons > 1 else ""
    yield (
        "in-sample",
        f"One of {whole(trial.n_trials)} trials (each expression{at_each} in both directions), "
        f"judged on the very bars that chose its direction: deflated Sharpe ratio "
        f"{number(trial.deflated_sharpe, 3)} before costs, and no verdict.",
    )


def _data(run: PublishedRun, sheet: TearSheet) -> Iterator[tuple[str, str]]:
    missing: Counter[str] = Counter()
    for piece in sheet.pieces:
        missing.update(piece.missing)
    bars = sum(len(piece.ends_ms) for piece in sheet.pieces)
    if bars:
        of = f"of {whole(bars)} bars x {len(sheet.symbols)} symbols"
        holes = missing.total()
        yield (
            "data gaps",
            f"{whole(holes)} bars are missing {of}: {_worst(missing)}."
            if holes
            else f"No bar is missing {of}.",
        )
    manifest = run.manifest(sheet.subject.interval)
    for line in universe_words(run):
        yield "universe", line
    factor = sheet.subject.factor
    yield "returns", returns_line(run.spec, factor is not None and factor.discovery.in_time)
    if run.kind is RunKind.MINE:
        yield "training data", training_words(run)
    if manifest and manifest.missing:
        yield "symbols without a bar", _some(manifest.missing)
    if run.spec.market.has_funding:
        yield "funding", funding_line(run) or "Known and charged in every bar."
    if manifest:
        yield "data hash", manifest.snapshot


def _money(run: PublishedRun, factor: JudgedFactor | None) -> Iterator[tuple[str, str]]:
    if factor is None:
        return
    calls = run.calls_of(factor)
    yield (
        "cost",
        f"{usd(factor.call_cost_usd_micros)} for the call that named it: "
        f"{whole(sum(call.prompt_tokens for call in calls))} prompt tokens "
        f"({whole(sum(call.cached_tokens for call in calls))} from a cache), "
        f"{whole(sum(call.completion_tokens for call in calls))} of completion.",
    )


def _origin(run: PublishedRun, sheet: TearSheet) -> Iterator[tuple[str, str]]:
    factor = sheet.subject.factor
    if factor is not None:
        for call in run.calls_of(factor)[:1]:
            about = f"about {plain(factor.symbol, 40)}" if factor.symbol else "about all symbols"
            yield (
                "named by",
                f"{plain(call.model, 80)} as {plain(call.tier, 40)}, round "
                f"{whole((factor.round or 0) + 1)}, {about}.",
            )
            yield (
                "prompt",
                f"version {plain(call.prompt_version, 40)}, hash {plain(call.prompt_hash, 40)}; "
                f"read it with: alphamill prompt {plain(call.tier, 40)} --run {run.id} "
                f"--call {plain(call.call_id, 60)}",
            )
        yield "computed by", f"alphamill {plain(factor.code_version, 20)}"
        yield "again", f"alphamill replay {plain(factor.hash, 64)}"
    yield "hash", plain(sheet.subject.hash, 64)


def _worst(missing: Counter[str]) -> str:
    return _some([f"{symbol} {whole(bars)}" for symbol, bars in missing.most_common() if bars])


def _some(names: Sequence[str]) -> str:
    told = ", ".join(plain(name, 40) for name in names[:_SYMBOLS_TOLD])
    return told + (f" and {len(names) - _SYMBOLS_TOLD} more" if len(names) > _SYMBOLS_TOLD else "")
