"""Trades to bars: by time, trades, volume, value and imbalance; exact, and the same for any cut.

`parse_rule` says what closes a bar, `TradeParser` reads files in pieces, `build_day` makes a
symbol-day of bars and says what was wrong with its trades. No clock, disk or network. Each is
loaded when it is asked for: a rule needs neither numpy nor numba.
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.bars.agreement import Agreement, compare
    from alphamill.bars.bars import BARS, Bars, join_bars
    from alphamill.bars.build import BarBuilder
    from alphamill.bars.day import DayOfBars, build_day
    from alphamill.bars.flow_columns import FLOW, FlowColumn
    from alphamill.bars.order import in_order
    from alphamill.bars.parse import TradeParser, parse_trade_rows, parse_trades, read_trades
    from alphamill.bars.quality import OutOfOrder, Quality
    from alphamill.bars.rules import DEFAULT_IMBALANCE, Measure, Rule, RuleError, parse_rule
    from alphamill.bars.trades import Layout, Trades, TradeSource, join

__all__ = [
    "BARS",
    "DEFAULT_IMBALANCE",
    "FLOW",
    "Agreement",
    "BarBuilder",
    "Bars",
    "DayOfBars",
    "FlowColumn",
    "Layout",
    "Measure",
    "OutOfOrder",
    "Quality",
    "Rule",
    "RuleError",
    "TradeParser",
    "TradeSource",
    "Trades",
    "build_day",
    "compare",
    "in_order",
    "join",
    "join_bars",
    "parse_rule",
    "parse_trade_rows",
    "parse_trades",
    "read_trades",
]

export_on_demand(__name__)
