"""Fields that panels have beside the bars', where a run asks for them.

A value counts from when a trader could know it: `stages.wide_columns`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from alphamill.bars.flow_columns import FLOW
from alphamill.frames import Interval, Market, Wide, has_flow


@dataclass(frozen=True, slots=True)
class WideField:
    """unit: as those of fields.BASE_FIELDS. meaning: one sentence, for manuals."""

    name: str
    of: Wide
    unit: str
    meaning: str


_FIELDS = (
    WideField(
        "open_interest",
        Wide.METRICS,
        "volume",
        "contracts that are open, in base units (COIN-M: in contracts)",
    ),
    WideField(
        "open_interest_value",
        Wide.METRICS,
        "quote",
        "their worth in quote units (COIN-M: in base units)",
    ),
    WideField(
        "toptrader_account_ratio",
        Wide.METRICS,
        "ratio",
        "of the fifth of accounts with the most margin, those long over those short",
    ),
    WideField(
        "toptrader_position_ratio",
        Wide.METRICS,
        "ratio",
        "positions of these accounts, long over short",
    ),
    WideField(
        "long_short_account_ratio",
        Wide.METRICS,
        "ratio",
        "of all accounts, those long over those short",
    ),
    WideField(
        "taker_long_short_ratio",
        Wide.METRICS,
        "ratio",
        "what takers bought over what they sold, in the last five minutes that are out",
    ),
    WideField(
        "premium",
        Wide.PREMIUM,
        "ratio",
        "premium index at the close: the contract's price over the index, less 1, signed",
    ),
    WideField("mark_price", Wide.MARK, "price", "mark price at the close"),
    WideField("index_price", Wide.INDEX, "price", "index of spot prices at the close"),
    WideField(
        "last_funding_rate",
        Wide.FUNDING,
        "ratio",
        "the regular rate that was settled last before the close; longs pay it",
    ),
    WideField(
        "funding_interval_hours",
        Wide.FUNDING,
        "ratio",
        "hours between that settlement and the one before",
    ),
    *(WideField(one.name, Wide.FLOW, one.unit, one.summary) for one in FLOW.values()),
)
WIDE_FIELDS: Mapping[str, WideField] = MappingProxyType({one.name: one for one in _FIELDS})
"""By name."""


def wide_units(kinds: Collection[Wide]) -> dict[str, str]:
    """Fields of these kinds of data -> their units."""
    return {one.name: one.unit for one in _FIELDS if one.of in kinds}


def wide_kinds(fields: Collection[str]) -> tuple[Wide, ...]:
    """What a run must ask for to have these fields, in order; other names ask for nothing."""
    needed = {WIDE_FIELDS[name].of for name in fields if name in WIDE_FIELDS}
    return tuple(kind for kind in Wide if kind in needed)


def wide_fields_of(market: Market, interval: Interval) -> tuple[str, ...]:
    """Fields that there may be of a market's bars of that length."""
    return tuple(
        one.name
        for one in _FIELDS
        if one.of.is_of(market) and (one.of is not Wide.FLOW or has_flow(interval))
    )
