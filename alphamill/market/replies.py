"""What a reply of the exchange means: a body to read, or which error with which next step."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from requests.structures import CaseInsensitiveDict

from alphamill.errors import AlphamillError, GiveUp, Misconfigured, RetryLater

_BANNED_UNTIL = re.compile(r"banned until (\d{12,16})")
_LIMITED = -1003
_TRANSIENT = frozenset({-1000, -1001, -1006, -1007, -1008, -1016, -1021})
_LONGEST_PAUSE_S = 3 * 86_400.0  # Binance bans for at most three days
_FIREWALL_S = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, read to its end."""

    status: int
    body: bytes
    headers: CaseInsensitiveDict[str] = field(default_factory=CaseInsensitiveDict)

    def error(self) -> tuple[int | None, str]:
        """Binance's code and message, or (None, "") if the body is not its error object."""
        if self.body[:32].lstrip()[:1] != b"{":  # a page of klines is not parsed to see that
            return None, ""
        try:
            data = json.loads(self.body)
        except ValueError:
            return None, ""
        if not isinstance(data, dict) or not isinstance(data.get("code"), int):
            return None, ""
        return data["code"], str(data.get("msg", ""))

    def used_weight(self) -> float | None:
        """Weight that the exchange has counted this minute, if the reply says."""
        text = self.headers.get("x-mbx-used-weight-1m", self.headers.get("x-mbx-used-weight", ""))
        return float(text) if text.isascii() and text.isdigit() else None

    def date_ms(self) -> int | None:
        """The end of the second that the Date header names, if the reply has one."""
        try:
            moment = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return None
        return int(moment.timestamp()) * 1000 + 999


@dataclass(frozen=True, slots=True)
class Pause:
    """The exchange told us to stop: for how long, and why."""

    for_s: float
    reason: str


def pause_asked(reply: Reply, now_ms: int) -> Pause | None:
    """For a reply that refuses for a limit (429), bans (418) or says so in its code (-1003).

    Retry-After first, then the body's "banned until"; without either a minute, or two for a ban.
    """
    code, message = reply.error()
    if reply.status not in (418, 429) and code != _LIMITED:
        return None
    until = _BANNED_UNTIL.search(message)
    banned = reply.status == 418 or until is not None
    for_s = _retry_after_s(reply, now_ms)
    if for_s is None and until:
        for_s = (int(until[1]) - now_ms) / 1000
    if for_s is None:
        for_s = 120.0 if banned else 60.0
    word = "banned this address" if banned else "refused for its limit"
    reason = f"the exchange {word} (HTTP {reply.status}): {message[:200] or 'no message'}"
    return Pause(min(max(for_s, 1.0), _LONGEST_PAUSE_S), reason)


def _retry_after_s(reply: Reply, now_ms: int) -> float | None:
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - now_ms / 1000
    except ValueError:
        return None


def error_of(reply: Reply, url: str, variable: str) -> AlphamillError | None:
    """The error that a reply stands for, whatever was asked; None for a 200.

    Limits (`pause_asked`) and faults of the request itself (`request_fault`) come before this.
    """
    code, message = reply.error()
    said = f"HTTP {reply.status}" + (f", {code} {message[:200]}" if code is not None else "")
    if reply.status == 451:
        return GiveUp(
            f"{url} does not serve this location ({said}); set {variable} to a host that does, for "
            "spot https://data-api.binance.vision"
        )
    if reply.status == 403:
        return RetryLater(f"{url} refused at its firewall ({said})", _FIREWALL_S)
    if reply.status >= 500 or reply.status == 408 or code in _TRANSIENT:
        return RetryLater(f"{url} is not well ({said})", 5.0)
    if 300 <= reply.status < 400 or reply.status == 404:
        return Misconfigured(
            variable, f"{url} is not Binance's API ({said})", "give its scheme and host alone"
        )
    if reply.status != 200 or (code is not None and code < 0):
        return GiveUp(f"the exchange rejects the request ({said})")
    return None


def is_unknown_symbol(reply: Reply) -> bool:
    """Whether the symbol is at fault: -1121, or -1100 about parameter 'symbol' (lower case)."""
    code, message = reply.error()
    return code == -1121 or (code == -1100 and "'symbol'" in message)


def is_unknown_interval(reply: Reply) -> bool:
    """Whether the interval is at fault."""
    return reply.error()[0] == -1120


def is_beyond_reach(reply: Reply) -> bool:
    """Whether trades are asked for that are too old: -4166, on futures."""
    return reply.status == 400 and reply.error()[0] == -4166


def unknown_symbol(symbol: str, known: Iterable[str]) -> GiveUp:
    """The error for a symbol that the exchange does not have, with the nearest that it has."""
    near = nearest_symbol(symbol, known)
    hint = f"; did you mean {near}?" if near else ""
    return GiveUp(f"the exchange has no symbol {symbol!r}{hint}")


def nearest_symbol(symbol: str, known: Iterable[str]) -> str | None:
    """The known symbol that is spelled most alike; None where none is near."""
    near = difflib.get_close_matches(symbol.upper(), list(known), n=1, cutoff=0.6)
    return near[0] if near else None
