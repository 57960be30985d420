"""What was computed once is computed again and compared, at no cost."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.replay.factor import Recheck, recheck
    from alphamill.replay.run import Replayed, replay

__all__ = ["Recheck", "Replayed", "recheck", "replay"]

export_on_demand(__name__)
