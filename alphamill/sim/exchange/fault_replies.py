"""Replies made wrong: the pages and bodies of the simulated exchange's faults.

Sources: recorded responses of the exchange (451, 500), its gateway and its firewall.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from alphamill.sim.exchange.faults import ROW_FAULTS, FaultKind
from alphamill.sim.exchange.messages import HTML, JSON, Reply

_CLOSE = 4  # place of the close in a row
_NULL_EVERY = 7  # rows


def faulty_reply(kind: FaultKind, reply: Reply, skew_ms: int) -> Reply:
    """`reply` with the fault in its body; as it is if the fault has nothing to work on.

    skew_ms: how far a `clock` fault moves serverTime.
    """
    if kind in _PAGES:
        page = _PAGES[kind]
        kept = reply.headers if kind is FaultKind.HTTP_500 else {}
        return Reply(page.status, page.body, {**kept, **page.headers})
    if reply.status != 200:
        return reply
    if kind is FaultKind.CUT_JSON:
        return Reply(200, reply.body[: len(reply.body) // 2], reply.headers)
    if kind is FaultKind.NO_FUNDING:
        return Reply(200, b"[]", reply.headers)
    if kind is FaultKind.CLOCK:
        return _edited(reply, lambda told: _moved(told, skew_ms))
    return _edited(reply, _ROWS[kind]) if kind in ROW_FAULTS else reply


def _edited(reply: Reply, edit: Callable[[Any], Any]) -> Reply:
    body = json.dumps(edit(json.loads(reply.body)), separators=(",", ":")).encode()
    return Reply(reply.status, body, reply.headers)


def _moved(told: dict[str, Any], skew_ms: int) -> dict[str, Any]:
    unit = 1000 if told["serverTime"] >= 10**14 else 1
    return {**told, "serverTime": told["serverTime"] + skew_ms * unit}


def _with_nulls(rows: list[Any]) -> list[Any]:
    for row in rows[::_NULL_EVERY]:
        row["fundingRate" if isinstance(row, dict) else _CLOSE] = None
    return rows


def _repeated(rows: list[Any]) -> list[Any]:
    return [row for row in rows for _ in range(2)] + rows[:1]


def _halves_swapped(rows: list[Any]) -> list[Any]:
    middle = len(rows) // 2
    return rows[middle:] + rows[:middle]


def _widened(rows: list[Any]) -> list[Any]:
    extra = "not a number"
    return [{**row, "extra": extra} if isinstance(row, dict) else [*row, extra] for row in rows]


_ROWS: Mapping[FaultKind, Callable[[list[Any]], list[Any]]] = {
    FaultKind.NULLS: _with_nulls,
    FaultKind.DUPLICATES: _repeated,
    FaultKind.UNORDERED: _halves_swapped,
    FaultKind.EXTRA_COLUMN: _widened,
}


def _page(status: int, title: str) -> Reply:
    body = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center>"
    return Reply(status, f"{body}</body></html>".encode(), HTML)


def _error(status: int, code: int, message: str) -> Reply:
    body = json.dumps({"code": code, "msg": message}, separators=(",", ":"))
    return Reply(status, body.encode(), JSON)


_PAGES: Mapping[FaultKind, Reply] = {
    FaultKind.HTTP_451: _error(
        451,
        0,
        "Service unavailable from a restricted location according to 'b. Eligibility' in "
        "https://www.binance.com/en/terms. Please contact customer service if you believe you "
        "received this message in error.",
    ),
    FaultKind.HTTP_500: _error(
        500, -1000, "An unknown error occurred while processing the request."
    ),
    FaultKind.HTML: _page(502, "502 Bad Gateway"),
    FaultKind.HTML_200: _page(200, "Under maintenance"),
    FaultKind.WAF: _page(403, "403 Forbidden"),
}
