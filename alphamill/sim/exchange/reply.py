"""An HTTP reply before it meets a socket, and the exchange's headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

JSON: Mapping[str, str] = {"Content-Type": "application/json;charset=UTF-8"}
HTML: Mapping[str, str] = {"Content-Type": "text/html"}

# On every recorded reply of the API, beside those that say what was used.
ALWAYS: Mapping[str, str] = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "0",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP reply."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
