"""What a run's spec says of how its factors are computed and measured, as those take it."""

from __future__ import annotations

from typing import Any

from alphamill.evaluation import Rebalancing, one_way_bps
from alphamill.jobs import RunKind, RunSpec
from alphamill.language import GIVEN_GROUPS


def group_tables(spec: RunSpec) -> dict[str, dict[str, str]]:
    """Group -> symbol -> label: the run's, and all symbols as one where given formulas need them.

    Models are told the run's own tables alone, so that a mining run has no others.
    """
    own = {name: dict(table) for name, table in spec.groups.items()}
    if spec.kind is RunKind.MINE:
        return own
    return {name: dict.fromkeys(spec.symbols, "all") for name in GIVEN_GROUPS} | own


def scorer_terms(spec: RunSpec) -> dict[str, Any]:
    """Arguments of a Scorer, without what depends on the bars."""
    return {
        "horizon_bars": spec.segments.horizon_bars,
        "entry_lag_bars": spec.segments.entry_lag_bars,
        "fee_bps": one_way_bps(spec.fees),
        "weighting": spec.portfolio.weighting,
        "quantiles": spec.portfolio.quantiles,
        "participation_frac": spec.portfolio.participation_frac,
        "log_returns": spec.segments.returns == "log",
        "rebalancing": Rebalancing(spec.portfolio.band, spec.portfolio.hold_bars),
    }
