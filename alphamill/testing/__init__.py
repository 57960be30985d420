"""What tests of your own code need: every edge in memory, and a clock that is moved by hand.

`FakeExchange` holds tables of klines, `ScriptedChat` says what you script, `MemoryLedger`,
`MemoryLimiter`, `MemoryJournal` and `MemoryUsageCounters` keep the contracts of the Redis ones
(one test suite runs over both).
"""

from alphamill.clock import ManualClock
from alphamill.ledger import MemoryLedger
from alphamill.limits import MemoryLimiter
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.scripted import ScriptedChat
from alphamill.market import FakeExchange
from alphamill.usage import MemoryUsageCounters

__all__ = [
    "FakeExchange",
    "ManualClock",
    "MemoryJournal",
    "MemoryLedger",
    "MemoryLimiter",
    "MemoryUsageCounters",
    "ScriptedChat",
]
