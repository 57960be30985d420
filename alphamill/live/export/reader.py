"""Target weights from a live's Redis stream, for whoever trades them.

Exported strategies carry the source of what is here, so it uses nothing of the project; see
`alphamill.live.stream` and `alphamill.live.signals` for the stream and its rows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)

KEPT_ROWS = 20_000  # of the stream, that are read at the start
BATCH_ROWS = 500


class SignalReader:
    """Target weights of one factor of one live.

    A row counts only if its hash is its payload's, if it names the row before it where that one was
    read, and if it was published within `in_time_ms` of its bar's close: who comes late has no
    price at the next open. A later revision takes an earlier one's place.
    """

    def __init__(self, client: Any, key: str, live: str, factor: str, in_time_ms: int) -> None:
        self._client = client
        self._key = key
        self._live = live
        self._factor = factor
        self._in_time_ms = in_time_ms
        self._next: int | None = None  # number of the first entry that was not read
        self._last: tuple[int, str] | None = None  # seq and hash of the newest row that holds
        self._bars: dict[int, tuple[int, dict[str, float]]] = {}  # bar -> revision, weights
        self.refused = 0

    def read(self) -> None:
        """Take what is new. Raises what the client raises when Redis cannot be reached."""
        if self._next is None:
            newest = self._client.xrevrange(self._key, count=1)
            self._next = max(1, self._number(newest[0][0]) - KEPT_ROWS) if newest else 1
        while True:
            entries = self._client.xrange(self._key, min=f"{self._next}-0", count=BATCH_ROWS)
            for name, fields in entries:
                self._next = self._number(name) + 1
                self._take(fields)
            if len(entries) < BATCH_ROWS:
                return

    def weights(self, symbol: str, bars_ms: Sequence[int]) -> list[float]:
        """The target weight at each bar, by its open time; NaN where there is no signal."""
        found = (self._bars.get(int(bar)) for bar in bars_ms)
        return [one[1].get(symbol, math.nan) if one else math.nan for one in found]

    @staticmethod
    def _number(name: Any) -> int:
        text = name.decode() if isinstance(name, bytes) else str(name)
        return int(text.partition("-")[0])

    def _take(self, fields: Mapping[Any, Any]) -> None:
        try:
            said = {self._text(name): self._text(value) for name, value in fields.items()}
            payload, stated = said["payload"], said["hash"]
            if hashlib.sha256(payload.encode()).hexdigest() != stated:
                raise ValueError("its payload is not what its hash was made of")
            row = json.loads(payload)
            self._follow(row, stated)
            if row["live"] == self._live and row["factor"] == self._factor:
                self._keep(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.refused += 1
            logger.error("a signal of %s is ignored: %s", self._live, error)

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    def _follow(self, row: Mapping[str, Any], stated: str) -> None:
        seq = int(row["seq"])
        if self._last is not None and seq <= self._last[0]:
            raise ValueError(f"row {seq} stands after row {self._last[0]}")
        if self._last is not None and seq == self._last[0] + 1 and row["previous"] != self._last[1]:
            raise ValueError(f"row {seq} does not name the row before")
        self._last = (seq, stated)

    def _keep(self, row: Mapping[str, Any]) -> None:
        bar, revision = int(row["bar_time"]), int(row["revision"])
        known = self._bars.get(bar)
        late = int(row["published_at"]) - int(row["close_time"]) > self._in_time_ms
        if late or (known is not None and known[0] >= revision):
            return
        pairs = zip(row["symbols"], row["weights"], strict=True) if row["state"] == "signal" else ()
        weights = {str(one): float(weight) for one, weight in pairs if weight is not None}
        self._bars[bar] = (revision, weights)
        if len(self._bars) > KEPT_ROWS:
            del self._bars[min(self._bars)]
