"""What all parity checks of a live came to so far: `lives/ID.parity` in the lake."""

from __future__ import annotations

import json
from typing import Any

from alphamill.errors import GiveUp
from alphamill.lake import Lake
from alphamill.live.condition import ParityResult


def summary_key(live: str) -> str:
    """Where it is."""
    return f"lives/{live}.parity"


def read_summary(lake: Lake, live: str) -> dict[str, Any] | None:
    """Its JSON; None before the first check. GiveUp for a damaged file."""
    key = summary_key(live)
    try:
        found: dict[str, Any] = json.loads(lake.read_bytes(key))
        _ = found["counts"], found["rows"], found["next_seq"], found["at_ms"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise GiveUp(f"{key!r} is damaged: {error}; delete it to check all rows again") from error
    return found


def newest_result(lake: Lake, live: str) -> ParityResult | None:
    """As people see it."""
    found = read_summary(lake, live)
    if found is None:
        return None
    counts = {name: int(count) for name, count in found["counts"].items()}
    return ParityResult(int(found["at_ms"]), int(found["rows"]), counts)
