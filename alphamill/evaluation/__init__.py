"""Whether a factor predicts, whether that could be luck, and whether it pays after costs.

Pure functions of float64 arrays (bars, symbols). Nothing here guesses a horizon, and nothing at
bar t uses a price after it except what is called forward.
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.evaluation.correlation import (
        coverage,
        decay_half_life_bars,
        ic_decay,
        information_coefficient,
        rank_autocorrelation,
        time_series_products,
    )
    from alphamill.evaluation.costs import Fees, funding_by_bar, one_way_bps
    from alphamill.evaluation.gates import Gate, GateThresholds, Grade
    from alphamill.evaluation.novelty import (
        Nearest,
        nearest_in_library,
        residual_signal,
        signal_correlation,
    )
    from alphamill.evaluation.out_of_sample import TrialFacts, combined_t
    from alphamill.evaluation.overfitting import (
        EffectiveTrials,
        effective_trials,
        overfitting_logits,
        probability_of_backtest_overfitting,
        trial_correlation,
    )
    from alphamill.evaluation.portfolio import Backtest, BookSeries, backtest
    from alphamill.evaluation.power import Power, power_of
    from alphamill.evaluation.quantiles import (
        monotonicity,
        quantile_returns,
        quantile_returns_by_bar,
        quantile_spread,
        quantile_turnover,
    )
    from alphamill.evaluation.rebalancing import AT_ONCE, Rebalancing
    from alphamill.evaluation.returns import forward_returns
    from alphamill.evaluation.score import SCORES_VERSION, Score
    from alphamill.evaluation.scorer import Scorer, score
    from alphamill.evaluation.series import SegmentSeries
    from alphamill.evaluation.significance import (
        benjamini_hochberg,
        benjamini_hochberg_hurdles,
        default_lags,
        deflated_sharpe_ratio,
        expected_maximum_sharpe,
        minimum_track_record_length,
        newey_west_t,
        probabilistic_sharpe_ratio,
    )
    from alphamill.evaluation.splits import Segment, SegmentBars, purged_training_bars, split_bars
    from alphamill.evaluation.stability import fold_overfitting
    from alphamill.evaluation.verdict import Verdict, judge
    from alphamill.evaluation.weights import portfolio_weights, turnover

__all__ = [
    "AT_ONCE",
    "SCORES_VERSION",
    "Backtest",
    "BookSeries",
    "EffectiveTrials",
    "Fees",
    "Gate",
    "GateThresholds",
    "Grade",
    "Nearest",
    "Power",
    "Rebalancing",
    "Score",
    "Scorer",
    "Segment",
    "SegmentBars",
    "SegmentSeries",
    "TrialFacts",
    "Verdict",
    "backtest",
    "benjamini_hochberg",
    "benjamini_hochberg_hurdles",
    "combined_t",
    "coverage",
    "decay_half_life_bars",
    "default_lags",
    "deflated_sharpe_ratio",
    "effective_trials",
    "expected_maximum_sharpe",
    "fold_overfitting",
    "forward_returns",
    "funding_by_bar",
    "ic_decay",
    "information_coefficient",
    "judge",
    "minimum_track_record_length",
    "monotonicity",
    "nearest_in_library",
    "newey_west_t",
    "one_way_bps",
    "overfitting_logits",
    "portfolio_weights",
    "power_of",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "purged_training_bars",
    "quantile_returns",
    "quantile_returns_by_bar",
    "quantile_spread",
    "quantile_turnover",
    "rank_autocorrelation",
    "residual_signal",
    "score",
    "signal_correlation",
    "split_bars",
    "time_series_products",
    "trial_correlation",
    "turnover",
]

export_on_demand(__name__)
