"""What may enter a ledger: names, JSON of bounded size, reasons, budgets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from alphamill.ledger.protocol import RESULT_LIMIT_BYTES, UNFUNDED, JobSpec
from alphamill.ledger.raises import BUDGETS

REASON_LIMIT_CHARS = 2_000

_NAME = re.compile(r"[\w.:/@=+-]{1,200}", re.ASCII)


def check_name(name: str, what: str) -> str:
    """`name`; ValueError unless it can be part of a key and of a line of names."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{what} {name!r} is not 1 to 200 letters, digits or any of _.:/@=+-")
    return name


def check_run(run_id: str, priority: int) -> None:
    """ValueError unless these may open a run."""
    check_name(run_id, "run id")
    if not 0 <= priority <= 9:
        raise ValueError(f"priority {priority} is not 0 to 9")


def to_json(value: Mapping[str, Any], what: str) -> str:
    """Compact JSON; ValueError past RESULT_LIMIT_BYTES or for NaN, TypeError if not JSON."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if len(text) > RESULT_LIMIT_BYTES:  # ASCII: a character is a byte
        raise ValueError(
            f"{what} is {len(text)} bytes of JSON; the limit is {RESULT_LIMIT_BYTES}: "
            "put the data into the lake and its key here"
        )
    return text


def checked(job: JobSpec) -> JobSpec:
    """`job`; ValueError for a bad name. Dependencies are checked by looking them up."""
    check_name(job.id, "job id")
    check_name(job.stage, "stage")
    check_name(job.queue, "queue")
    return job


def dependencies(job: JobSpec) -> tuple[list[str], list[str]]:
    """`needs` and `after` without repetitions; what is in both is in `needs`."""
    needs = list(dict.fromkeys(job.needs))
    return needs, [other for other in dict.fromkeys(job.after) if other not in set(needs)]


def clip(text: str) -> str:
    """Free text of bounded length that can be written as UTF-8; lone surrogates become "?"."""
    return text[:REASON_LIMIT_CHARS].encode(errors="replace").decode()


def unfunded(result: Mapping[str, Any]) -> str:
    """The budget that a result says kept its job from asking; "" for none."""
    short_of = result.get(UNFUNDED)
    return short_of if short_of in BUDGETS else ""


def not_higher(run_id: str, usd_micros: int, current_usd_micros: int) -> str:
    """Why a budget is refused."""
    wanted, has = (f"${micros / 1e6:.6f}" for micros in (usd_micros, current_usd_micros))
    return f"{run_id} may spend {has} already; {wanted} is not more"
