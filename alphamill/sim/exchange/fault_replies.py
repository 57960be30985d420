"""Replies made wrong: the pages and bodies of the simulated exchange's faults.

Sources: recorded responses of the exchange (451, 500), its gateway and its firewall.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from alphamill.sim.exchange.faults import ROW_FAULTS, FaultKind
from alphamill.sim.exchange.reply import HTML, JSON, Answer

_CLOSE = 4  # place of the close in a row
_NULL_EVERY = 7  # rows


def spoiled(kind: FaultKind, answer: Answer, skew_ms: int) -> Answer:
    """`answer` with the fault in its body; as it is if the fault has nothing to work on.

    skew_ms: how far a `clock` fault moves serverTime.
    """
    if kind in _PAGES:
        page = _PAGES[kind]
        kept = answer.headers if kind is FaultKind.HTTP_500 else {}
        return Answer(page.status, page.body, {**kept, **page.headers})
    if answer.status != 200:
        return answer
    if kind is FaultKind.CUT_JSON:
        return Answer(200, answer.body[: len(answer.body) // 2], answer.headers)
    if kind is FaultKind.CLOCK:
        return _edited(answer, lambda told: _moved(told, skew_ms))
    return _edited(answer, _ROWS[kind]) if kind in ROW_FAULTS else answer


def _edited(answer: Answer, edit: Callable[[Any], Any]) -> Answer:
    body = json.dumps(edit(json.loads(answer.body)), separators=(",", ":")).encode()
    return Answer(answer.status, body, answer.headers)


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


def _page(status: int, title: str) -> Answer:
    body = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center>"
    return Answer(status, f"{body}</body></html>".encode(), HTML)


def _error(status: int, code: int, message: str) -> Answer:
    body = json.dumps({"code": code, "msg": message}, separators=(",", ":"))
    return Answer(status, body.encode(), JSON)


_PAGES: Mapping[FaultKind, Answer] = {
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
