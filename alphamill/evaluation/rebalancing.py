"""How slowly a book follows its targets: hysteresis of weights, and a least holding time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """How slowly a book follows its targets; by default each decision at once, for its horizon.

    band: half the width of the region in which a position is left alone, as a multiple of the mean
    size of the bar's targets that are not 0: 0.5 waits for half of an average position. What is
    further off is traded to the region's edge, which is what proportional costs make best (Davis
    and Norman 1990). A target of 0 is met in full, so that what has left is not kept. Gross
    exposure is then at most 1 + band and the long and the short side may differ by as much.
    hold_bars: a decision is held for at least so many bars, in tranches as those of a horizon, so
    that no bar is singled out to trade at; 0: for the horizon.
    """

    band: float = 0.0
    hold_bars: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.band < math.inf or self.hold_bars < 0:
            raise ValueError(
                f"band {self.band} and hold_bars {self.hold_bars} must be finite and at least 0"
            )

    def tranches(self, horizon_bars: int) -> int:
        """How many decisions a book is the mean of."""
        return max(horizon_bars, self.hold_bars)


AT_ONCE = Rebalancing()
