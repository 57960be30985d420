"""What `doctor` found: one line a check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from alphamill.errors import AlphamillError, Misconfigured


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `cure` says what to do about a warning or a failure."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON values."""
        return asdict(self)


def failed(name: str, error: AlphamillError) -> Check:
    """The finding that an error stands for."""
    if isinstance(error, Misconfigured):
        return Check(name, "fail", error.problem, f"{error.setting}: {error.cure}")
    problem, _, cure = str(error).partition("; ")  # as its message is written
    return Check(name, "fail", problem, cure)
