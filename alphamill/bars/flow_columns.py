"""Flow columns: one record each, and what computes them of a bar's own trades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FlowColumn:
    """A column of a bar that only its trades can tell.

    summary: what it is. source: who defined it.
    unit: as the units of the factor language are named: volume (base units, contracts on COIN-M),
        quote, count, ratio, 1/quote; or as it says.
    low, high: the values' range, both ends included.
    least_trades: of a bar, below which it is NaN. least_times: different times of them, likewise.
    warmup_bars: bars before it that it looks at: none, since it is of the bar's own trades alone.
    needs_sides, needs_quantities: NaN where takers' sides or some quantity is not known.
    of_silence: its value in a bar without trades.

    What is made of returns, flows from trade to trade or waiting times takes trades of one time as
    one, at their last price (Barndorff-Nielsen, Hansen, Lunde, Shephard, 2009): the fills of one
    order are no news to each other.
    """

    name: str
    summary: str
    source: str
    unit: str
    low: float = -math.inf
    high: float = math.inf
    least_trades: int = 1
    least_times: int = 1
    needs_sides: bool = False
    needs_quantities: bool = False
    of_silence: float = math.nan
    warmup_bars: int = 0


_COLUMNS = (
    FlowColumn(
        "signed_volume",
        "Base volume that takers bought less what they sold; exact, then rounded once.",
        "Chordia, Roll, Subrahmanyam (2002)",
        "volume",
        needs_sides=True,
        needs_quantities=True,
        of_silence=0.0,
    ),
    FlowColumn(
        "signed_quote",
        "Quote volume that takers bought less what they sold; exact, then rounded once.",
        "Chordia, Roll, Subrahmanyam (2002)",
        "quote",
        needs_sides=True,
        needs_quantities=True,
        of_silence=0.0,
    ),
    FlowColumn(
        "trade_imbalance",
        "Takers' buys less their sells over both, by number of fills.",
        "Chordia, Roll, Subrahmanyam (2002)",
        "ratio",
        *(-1, 1),
        needs_sides=True,
    ),
    FlowColumn(
        "size_median",
        "Median size of a trade; exact.",
        "order statistics, Hyndman, Fan (1996), type 7",
        "volume",
        0,
        needs_quantities=True,
    ),
    FlowColumn(
        "size_q90",
        "Size that nine trades of ten do not exceed; exact, between two sizes in a straight line.",
        "order statistics, Hyndman, Fan (1996), type 7",
        "volume",
        0,
        needs_quantities=True,
    ),
    FlowColumn(
        "size_q99",
        "Size that 99 trades of a hundred do not exceed; exact, as size_q90.",
        "order statistics, Hyndman, Fan (1996), type 7",
        "volume",
        0,
        needs_quantities=True,
    ),
    FlowColumn(
        "size_max", "Largest trade.", "order statistics", "volume", 0, needs_quantities=True
    ),
    FlowColumn(
        "top_decile_share",
        "Share of the volume in the largest tenth of the trades (their number rounded up).",
        "definition; large trades as in Easley, O'Hara (1987)",
        "ratio",
        *(0, 1),
        needs_quantities=True,
    ),
    FlowColumn(
        "size_hhi",
        "Sum of the squared shares of trades in the volume: 1 for one trade, 1/n for n equal ones.",
        "Herfindahl (1950), Hirschman (1945)",
        "ratio",
        *(0, 1),
        needs_quantities=True,
    ),
    FlowColumn(
        "arrival_rate",
        "Fills a second of the bar's span; of an event bar from its first trade to its last.",
        "Engle, Russell (1998)",
        "count",
        0,
        of_silence=0.0,
    ),
    FlowColumn(
        "duration_cv",
        "Standard deviation (ddof 0) over mean of the waiting times between trades: 1 if they come "
        "at random, more in bursts.",
        "Engle, Russell (1998)",
        "ratio",
        0,
        least_times=3,
    ),
    FlowColumn(
        "realised_variance",
        "Sum of the squared log returns from trade to trade within the bar; bounces between bid "
        "and ask are in it.",
        "Andersen, Bollerslev, Diebold, Labys (2003)",
        "ratio",
        0,
        of_silence=0.0,
    ),
    FlowColumn(
        "down_variance",
        "The part of realised_variance that is of falls.",
        "Barndorff-Nielsen, Kinnebrock, Shephard (2010)",
        "ratio",
        0,
        of_silence=0.0,
    ),
    FlowColumn(
        "bipower_variation",
        "Pi/2 times the sum of products of neighbouring absolute returns: variance without jumps.",
        "Barndorff-Nielsen, Shephard (2004)",
        "ratio",
        0,
        of_silence=0.0,
    ),
    FlowColumn(
        "roll_spread",
        "Effective spread as a share of the price: 2 sqrt(-c), c the serial covariance of log "
        "returns from trade to trade; NaN where c is above 0.",
        "Roll (1984)",
        "ratio",
        0,
        least_times=4,
    ),
    FlowColumn(
        "kyle_lambda",
        "Slope of a trade's log return on its signed quote value, with an intercept; NaN if all "
        "are alike.",
        "Kyle (1985)",
        "1/quote",
        least_times=3,
        needs_sides=True,
        needs_quantities=True,
    ),
    FlowColumn(
        "hasbrouck_lambda",
        "Slope of a trade's log return on the signed square root of its quote value, with an "
        "intercept; NaN if all are alike.",
        "Hasbrouck (2009)",
        "1/sqrt(quote)",
        least_times=3,
        needs_sides=True,
        needs_quantities=True,
    ),
    FlowColumn(
        "amihud",
        "Absolute log return from the bar's first trade to its last over its quote volume.",
        "Amihud (2002)",
        "1/quote",
        0,
        needs_quantities=True,
    ),
    FlowColumn(
        "vpin",
        "The bar's volume in 50 equal buckets, trades split at their edges: mean of |bought - "
        "sold| over a bucket. By takers' recorded sides in place of bulk classification, and "
        "within the bar in place of over days.",
        "Easley, Lopez de Prado, O'Hara (2012)",
        "ratio",
        *(0, 1),
        least_trades=50,
        needs_sides=True,
        needs_quantities=True,
    ),
    FlowColumn(
        "sign_autocorrelation",
        "Slope of a trade's side (+1 bought, -1 sold) on the one before; NaN if all are alike.",
        "Lillo, Farmer (2004)",
        "ratio",
        least_times=3,
        needs_sides=True,
    ),
)

FLOW: Mapping[str, FlowColumn] = MappingProxyType({column.name: column for column in _COLUMNS})
"""Records of the flow columns by name, in the order of a table."""
