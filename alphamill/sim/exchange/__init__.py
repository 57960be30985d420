"""The simulated exchange: Binance's REST, archive and streams over a market held in memory."""

from alphamill.sim.exchange.archive import ArchiveFault
from alphamill.sim.exchange.config import ExchangeConfig
from alphamill.sim.exchange.faults import Fault, FaultKind
from alphamill.sim.exchange.limits import Limits
from alphamill.sim.exchange.server import ExchangeServer, run_exchange
from alphamill.sim.exchange.streams import StreamRules

__all__ = [
    "ArchiveFault",
    "ExchangeConfig",
    "ExchangeServer",
    "Fault",
    "FaultKind",
    "Limits",
    "StreamRules",
    "run_exchange",
]
