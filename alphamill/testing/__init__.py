"""What tests of your own code need: every edge in memory, a clock that is moved by hand, a mill.

`FakeExchange` holds tables of klines, `ScriptedChat` says what you script, `MemoryLedger`,
`MemoryLimiter`, `MemoryJournal` and `MemoryUsage` keep the contracts of the Redis ones
(one test suite runs over both). `klines_at` and `random_klines` make bars, `random_fields` a
panel's, `put_klines` puts bars into a lake. `Mill` works a whole run in this process,
`work_market` one over a synthetic market.
"""

from alphamill.clock import ManualClock
from alphamill.ledger import MemoryLedger
from alphamill.limits import MemoryLimiter
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.scripted import ScriptedChat
from alphamill.market import FakeArchive, FakeExchange, FakeFunding
from alphamill.mill import Mill
from alphamill.testing.frames import klines_at, put_klines, random_fields, random_klines, spec_of
from alphamill.testing.mill import ProposingChat, WorkedRun, work_market
from alphamill.usage import MemoryUsage

__all__ = [
    "FakeArchive",
    "FakeExchange",
    "FakeFunding",
    "ManualClock",
    "MemoryJournal",
    "MemoryLedger",
    "MemoryLimiter",
    "MemoryUsage",
    "Mill",
    "ProposingChat",
    "ScriptedChat",
    "WorkedRun",
    "klines_at",
    "put_klines",
    "random_fields",
    "random_klines",
    "spec_of",
    "work_market",
]
