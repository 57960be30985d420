"""What models' searches of the same bars came to, and what a token and a dollar bought in them.

Every search has beside it one of as many random formulas on the same panel with the same gates:
what is found beyond that is the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from alphamill.controls.luck import luck_funnel
from alphamill.controls.own_bars import Searched, came_to, searched_again, seed_of
from alphamill.errors import GiveUp
from alphamill.jobs import RunSpec
from alphamill.mill import InProcess
from alphamill.runs.figures import finite
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.published import PublishedRun

Interval95 = tuple[float, float]


def search_by_models(run: PublishedRun, spec: RunSpec, process: InProcess) -> Searched:
    """One search of the run's own bars by the spec's models, and one of as many random formulas."""
    with searched_again(run, spec, dict, process) as again:
        funnel = tier_funnels(again.trials, again.factors, again.calls, spec.gates.validation_t)[-1]
        try:
            luck = asdict(luck_funnel(again.lake, again.spec, seed_of(spec)))
        except GiveUp:  # nothing was proposed that would count
            luck = {}
        return replace(came_to(again), funnel=asdict(funnel), luck=luck)


# What a candidate may become, and where that is counted.
STAGES: Mapping[str, Callable[[Searched], int]] = {
    "proposed": lambda one: one.funnel["proposed"],
    "valid": lambda one: one.funnel["evaluated"] + one.funnel["duplicate"] - one.funnel["slower"],
    "new": lambda one: one.funnel["evaluated"] - one.funnel["slower"],
    "predictive": lambda one: one.claims,
    "tradable": lambda one: sum(arm.tradable for arm in one.arms),
}


@dataclass(frozen=True, slots=True)
class Price:
    """What one of a kind took, over all searches. NaN where there is none.

    low, high: 95 %, by Garwood's interval of a Poisson count; high is infinite where there is none.
    """

    each: float
    low: float
    high: float

    @classmethod
    def of(cls, total: float, count: int) -> Price:
        """Of `count` things that took `total` together."""
        fewest, most = poisson_interval(count)
        return cls(
            total / count if count else math.nan,
            total / most,
            total / fewest if fewest else math.inf,
        )


@dataclass(frozen=True, slots=True)
class Yield:
    """Candidates that became something. mean, worst: of searches, the worst has the fewest."""

    stage: str
    count: int
    mean: float
    worst: int
    tokens: Price
    usd_micros: Price


@dataclass(frozen=True, slots=True)
class Excess:
    """Beyond random formulas: mean, worst and 95 % interval (Student) over searches.

    The interval is NaN of fewer than two.
    """

    mean: float
    worst: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelCount:
    """Over the searches of one configuration that were whole; all that was paid counts.

    passes: share of the measured candidates whose t on validation passes its gate; admitted:
    factors a search. latency_ms: p50 in the mean of searches, p99 in the worst.
    """

    name: str
    models: str
    searches: int
    incomplete: int
    calls: int
    failed_attempts: int
    tokens: int
    cost_usd_micros: int
    yields: tuple[Yield, ...]
    passes: Excess
    admitted: Excess
    latency_p50_ms: float
    latency_p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN or infinite."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def count_models(name: str, models: str, searches: Sequence[Searched]) -> ModelCount:
    """What the searches of one configuration say together."""
    whole = [one for one in searches if not one.failed]
    cost = sum(one.cost_usd_micros for one in searches)
    tokens = sum(one.funnel["prompt_tokens"] + one.funnel["completion_tokens"] for one in searches)
    latencies = [one.funnel["latency_ms"] for one in whole]
    beside = [one for one in whole if one.luck]
    return ModelCount(
        name=name,
        models=models,
        searches=len(whole),
        incomplete=len(searches) - len(whole),
        calls=sum(one.funnel["asked"] for one in searches),
        failed_attempts=sum(one.funnel["failed_attempts"] for one in searches),
        tokens=tokens,
        cost_usd_micros=cost,
        yields=tuple(_yield(stage, whole, tokens, cost) for stage in STAGES),
        passes=_excess([_passing(one.funnel) - _passing(one.luck) for one in beside]),
        admitted=_excess([one.funnel["admitted"] - one.luck["admitted"] for one in beside]),
        latency_p50_ms=_mean([one["p50"] for one in latencies]),
        latency_p99_ms=max((one["p99"] for one in latencies), default=math.nan),
    )


def _yield(stage: str, whole: Sequence[Searched], tokens: int, cost: int) -> Yield:
    counts = [STAGES[stage](one) for one in whole]
    total = sum(counts)
    return Yield(
        stage,
        total,
        _mean(counts),
        min(counts, default=0),
        Price.of(tokens, total),
        Price.of(cost, total),
    )


def _passing(funnel: Mapping[str, Any]) -> float:
    return funnel["passed_validation"] / funnel["evaluated"] if funnel["evaluated"] else 0.0


def _excess(values: Sequence[float]) -> Excess:
    mean, spread = _mean(values), math.nan
    if len(values) > 1:
        from scipy.special import stdtrit

        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        spread = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))
    return Excess(mean, min(values, default=math.nan), mean - spread, mean + spread)


def poisson_interval(count: int, confidence: float = 0.95) -> Interval95:
    """Garwood's (1936) two-sided interval of a Poisson mean."""
    from scipy.special import gammaincinv

    tail = (1 - confidence) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1 - tail))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    return finite(value)
