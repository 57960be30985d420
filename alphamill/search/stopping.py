"""Whether a run's next round is worth asking for. Budgets are kept elsewhere: in the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from alphamill.runs.rows import Trial
from alphamill.search.feedback import shape
from alphamill.settings import SearchSettings

_ROUNDS_LOOKED_AT = 2


def why_stop(
    number: int, trials: Sequence[Trial], search: SearchSettings, age_s: float
) -> str | None:
    """Why round `number` (0-based) shall not be asked for, or None.

    age_s: since the run was submitted. Only discovery numbers of earlier rounds are looked at.
    """
    if search.max_hours is not None and age_s >= search.max_hours * 3600:
        return f"search.max_hours: the run is older than {search.max_hours:g} h"
    earlier = [trial for trial in trials if trial.round < number]
    if not earlier:
        return None
    found = len(_promising(earlier, search))
    if search.enough_promising is not None and found >= search.enough_promising:
        return f"search.enough_promising: {found} candidates are promising"
    if search.max_usd_per_promising is not None:
        expected = expected_micros(earlier, search)
        if expected > search.max_usd_per_promising * 1e6:
            return (
                "search.max_usd_per_promising: the next promising candidate is expected to cost "
                f"${expected / 1e6:.4g}"
            )
    return None


def expected_micros(trials: Sequence[Trial], search: SearchSettings) -> float:
    """What the next promising candidate costs at the rate of the last rounds, in micro-dollars.

    The rate is Jeffreys' estimate, (found + 1/2) / cost, which is finite where nothing was found.
    """
    last = max(trial.round for trial in trials)
    recent = [trial for trial in trials if trial.round > last - _ROUNDS_LOOKED_AT]
    costs = {trial.call_id: trial.call_cost_usd_micros or 0 for trial in recent}
    before = [trial for trial in trials if trial.round <= last - _ROUNDS_LOOKED_AT]
    new = _promising(recent, search) - _promising(before, search)
    return sum(costs.values()) / (len(new) + 0.5)


def _promising(trials: Sequence[Trial], search: SearchSettings) -> set[str]:
    """Shapes whose |t| on discovery is high enough: another window is no discovery."""
    return {
        shape(trial.text)
        for trial in trials
        if trial.evaluated and abs(trial.discovery.association_t or 0.0) >= search.promising_t
    }
