"""What a client may say on a websocket of streams, and the replies.

Sources: "Live Subscribing/Unsubscribing to streams" of Spot, and the error replies that ccxt reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_ID_LENGTH = 36


class BadCommand(Exception):
    """A message that is refused; the arguments are the exchange's code and words."""


TOO_MANY_STREAMS = 4  # the code after which the connection is closed


@dataclass(slots=True)
class Subscriptions:
    """What one connection wants. combined: events are wrapped with their stream's name."""

    most: int
    combined: bool
    names: dict[str, None] = field(default_factory=dict)

    def reply_to(self, text: str | bytes) -> dict[str, Any]:
        """Do what the message says; the reply to send."""
        ident: Any = None
        try:
            message = _message(text)
            ident = message.get("id")
            if not _is_id(ident):
                ident = None
                raise BadCommand(2, "Invalid request: request ID must be an unsigned integer")
            method = message.get("method")
            if method is None:
                raise BadCommand(2, "Invalid request: missing field `method`")
            if not isinstance(method, str) or method not in _METHODS:
                known = ", ".join(f"`{name}`" for name in _METHODS)
                raise BadCommand(
                    2, f"Invalid request: unknown variant {method}, expected one of {known}"
                )
            return {"result": _METHODS[method](self, message.get("params", [])), "id": ident}
        except BadCommand as error:
            code, words = error.args
            return {"error": {"code": code, "msg": words}, "id": ident}

    def add(self, names: list[str]) -> None:
        """Subscribe to more; BadCommand if these are too many."""
        if len(self.names.keys() | set(names)) > self.most:
            raise BadCommand(TOO_MANY_STREAMS, "Too many subscriptions")
        self.names.update(dict.fromkeys(names))


def _message(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise BadCommand(3, f"Invalid JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadCommand(2, "Invalid request: not an object")
    return message


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _ID_LENGTH
    number = isinstance(value, int) and not isinstance(value, bool)
    return value is None or (number and -(2**63) <= value < 2**63)  # type: ignore[operator]


def _streams(params: object) -> list[str]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise BadCommand(2, "Invalid request: stream names must be strings")
    if any("@" not in name for name in params):
        raise BadCommand(2, "Invalid request: invalid stream")
    return params


def _subscribe(at: Subscriptions, params: object) -> None:
    at.add(_streams(params))


def _unsubscribe(at: Subscriptions, params: object) -> None:
    for name in _streams(params):
        at.names.pop(name, None)


def _list(at: Subscriptions, _params: object) -> list[str]:
    return list(at.names)


def _set_property(at: Subscriptions, params: object) -> None:
    if not isinstance(params, list) or len(params) != 2 or params[0] != "combined":
        raise BadCommand(0, "Unknown property")
    if not isinstance(params[1], bool):
        raise BadCommand(1, "Invalid value type: expected Boolean")
    at.combined = params[1]


def _get_property(at: Subscriptions, params: object) -> bool:
    if params != ["combined"]:
        raise BadCommand(0, "Unknown property")
    return at.combined


_METHODS: Mapping[str, Callable[[Subscriptions, object], Any]] = {
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "LIST_SUBSCRIPTIONS": _list,
    "SET_PROPERTY": _set_property,
    "GET_PROPERTY": _get_property,
}
