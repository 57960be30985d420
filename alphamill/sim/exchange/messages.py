"""Requests and replies before they meet a socket: query strings, error bodies, headers.

Sources: the exchange's "Error codes" page; wordings from recorded responses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

SYMBOL = "^[A-Z0-9-_.]{1,20}$"  # the words of its refusal, as recorded; since December 2025 the
# exchange takes names of other scripts too, and how it words the refusal now is not known
NUMBER = "^[0-9]{1,20}$"
_LARGEST = 2**63 - 1

_PATTERNS: Mapping[str, re.Pattern[str]] = {
    SYMBOL: re.compile(r"(?:[A-Z0-9\-_.]|(?![\x00-\x7f])\w){1,20}"),
    NUMBER: re.compile(r"[0-9]{1,20}"),
}


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
class Reply:
    """An HTTP reply."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A refusal with the exchange's own code and words."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(code, message, status)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one parameter may hold. `legal` is SYMBOL, NUMBER or "" (checked by its endpoint)."""

    name: str
    legal: str = ""
    mandatory: bool = False


RANGE_PARAMETERS = (
    Parameter("symbol", SYMBOL, mandatory=True),
    Parameter("startTime", NUMBER),
    Parameter("endTime", NUMBER),
    Parameter("limit", NUMBER),
)


def read_parameters(
    pairs: Sequence[tuple[str, str]], accepted: Collection[Parameter]
) -> dict[str, str]:
    """Checked values by name; raises ApiError with the first fault found."""
    names = [name for name, _ in pairs]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ApiError(-1101, f"Duplicate values for parameter '{repeated[0]}' detected.")
    if not accepted and pairs:
        raise ApiError(-1101, f"Too many parameters; expected '0' and received '{len(pairs)}'.")
    given = dict(pairs)
    values: dict[str, str] = {}
    for parameter in accepted:
        value = given.get(parameter.name)
        if value is not None:
            values[parameter.name] = _checked(parameter, value)
        elif parameter.mandatory:
            message = f"Mandatory parameter '{parameter.name}' was not sent, "
            raise ApiError(-1102, message + "was empty/null, or malformed.")
    if len(values) < len(pairs):
        raise ApiError(
            -1104,
            f"Not all sent parameters were read; read '{len(values)}' parameter(s) "
            f"but was sent '{len(pairs)}'.",
        )
    return values


def _checked(parameter: Parameter, value: str) -> str:
    if not value:
        raise ApiError(-1105, f"Parameter '{parameter.name}' was empty.")
    if parameter.legal and not _PATTERNS[parameter.legal].fullmatch(value):
        raise ApiError(
            -1100,
            f"Illegal characters found in parameter '{parameter.name}'; "
            f"legal range is '{parameter.legal}'.",
        )
    return value


def whole_number(values: Mapping[str, str], name: str) -> int | None:
    """A checked NUMBER as an int, None if absent; raises ApiError past 64 bits."""
    if name not in values:
        return None
    number = int(values[name])
    if number > _LARGEST:
        raise ApiError(
            -1108, f"Parameter '{name}' overflowed. Please provide a value within the valid range."
        )
    return number


def read_limit(values: Mapping[str, str], default: int, most: int, *, caps: bool = True) -> int:
    """How many rows are asked for; more than `most` count as `most`, or without `caps` as a fault.

    Raises ApiError.
    """
    limit = whole_number(values, "limit")
    if limit == 0 or (limit is not None and limit > most and not caps):
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit or default, most)
