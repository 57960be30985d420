"""What others published, computed again by this project's own functions, row by row."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.reproduction.figures import Source, source_of
    from alphamill.reproduction.row import Reproduction, Row, State

__all__ = ["Reproduction", "Row", "Source", "State", "source_of"]

export_on_demand(__name__)
