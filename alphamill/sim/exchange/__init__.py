"""The simulated exchange: Binance's REST, archive and streams over a market held in memory."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.sim.exchange.archive import ArchiveFault
    from alphamill.sim.exchange.config import ExchangeConfig
    from alphamill.sim.exchange.faults import Fault, FaultKind
    from alphamill.sim.exchange.limits import Limits
    from alphamill.sim.exchange.server import ExchangeServer, run_exchange
    from alphamill.sim.exchange.stream_faults import StreamFault, StreamFaultKind
    from alphamill.sim.exchange.stream_rules import FUTURES_STREAMS, SPOT_STREAMS, StreamRules

__all__ = [
    "FUTURES_STREAMS",
    "SPOT_STREAMS",
    "ArchiveFault",
    "ExchangeConfig",
    "ExchangeServer",
    "Fault",
    "FaultKind",
    "Limits",
    "StreamFault",
    "StreamFaultKind",
    "StreamRules",
    "run_exchange",
]

export_on_demand(__name__)
