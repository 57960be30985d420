"""What a run found, for the terminal: leaderboard, costs, where the files lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from alphamill.ledger import RunRecord
from alphamill.settings import Settings
from producers.connect import connect
from alphamill.usage import UsageCounters
from alphamill.lake import Lake, run_key


def show_results(settings: Settings, run: RunRecord, console: Console) -> None:
    lake = Lake(run.spec["lake"])
    t = lake.read(run_key(run.id, "factors.parquet"))
    for row in t.to_pylist():
        console.print(
            {
                k: row[k]
                for k in (
                    "rank",
                    "verdict",
                    "expression",
                    "direction",
                    "discovery_rank_ic_t",
                    "validation_rank_ic_t",
                    "holdout_rank_ic_t",
                    "validation_net_sharpe",
                    "n_trials",
                    "deflated_sharpe",
                    "bh_p",
                    "reasons",
                )
            },
            markup=False,
        )
    console.print(UsageCounters(connect(settings)).report(run.id), markup=False)


def show_planted(
    settings: Settings, run: RunRecord, planted: Sequence[str], console: Console
) -> None:
    pass
