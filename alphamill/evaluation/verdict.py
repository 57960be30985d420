"""The judgement on a factor: rejected, undecidable, predictive or tradable, gate by gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alphamill.evaluation.gates import Gate, GateThresholds, Grade, finite_or_none
from alphamill.evaluation.out_of_sample import (
    TrialFacts,
    combined_deflated_sharpe,
    combined_t,
    literal_deflated_sharpe,
    oriented_t,
)
from alphamill.evaluation.power import TESTS, Power, power_of
from alphamill.evaluation.score import Score
from alphamill.evaluation.significance import corrected_t, t_of_one_sided_p

# Gates of evidence: more bars could let through what fails them.
_EVIDENCE = (
    *TESTS,
    "validation_sign",
    "false_discovery",
    "holdout_sign",
    "gross_sharpe",
    "deflated_sharpe",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade and why. `reasons` are sentences: what failed, or that nothing did."""

    grade: Grade
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...]
    deflated_sharpe: float  # gross, validation and holdout if it was opened, with n_trials
    deflated_sharpe_effective: float  # the same with n_effective
    deflated_sharpe_uncapped: float  # the paper's to the letter: validation, V with its skill
    n_trials: int
    n_effective: float
    power: Power | None  # of the tests on its correlation; None without a t on both segments

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN or infinite."""
        return {
            "grade": self.grade.value,
            "gates": [gate.to_dict() for gate in self.gates],
            "reasons": list(self.reasons),
            "deflated_sharpe": finite_or_none(self.deflated_sharpe),
            "deflated_sharpe_effective": finite_or_none(self.deflated_sharpe_effective),
            "deflated_sharpe_uncapped": finite_or_none(self.deflated_sharpe_uncapped),
            "n_trials": self.n_trials,
            "n_effective": finite_or_none(self.n_effective),
            "power": asdict(self.power) if self.power else None,
        }


def judge(
    discovery: Score,
    validation: Score,
    holdout: Score | None,
    *,
    trials: TrialFacts,
    thresholds: GateThresholds,
    library_correlation: float | None,
    look_ahead_ok: bool | None,
    check_faults: Sequence[str] = (),
    looks_before: int = 0,
) -> Verdict:
    """Grade a factor from its scores and the search that it came out of.

    holdout: None if it was never opened, which rejects. library_correlation: the nearest known
    factor's, None if the library is empty. look_ahead_ok: None if not certified, which rejects.
    looks_before: how many factors earlier searches were shown on bars of this holdout; its t is
    then one of so many tests more, and the hurdle that of Bonferroni.

    Predictive asks the deflated Sharpe ratio of *gross* returns: what is deflated is information,
    and fees are a property of the venue that would hide it. Like the t of 3.0 it is asked of
    validation and holdout together, each marked bar by bar so that its observations do not overlap;
    see `combined_deflated_sharpe` for its hurdle. Its N is every trial, not the effective number:
    correlated trials also spread less, and that the variance already grants.
    Undecidable is what fails gates of evidence alone, on bars that give a true correlation of
    `power_correlation` less than `least_power` to pass the tests of it, and do not speak against
    it either.
    Tradable asks the same of net returns against the same hurdle; costs only ever lower a worthless
    trial's Sharpe ratio, so that hurdle is not too low.

    Raises ValueError if the segments were not traded in discovery's direction.
    """
    later = [validation] if holdout is None else [validation, holdout]
    if any(segment.direction != discovery.direction for segment in later):
        raise ValueError("validation and holdout must be scored in the direction of discovery")
    gates = (
        *_admission(discovery, later, thresholds, library_correlation, look_ahead_ok, check_faults),
        *_validation_gates(validation, trials, thresholds),
        *_holdout_gates(validation, holdout, thresholds, looks_before),
        *_book_gates(later, trials, thresholds),
        *_cost_gates(validation, holdout, later, trials, thresholds),
    )
    failed = [gate for gate in gates if not gate.passed]
    effective = trials.n_effective
    faults = [
        f"On {name}: {segment.fault}."
        for name, segment in zip(("validation", "holdout"), later, strict=False)
        if segment.fault
    ]
    power = _power(validation, holdout, gates, trials, thresholds)
    grade = _grade(failed, power, thresholds)
    undecided = [_undecided(power)] if power and grade is Grade.UNDECIDABLE else []
    told = (*faults, *undecided, *(_sentence(gate) for gate in failed))
    return Verdict(
        grade=grade,
        gates=gates,
        reasons=told or ("Every gate is passed.",),
        deflated_sharpe=combined_deflated_sharpe(later, "gross", trials),
        deflated_sharpe_effective=combined_deflated_sharpe(later, "gross", trials, effective),
        deflated_sharpe_uncapped=literal_deflated_sharpe(validation, trials),
        n_trials=trials.n_trials,
        n_effective=trials.n_effective,
        power=power,
    )


def _power(
    validation: Score,
    holdout: Score | None,
    gates: Sequence[Gate],
    trials: TrialFacts,
    thresholds: GateThresholds,
) -> Power | None:
    if holdout is None or not thresholds.least_power:
        return None
    hurdles = {gate.name: gate.threshold for gate in gates}
    known = trials.fdr_hurdle_p
    discovered = thresholds.fdr / max(trials.n_trials, 1) if math.isnan(known) else known
    hurdles["validation_t"] = max(hurdles["validation_t"], t_of_one_sided_p(discovered))
    return power_of(
        validation, holdout, hurdles, thresholds.power_correlation, thresholds.least_power
    )


def _grade(failed: Sequence[Gate], power: Power | None, thresholds: GateThresholds) -> Grade:
    needed = [gate for gate in failed if gate.needed_for is Grade.PREDICTIVE]
    if not needed:
        return Grade.PREDICTIVE if failed else Grade.TRADABLE
    if power is None or power.refuted or power.frac >= thresholds.least_power:
        return Grade.REJECTED
    evidence = all(gate.name in _EVIDENCE for gate in needed)
    return Grade.UNDECIDABLE if evidence else Grade.REJECTED


def _undecided(power: Power) -> str:
    symbols = f", or {power.symbols_needed:,} symbols," if power.symbols_needed else ""
    needed = f"; about {power.bars_needed:,}{symbols} are needed" if power.bars_needed else ""
    return (
        f"Undecidable: with a true correlation of {power.correlation:g} the tests of it are passed "
        f"on these {power.bars:,} bars of validation and holdout with a probability of "
        f"{power.frac:.2g}, {power.gate} the hardest{needed}."
    )


def _sentence(gate: Gate) -> str:
    if math.isnan(gate.value) or math.isnan(gate.threshold):
        return f"Fails {gate.name}: {gate.meaning}."
    return f"Fails {gate.name}: {gate.meaning}; {gate.value:.4g} against {gate.threshold:.4g}."


def _at_least(
    name: str, value: float, threshold: float, meaning: str, needed_for: Grade = Grade.PREDICTIVE
) -> Gate:
    return Gate(name, value >= threshold, value, threshold, meaning, needed_for)


def _at_most(name: str, value: float, threshold: float, meaning: str) -> Gate:
    return Gate(name, value <= threshold, value, threshold, meaning, Grade.PREDICTIVE)


def _yes(name: str, passed: bool, meaning: str) -> Gate:
    return Gate(name, passed, math.nan, math.nan, meaning, Grade.PREDICTIVE)


def _above_zero(name: str, value: float, meaning: str, needed_for: Grade) -> Gate:
    return Gate(name, value > 0, value, 0.0, meaning, needed_for)


def _admission(
    discovery: Score,
    later: Sequence[Score],
    thresholds: GateThresholds,
    library_correlation: float | None,
    look_ahead_ok: bool | None,
    check_faults: Sequence[str],
) -> tuple[Gate, ...]:
    fault = "no faults were found in its units" if not check_faults else "; ".join(check_faults)
    known = [abs(library_correlation)] if library_correlation is not None else [0.0]
    return (
        _yes("check", not check_faults, fault),
        _yes(
            "look_ahead",
            look_ahead_ok is True,
            "cutting off the future must change no past value"
            if look_ahead_ok is not None
            else "it was never certified that cutting off the future changes no past value",
        ),
        _at_least(
            "coverage",
            _lowest([discovery.coverage, *(segment.coverage for segment in later)]),
            thresholds.coverage,
            "share of bars with a value, in the worst segment",
        ),
        _at_most(
            "library_correlation",
            known[0],
            thresholds.library_correlation,
            "rank correlation with the nearest known factor",
        ),
    )


def _lowest(numbers: Sequence[float]) -> float:
    return math.nan if any(math.isnan(number) for number in numbers) else min(numbers)


def _validation_gates(
    validation: Score, trials: TrialFacts, thresholds: GateThresholds
) -> tuple[Gate, ...]:
    return (
        _above_zero(
            "validation_sign",
            validation.direction * validation.association,
            "the correlation must keep on validation the sign it had on discovery",
            Grade.PREDICTIVE,
        ),
        _at_least(
            "validation_t",
            oriented_t(validation),
            thresholds.validation_t,
            "Newey-West t on validation, in the direction of discovery",
        ),
        _at_most(
            "false_discovery",
            trials.bh_p,
            thresholds.fdr,
            f"p adjusted for all {trials.n_trials} trials of the run",
        ),
    )


def _holdout_gates(
    validation: Score, holdout: Score | None, thresholds: GateThresholds, looks_before: int
) -> tuple[Gate, ...]:
    if holdout is None:
        return (_yes("holdout", False, "the holdout was not opened: it was not a finalist"),)
    after = f", after {looks_before} looks of earlier runs" if looks_before else ""
    return (
        _above_zero(
            "holdout_sign",
            holdout.direction * holdout.association,
            "the correlation must keep on the holdout the sign it had on discovery",
            Grade.PREDICTIVE,
        ),
        _at_least(
            "holdout_t",
            oriented_t(holdout),
            corrected_t(thresholds.holdout_t, 1 + looks_before),
            f"Newey-West t on the holdout, in the direction of discovery{after}",
        ),
        _at_least(
            "out_of_sample_t",
            combined_t(validation, holdout),
            thresholds.out_of_sample_t,
            "t of validation and holdout together, in the direction of discovery",
        ),
    )


def _book_gates(
    later: Sequence[Score], trials: TrialFacts, thresholds: GateThresholds
) -> tuple[Gate, ...]:
    return (
        _above_zero(
            "gross_sharpe",
            _lowest([segment.gross_sharpe_per_bar for segment in later]),
            "before costs the book must earn on validation and on the holdout, each by itself",
            Grade.PREDICTIVE,
        ),
        _at_least(
            "deflated_sharpe",
            combined_deflated_sharpe(later, "gross", trials),
            thresholds.deflated_sharpe,
            "probability that the gross Sharpe ratio on validation and holdout together beats the "
            f"luckiest of {trials.n_trials}",
        ),
    )


def _cost_gates(
    validation: Score,
    holdout: Score | None,
    later: Sequence[Score],
    trials: TrialFacts,
    thresholds: GateThresholds,
) -> tuple[Gate, ...]:
    return (
        _above_zero(
            "net_validation",
            validation.net_sharpe,
            "net Sharpe ratio on validation must be above 0",
            Grade.TRADABLE,
        ),
        _above_zero(
            "net_holdout",
            math.nan if holdout is None else holdout.net_sharpe,
            "net Sharpe ratio on the holdout must be above 0",
            Grade.TRADABLE,
        ),
        _at_least(
            "net_deflated_sharpe",
            combined_deflated_sharpe(later, "net", trials),
            thresholds.deflated_sharpe,
            "probability that the net Sharpe ratio on validation and holdout together beats the "
            f"luckiest of {trials.n_trials}",
            Grade.TRADABLE,
        ),
    )
