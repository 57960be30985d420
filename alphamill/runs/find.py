"""Which run of the ledger is meant: by its id, the beginning of it, or as the newest."""

from __future__ import annotations

from collections.abc import Sequence

from alphamill.errors import GiveUp
from alphamill.jobs import RunKind
from alphamill.ledger import Ledger, RunRecord


def find_run(ledger: Ledger, text: str | None, kinds: Sequence[RunKind] = ()) -> RunRecord:
    """The run with this id or unique beginning; None: the newest (of those kinds).

    Raises GiveUp, naming what there is.
    """
    runs = [run for run in ledger.runs() if not kinds or run.kind in kinds]
    if text is None:
        if not runs:
            raise GiveUp("no run yet; submit one with: alphamill mine --help")
        return max(runs, key=lambda run: run.created_ms)
    fitting = [run for run in runs if run.id.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    raise GiveUp(
        f"{text!r} fits {len(fitting)} runs; name one of: "
        + (", ".join(run.id for run in (fitting or runs)[:8]) or "(there is none yet)")
    )
