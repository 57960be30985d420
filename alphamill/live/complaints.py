"""Warnings of what goes on: told when it changes, and then now and then."""

from __future__ import annotations

import logging
import re

from alphamill.clock import Clock

_AGAIN_S = 60.0
_NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")


class Complaints:
    """Logs a matter's warning once for each change of its words, and at most once a minute while
    they stay; numbers in them (times, waits) are no change.
    """

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._told: dict[str, tuple[str, float]] = {}

    def warn(self, of: str, text: str) -> None:
        """Of one matter, such as a live's id."""
        now_s, words = self._clock.monotonic_s(), _NUMBERS.sub("#", text)
        before, at_s = self._told.get(of, ("", 0.0))
        if words != before or now_s - at_s >= _AGAIN_S:
            self._told[of] = words, now_s
            self._log.warning("%s", text)

    def over(self, of: str) -> None:
        """It has passed; what comes next is news."""
        self._told.pop(of, None)
