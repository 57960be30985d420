"""From a command's arguments to runs in the ledger.

A producer takes what its run needs from here by name (`submit.checked_range`): it is loaded then,
so that help and wrong usage wait for neither HTTP clients nor Redis nor parquet.
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from producers.read.result import show_result
    from producers.submit.endpoints import check_budgets, check_models
    from producers.submit.submission import brought, check_segments, checked_range, submit, watched

__all__ = [
    "brought",
    "check_budgets",
    "check_models",
    "check_segments",
    "checked_range",
    "show_result",
    "submit",
    "watched",
]

export_on_demand(__name__)
