"""What travels: runs and jobs, as frozen messages that carry keys and units, never frames.

A run's id and a job's id are hashes of what they ask for, so that asking twice is asking once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any, Self, cast

from pydantic import TypeAdapter

from alphamill.evaluation import GateThresholds
from alphamill.frames import Interval, Market, Month, Wide
from alphamill.settings import (
    FeeSettings,
    PortfolioSettings,
    SearchSettings,
    SegmentSettings,
    Tier,
    TierSettings,
)
from alphamill.universe.record import Universe


class Queue(StrEnum):
    """Celery queues: one a stage, one a tier, so that no stage waits behind another."""

    FETCH = "fetch"
    FEATURES = "features"
    EVALUATE = "evaluate"
    QUICK_SCAN = "llm.quick_scan"
    DETAILED_ANALYSIS = "llm.detailed_analysis"
    FINAL_VERIFICATION = "llm.final_verification"
    CONTROL = "control"


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def content_id(kind: str, message: Mapping[str, Any]) -> str:
    """A short hash of what is asked for; equal content, equal id."""
    text = json.dumps(message, sort_keys=True, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Message:
    """A dataclass that travels as plain JSON."""

    def to_message(self) -> dict[str, Any]:
        """Plain JSON values."""
        return json.loads(json.dumps(asdict(self), default=_plain))  # type: ignore[no-any-return]

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """The reverse of `to_message`; pydantic.ValidationError names a field that does not fit."""
        return _adapter(cast("Any", cls)).validate_python(dict(message))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a stage says of a job that is done: counts, keys and reasons, never frames."""

    def to_message(self) -> dict[str, Any]:
        """Plain JSON values: without what is None, and `counts` beside the other fields."""
        message: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name == "counts":
                message |= value
            elif value is not None:
                message[name] = value
        return message

    @property
    def landed(self) -> Mapping[str, int]:
        """What the job did to market data, for whoever watches: counts of `usage.bars.COUNTS`."""
        return {}


@dataclass(frozen=True, slots=True)
class FetchJob(Message):
    """A range of bars, within one calendar month unless bars are a day or longer."""

    market: Market
    symbol: str  # exchange spelling: "BTCUSDT"
    interval: Interval
    start_ms: int  # UTC epoch milliseconds, included
    end_ms: int  # excluded


@dataclass(frozen=True, slots=True)
class FundingJob(Message):
    """Settlements of funding of a perpetual contract, over any number of months."""

    market: Market
    symbol: str
    start_ms: int  # UTC epoch milliseconds, included
    end_ms: int  # excluded


@dataclass(frozen=True, slots=True)
class WideJob(Message):
    """A range of what a futures contract has beside its bars, within one calendar month.

    interval: of the bars whose prices are meant; None of metrics.
    """

    kind: Wide  # not funding or flow, which have jobs of their own
    market: Market
    symbol: str
    interval: Interval | None
    start_ms: int  # UTC epoch milliseconds, included
    end_ms: int  # excluded


@dataclass(frozen=True, slots=True)
class RecheckJob(Message):
    """What the lake has beside bars, to compare with the exchange again, within one month.

    interval: of the bars whose prices are meant; None of metrics and funding.
    """

    kind: Wide
    market: Market
    symbol: str
    interval: Interval | None
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class ReverifyJob(Message):
    """Bars to compare with the exchange again, within one calendar month."""

    market: Market
    symbol: str
    interval: Interval
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class BarsJob(Message):
    """Bars of one rule, made of the trades of one UTC day from its midnight on."""

    market: Market
    symbol: str
    rule: str  # as `bars.Rule.text` spells it: "1000t"
    source: str  # what they are made of: "trades" or "aggTrades"
    start_ms: int  # UTC epoch milliseconds, a midnight
    end_ms: int  # excluded; of a day that is not over, what has passed
    keep_trades: bool = False  # put the trades into the lake too


@dataclass(frozen=True, slots=True)
class FeaturesJob(Message):
    """Indicators of one symbol over a range of bars."""

    market: Market
    symbol: str
    interval: Interval
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PanelJob(Message):
    """One snapshot of all symbols of an interval, cut into the run's segments."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class ProposeJob(Message):
    """One model call: candidates for a symbol (quick_scan) or refinements (detailed_analysis)."""

    tier: Tier
    interval: Interval
    round: int  # 0-based
    symbol: str = ""  # "" for a call about all symbols


@dataclass(frozen=True, slots=True)
class EvaluateJob(Message):
    """Score on discovery one shard of the candidates that a tier proposed in a round."""

    tier: Tier
    interval: Interval
    round: int
    shard: int
    shards: int


@dataclass(frozen=True, slots=True)
class ScoreJob(Message):
    """Score the given expressions on the whole range; no model, no holdout."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class ValidateJob(Message):
    """Score one shard of the run's trials on validation, in the direction found on discovery."""

    interval: Interval
    shard: int
    shards: int


@dataclass(frozen=True, slots=True)
class RankJob(Message):
    """Rank the trials by validation and choose the finalists."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class VetoJob(Message):
    """final_verification: one model call that names what it would keep and may veto."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class VerifyJob(Message):
    """Open the holdout once for the finalists and give the verdicts."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class PublishJob(Message):
    """Gather the run's results into its parquet files."""


@dataclass(frozen=True, slots=True)
class CombineJob(Message):
    """Combine the run's factors by each of its methods, and hold them to random formulas."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class Combination(Message):
    """How a run's given factors become one signal; see `alphamill.combination`."""

    methods: tuple[str, ...]  # as `combination.Combiner.text` spells them
    refit_ms: int  # weights change at the first bar of each such period since 1970
    train_ms: int  # bars that the first weights have seen
    draws: int = 200  # of the control arm; 0: there is none
    pool: int = 500  # random formulas that are drawn from
    seed: int = 0  # of both
    searches: tuple[str, ...] = ()  # runs that the factors came out of: their trials count


def default_trades(market: Market) -> str:
    """What bars are made of where nobody says: on spot the smaller files, which give the same."""
    return "trades" if market.has_funding else "aggTrades"


class RunKind(StrEnum):
    """What a producer may submit."""

    FETCH = "fetch"
    BARS = "bars"
    FEATURES = "features"
    MINE = "mine"
    EVALUATE = "evaluate"
    COMBINE = "combine"


# Settings that later versions added, at which a run is the same as without them.
_ADDED: Mapping[str, Mapping[str, Any]] = {
    "portfolio": {"band": 0.0, "hold_bars": 0},
    "search": {"slower_variants": 0, "finalists_break_even_bps": None},
    "gates": {"least_power": 0.5, "power_correlation": 0.03},
}


@dataclass(frozen=True, slots=True)
class RunSpec(Message):
    """All that determines a run's result. Its hash is the run's id."""

    kind: RunKind  # what is done
    lake: str  # where it writes: a folder or s3://bucket/prefix
    market: Market  # spot, um or cm
    symbols: tuple[str, ...]  # as the exchange spells them
    intervals: tuple[Interval, ...]  # of the bars; none of a BARS run, which has a rule
    start_ms: int  # UTC epoch milliseconds, included
    end_ms: int  # excluded
    rounds: int = 2  # of model calls
    candidates: int = 8  # asked for in one quick_scan call
    shards: int = 2  # evaluate jobs a round
    budget_usd_micros: int = 0  # what its model calls may cost
    strategy: str = ""  # a wish that the models are told
    expressions: tuple[str, ...] = ()  # given ones, of an evaluate run
    names: tuple[str, ...] = ()  # of the expressions, "" for none; empty: none has one
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # group, symbol -> label
    llm_url: str = ""  # where tiers are asked that name no url
    tiers: Mapping[Tier, TierSettings] = field(default_factory=dict)  # as the settings had them
    search: SearchSettings = SearchSettings()  # likewise
    segments: SegmentSettings = SegmentSettings()  # likewise
    # EVALUATE: several, ascending; then segments has the first. (): that of `segments` alone
    horizons_bars: tuple[int, ...] = ()
    portfolio: PortfolioSettings = PortfolioSettings()  # likewise
    fees: FeeSettings = FeeSettings()  # likewise
    gates: GateThresholds = GateThresholds()  # likewise
    verify_frac: float = 0.0  # FETCH: compare this share of the months again, fetch nothing
    wide: tuple[Wide, ...] = ()  # what its panels have beside bars
    rule: str = ""  # BARS: what closes a bar, as `bars.Rule.text` spells it
    trades: str = ""  # BARS: what they are made of, "trades" or "aggTrades"
    keep_trades: bool = False  # BARS: put those into the lake too
    salt: str = ""  # set to ask for the same thing again
    # Who belongs when; then `symbols` are all that ever do. None: the symbols, at all times
    universe: Universe | None = None
    combination: Combination | None = None  # COMBINE: what is made of `expressions`

    @property
    def run_id(self) -> str:
        """For example "mine-1f2e3d4c5b6a7988"."""
        return content_id(self.kind.value, self.to_message())

    @property
    def horizons(self) -> tuple[int, ...]:
        """Bars for which a position is held, each of which every factor is measured at."""
        return self.horizons_bars or (self.segments.horizon_bars,)

    @property
    def told_symbols(self) -> tuple[str, ...]:
        """Symbols that models are asked about: of a universe those of discovery's last month.

        That a coin belongs later is not known on discovery.
        """
        if self.universe is None:
            return self.symbols
        discovery_ms = self.segments.discovery_frac * (self.end_ms - self.start_ms)
        return self.universe.of_month(Month.of_ms(self.start_ms + round(discovery_ms) - 1))

    def at_horizon(self, horizon_bars: int) -> Self:
        """The same, measured at that horizon alone."""
        if self.horizons == (horizon_bars,):
            return self
        segments = self.segments.model_copy(update={"horizon_bars": horizon_bars})
        return replace(self, segments=segments, horizons_bars=())

    def to_message(self) -> dict[str, Any]:
        """Plain JSON values; without what later versions added, the same, and so the same id."""
        message = Message.to_message(self)
        for name in (
            "horizons_bars",
            "wide",
            "rule",
            "trades",
            "keep_trades",
            "universe",
            "combination",
        ):
            if not message[name]:
                del message[name]
        for part, added in _ADDED.items():
            for name, default in added.items():
                if message[part][name] == default:
                    del message[part][name]
        return message
