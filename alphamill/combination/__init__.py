"""Factors combined to one signal, walked forward, against as many random formulas.

combiner      a method and its parameters, in one line
schedule      when weights change, and which labels had matured by then
factor_ranks  factors as centred ranks, which is what is weighed
statistics    RankICs and sums of products, refit by refit
weights       weights of a refit, of one pick of factors or of many
walk          the combined signal
boosted       the same by regression trees, which the extra `combine` brings
frozen        a refit's weights as an expression
control       picks of random formulas under the same combiner
excess        what the factors add to that, with its interval
judged        the verdict on a combined signal
Pure functions of arrays; nothing here reads a lake or knows a run.
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.combination.combiner import METHODS, Combiner, parse_combiner
    from alphamill.combination.control import ControlDraws, ControlPool, control_draws, control_pool
    from alphamill.combination.excess import Excess, excess_over_random
    from alphamill.combination.factor_ranks import FactorRanks
    from alphamill.combination.frozen import COMBINED_BOUNDS, frozen_expression
    from alphamill.combination.judged import (
        ChargedTrial,
        combination_segments,
        judge_combination,
        score_combination,
    )
    from alphamill.combination.schedule import Schedule, refit_schedule
    from alphamill.combination.walk import Walked, walk_forward, walk_forward_each

__all__ = [
    "COMBINED_BOUNDS",
    "METHODS",
    "ChargedTrial",
    "Combiner",
    "ControlDraws",
    "ControlPool",
    "Excess",
    "FactorRanks",
    "Schedule",
    "Walked",
    "combination_segments",
    "control_draws",
    "control_pool",
    "excess_over_random",
    "frozen_expression",
    "judge_combination",
    "parse_combiner",
    "refit_schedule",
    "score_combination",
    "walk_forward",
    "walk_forward_each",
]

export_on_demand(__name__)
