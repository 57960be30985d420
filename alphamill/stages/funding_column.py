"""A panel's `funding_rate`: what is known of settlements, bar by bar."""

from __future__ import annotations

import numpy as np

from alphamill.evaluation import funding_by_bar
from alphamill.frames import FloatArray, IntArray
from alphamill.market.funding.parse import MINUTE_MS, settled_ms
from alphamill.market.klines.parse import times_ms
from alphamill.stages.funding import KnownFunding


def funding_column(funding: KnownFunding, open_ms: IntArray, interval_ms: int) -> FloatArray:
    """One symbol's funding, (bars,): see `funding_by_bar`; NaN where it is not known.

    open_ms: of the bars, ascending. A stamp is read as the minute that it is nearest to: funding is
    owed by who holds on the hour, and who trades at the open of that hour's bar does not yet.
    """
    stamps = settled_ms(times_ms(funding.table, "funding_time"))
    rates = funding.table["funding_rate"].to_numpy()
    values = funding_by_bar(open_ms, interval_ms, stamps, rates)
    known = np.zeros(len(open_ms), dtype=bool)
    for start_ms, end_ms in funding.known:
        # The settlement at a bar's end is the bar's own, and stamped a little later.
        known |= (open_ms >= start_ms) & (open_ms + interval_ms + MINUTE_MS <= end_ms)
    values[~known] = np.nan
    return values
