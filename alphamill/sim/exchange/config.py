"""All that can be chosen about the simulated exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from alphamill.frames import Market
from alphamill.sim.exchange.archive import ArchiveFault
from alphamill.sim.exchange.faults import Fault
from alphamill.sim.exchange.limits import Limits
from alphamill.sim.exchange.stream_faults import StreamFault
from alphamill.sim.exchange.stream_rules import FUTURES_STREAMS, SPOT_STREAMS, StreamRules
from alphamill.sim.market import (
    BarSource,
    DerivedSource,
    ReplaySource,
    SyntheticMarket,
    SyntheticSource,
)

_SPOT_LIMITS = Limits()
_FUTURES_LIMITS = Limits(weight=2400, requests=None)
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """One simulated exchange.

    replay: a folder of recordings; None serves `synthetic`. Both exist in memory only.
    clock_offset_ms: the server's clock less the machine's at the start; all that the exchange says
    follows it: serverTime, bars, streams, archive, the windows of limits and the life of a
    connection. speed: how many times faster than the machine's clock it goes on from there.
    latency_ms: least and most of a seeded uniform delay, half of it before the request is counted.
    hang_s: how long a `timeout` fault keeps a client waiting that does not give up itself.
    skew_ms: how far off a `clock` fault's serverTime is.
    """

    port: int = 0  # 0: a free one
    host: str = "127.0.0.1"
    replay: Path | None = None
    replay_market: Market = Market.SPOT  # of a folder without spot, um, cm folders in it
    derive: bool = False  # make what recordings lack of what they have
    synthetic: SyntheticMarket = field(default_factory=SyntheticMarket)
    spot_limits: Limits = _SPOT_LIMITS
    futures_limits: Limits = _FUTURES_LIMITS  # of USD-M and COIN-M together
    spot_streams: StreamRules = SPOT_STREAMS
    futures_streams: StreamRules = FUTURES_STREAMS
    clock_offset_ms: int = 0
    speed: float = 1.0
    latency_ms: tuple[float, float] = (0.0, 0.0)
    faults: tuple[Fault, ...] = ()
    archive_faults: tuple[ArchiveFault, ...] = ()
    stream_faults: tuple[StreamFault, ...] = ()
    seed: int = 0  # of faults and latency
    hang_s: float = 120.0
    skew_ms: int = 5 * _HOUR_MS

    def __post_init__(self) -> None:
        if not 0 <= self.latency_ms[0] <= self.latency_ms[1]:
            raise ValueError("latency_ms must be two delays, the shorter first")
        if not self.speed > 0:
            raise ValueError("speed must be above 0")

    def source(self) -> BarSource:
        """Open the recordings or generate the market; raises Misconfigured."""
        if self.replay is not None:
            recorded = ReplaySource(self.replay, self.replay_market)
            return DerivedSource(recorded) if self.derive else recorded
        return SyntheticSource(self.synthetic)
