"""What the columns of a run's figures mean; the same words for the terminal and the page."""

from __future__ import annotations

_EVEN = "cost of trading, in bps one way, at which the profit is gone"
ORIENTED = (
    ". #: the order here, as `alphamill report --factor` takes it. Correlations and their t are "
    "turned in the direction that the factor is traded: one that is sold is good where it falls."
)
SOLD = " -(...): it is sold; pasted into `alphamill evaluate` it is bought as it stands here."
_DEFLATED = "deflated Sharpe ratio, the probability that it beats the luckiest of them"


def correlation(timed: bool) -> str:
    """What is measured: below three symbols there is no cross-section, and then no IC."""
    return "rank correlation in time" if timed else "RankIC"


def factors_legend(timed: bool, participation_frac: float) -> str:
    """Of judged factors. participation_frac: of a bar's volume, that a trade may be."""
    return (
        f"t: Newey-West t of the {correlation(timed)} on discovery, validation, holdout; SR: "
        "Sharpe ratio a year after costs, on validation and holdout; trials: of the search; DSR: "
        f"{_DEFLATED}, before costs (gross) and after them (net); BH p: adjusted for all of them; "
        f"turn: turnover a bar; even: {_EVEN}; folds: "
        "of the 28 ways to test two of discovery's eight folds on the other six, those that keep "
        "the sign; capacity: capital, in quote currency, whose trades stay below "
        f"{100 * participation_frac:g} % of their bars' volume on validation; call: what the "
        "model's reply that named it cost"
    )


def trials_legend(timed: bool, several_horizons: bool = False) -> str:
    """Of given expressions, which no other bars have judged."""
    each = "at each horizon and in both directions" if several_horizons else "in both directions"
    horizon = "horizon: bars for which a position is held; " if several_horizons else ""
    return (
        f"In-sample figures over the whole range: no holdout, no verdict. {horizon}t: Newey-West "
        f"t of the {correlation(timed)}; SR: Sharpe ratio a year, before and after costs; trials: "
        f"the expressions, each {each}; DSR gross: {_DEFLATED}, before costs, on the very "
        f"bars that chose its direction; even: {_EVEN}; turn: turnover a bar; cover: share of bars "
        "with a value"
    )
