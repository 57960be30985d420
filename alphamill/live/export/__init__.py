"""A factor as a file that needs nothing of alphamill.

what     which factor is exported, and what is known of it
plain    every operator over numpy: exported files carry the source of those that they use
source   that source, by function
pandas_module  a module with the function `factor(frame)`
json_record  the tree and its provenance; read back, it is the same factor
reader   what a strategy reads signals by
strategy  a strategy that follows the signals, or computes by itself
out      a file as a whole or not at all
"""

from alphamill.live.export.json_record import factor_in, json_text
from alphamill.live.export.out import write_new
from alphamill.live.export.pandas_module import pandas_text
from alphamill.live.export.strategy import strategy_text
from alphamill.live.export.what import Exported, from_expression, from_live, from_run

__all__ = [
    "Exported",
    "factor_in",
    "from_expression",
    "from_live",
    "from_run",
    "json_text",
    "pandas_text",
    "strategy_text",
    "write_new",
]
