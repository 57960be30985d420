"""Searches of a run's own bars in which a known factor was planted: how many find it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from alphamill.controls.calibration import ADMITTED, Power, power_of
from alphamill.controls.direct import judge_alone
from alphamill.controls.leaning import Members, leaning_signs, most_ic, realised_ic
from alphamill.controls.mirrored import mirrored
from alphamill.controls.noise import interval_of_share
from alphamill.controls.own_bars import Searched, came_to, searched_again, seed_of, whole_panel
from alphamill.controls.planted import fates_in
from alphamill.errors import GiveUp
from alphamill.frames import FloatArray, Panel
from alphamill.jobs import RunSpec
from alphamill.mill import InProcess
from alphamill.runs.figures import finite
from alphamill.runs.panels import PanelManifest
from alphamill.runs.published import PublishedRun
from alphamill.sim.market import FORMULAS, PlantedFactor


def strengths_in(run: PublishedRun, expression: str, ics: Sequence[float]) -> list[float]:
    """The strength of each IC, at which the formula has it in the mean of seeds.

    In the run's bars of its first interval. Raises GiveUp where they cannot show so much.
    """
    manifest, panel = whole_panel(run, run.spec.intervals[0])
    most = most_ic(panel, expression, run.spec.segments, _members(manifest, panel))
    if most < max(ics):
        raise GiveUp(
            f"{expression} cannot be planted at an IC of {max(ics):g} in the bars of {run.id}: "
            f"their signs give at most {max(most, 0.0):.3f}; ask for a lower --ic or another "
            "--formula"
        )
    return [ic / most for ic in ics]


def search_leaning(
    run: PublishedRun, spec: RunSpec, planted: PlantedFactor, strength: float, process: InProcess
) -> Searched:
    """One search of the run's bars with that factor in them; spec: of one interval."""
    (interval,) = spec.intervals
    manifest = run.manifest(interval)

    def change(panel: Panel) -> dict[str, FloatArray]:
        formula, members = FORMULAS[planted.expression], _members(manifest, panel)
        return mirrored(panel, leaning_signs(panel, formula, strength, seed_of(spec), members))

    with searched_again(run, spec, change, process) as again:
        found = came_to(again)
        _, panel = whole_panel(again, interval)
        alone = judge_alone(panel, planted, spec.segments, spec.gates)
        fates = fates_in(again, interval, (planted,), (alone,))
        ic = realised_ic(panel, planted.expression, spec.segments, _members(manifest, panel))
        return replace(found, ic=ic, fates=fates)


def _members(manifest: PanelManifest | None, panel: Panel) -> Members | None:
    if manifest is None or manifest.universe is None:
        return None
    return manifest.universe.mask(panel.symbols, panel.times_ms)


@dataclass(frozen=True, slots=True)
class PowerCount:
    """Over the seeds of one strength that were searched whole.

    alone, found: 95 % Clopper-Pearson intervals of the shares of seeds in which the formula was
    called predictive as the only trial, and in which a factor that stands for it was admitted.
    mean_ic, lowest_ic: realised over the whole range. false_claims: seeds that admitted something
    and not what was planted.
    """

    power: Power
    alone: tuple[float, float]
    found: tuple[float, float]
    mean_ic: float
    lowest_ic: float
    false_claims: int
    incomplete: int
    cost_usd_micros: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN."""
        plain = asdict(self)
        plain["power"] = {name: finite(value) for name, value in plain["power"].items()}
        for name in ("alone", "found"):
            plain[name] = [finite(value) for value in plain[name]]
        return {name: finite(value) for name, value in plain.items()}


def count_power(target_ic: float, searches: Sequence[Searched]) -> PowerCount:
    """What the searches of bars with a formula planted at that IC say together."""
    whole = [one for one in searches if not one.failed]
    power = power_of(target_ic, [fate for one in whole for fate in one.fates])
    ics = [one.ic for one in whole if one.ic is not None]
    return PowerCount(
        power,
        alone=interval_of_share(power.predictive_alone, power.planted),
        found=interval_of_share(power.found, power.mined),
        mean_ic=math.fsum(ics) / len(ics) if ics else math.nan,
        lowest_ic=min(ics, default=math.nan),
        false_claims=sum(one.claims > 0 and not _found(one) for one in whole),
        incomplete=len(searches) - len(whole),
        cost_usd_micros=sum(one.cost_usd_micros for one in searches),
    )


def _found(one: Searched) -> bool:
    return any(fate.verdict in ADMITTED for fate in one.fates)
