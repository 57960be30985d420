"""Follows what was mined: signals at every bar's close, proven equal to what was tested.

spec     what a live asks for; its id is a hash of that
release  when a bar's cross-section is computed, and over whom
signals  a published row, and the chain of hashes that it is a link of
journal  the rows in the lake, each written once
register which lives there are, in the lake
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.live.journal import Head, Journal
    from alphamill.live.register import Entry, Register
    from alphamill.live.release import Cause, Release, ReleaseRule
    from alphamill.live.signals import SIGNALS, Broken, Link, Signal, State, follow_chain
    from alphamill.live.spec import Followed, LiveSpec

__all__ = [
    "SIGNALS",
    "Broken",
    "Cause",
    "Entry",
    "Followed",
    "Head",
    "Journal",
    "Link",
    "LiveSpec",
    "Register",
    "Release",
    "ReleaseRule",
    "Signal",
    "State",
    "follow_chain",
]

export_on_demand(__name__)
