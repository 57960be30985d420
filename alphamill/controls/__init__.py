"""Control arms: the mill against markets whose truth is known, and against its own luck.

markets      synthetic bars with planted formulas, listings, delistings and gaps
planted      one such market mined, and what became of what was planted
direct       a formula that nobody searched for, judged by the same gates
survivors    a market that misleads only whoever leaves its dead coins out
calibration  many of all these: false discoveries, power, whether p-values are uniform
luck         a run's own panel mined with as many random formulas (formulas)
recovered    whether a run over a synthetic market found what was planted there
own_bars     a run's own panel searched again, by its own models, as it was or changed
mirrored     bars whose returns say nothing, and keep all else
noise        searches of such bars: how many claim anything
leaning      such bars with a known factor in them, at an IC
power        searches of these: how many find it
models       searches by several models: what a token and a dollar buy
kept         results of searches, seed by seed, in the lake
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.controls.calibration import Calibration, Power, calibrate
    from alphamill.controls.direct import Alone
    from alphamill.controls.kept import KeptSearches
    from alphamill.controls.luck import Arm, arm_of_run, luck_funnel, mine_luck
    from alphamill.controls.markets import ControlMarket
    from alphamill.controls.models import ModelCount, count_models, search_by_models
    from alphamill.controls.noise import NoiseCount, count_noise, worthless
    from alphamill.controls.own_bars import (
        Patient,
        Searched,
        offline_process,
        search_again,
        seed_of,
        spec_again,
    )
    from alphamill.controls.planted import (
        FALSE_BELOW,
        KEEPS,
        MEETS,
        Search,
        judge_planted,
        mine_market,
    )
    from alphamill.controls.power import PowerCount, count_power, search_leaning, strengths_in
    from alphamill.controls.recovered import Match, search_planted
    from alphamill.controls.survivors import spring

__all__ = [
    "FALSE_BELOW",
    "KEEPS",
    "MEETS",
    "Alone",
    "Arm",
    "Calibration",
    "ControlMarket",
    "KeptSearches",
    "Match",
    "ModelCount",
    "NoiseCount",
    "Patient",
    "Power",
    "PowerCount",
    "Search",
    "Searched",
    "arm_of_run",
    "calibrate",
    "count_models",
    "count_noise",
    "count_power",
    "judge_planted",
    "luck_funnel",
    "mine_luck",
    "mine_market",
    "offline_process",
    "search_again",
    "search_by_models",
    "search_leaning",
    "search_planted",
    "seed_of",
    "spec_again",
    "spring",
    "strengths_in",
    "worthless",
]

export_on_demand(__name__)
