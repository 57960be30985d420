"""`alphamill funnel`: what each tier's calls led to, and what a factor cost."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.controls.luck import luck_funnel
from alphamill.evaluation import GateThresholds
from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.report.caveats import survivors_line
from alphamill.report.terminal.tables import listing
from alphamill.report.values import NOTHING, usd, whole
from alphamill.runs.find import finished_run
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.published import OFFLINE_NOTICE, offline, run_rows
from producers import options

_COUNTS = (
    ("calls answered", "asked"),
    ("candidates", "proposed"),
    ("read as an expression", "parsed"),
    ("  mended by rule", "repaired_free"),
    ("  mended by a paid call", "repaired_paid"),
    ("  from a reply that broke off", "salvaged"),
    ("not read", "unreadable"),
    ("refused by the checks", "unclean"),
    ("proposed before", "duplicate"),
    ("without a figure", "fault"),
    ("evaluated", "evaluated"),
    ("passed validation", "passed_validation"),
    ("admitted", "admitted"),
    ("prompt tokens", "prompt_tokens"),
    ("  from the cache", "cached_tokens"),
    ("completion tokens", "completion_tokens"),
    ("failed attempts", "failed_attempts"),
)
_MONEY = (
    ("cost", "cost_usd_micros"),
    ("possibly billed", "unknown_usd_micros"),
    ("cost of an admitted factor", "cost_per_admitted_usd_micros"),
    ("provider minus ours", "provider_difference_usd_micros"),
)


@click.command()
@click.option("--run", metavar="RUN", help="An id or its unique beginning; default: the newest.")
@click.option("--control", is_flag=True,
              help="Beside it as many random formulas, on the same bars; slow.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the random formulas.")
@options.json_option
@options.exits
def funnel(run: str | None, control: bool, seed: int, as_json: bool) -> None:
    """Show what a mining run's calls led to: tier by tier, to cost and admitted factors.

    --control adds a column `random`: as many trials drawn without an idea, through the same gates,
    in a lake that is dropped. What a model finds more than that, it found.

    \b
    Example:
      alphamill funnel --run mine-1f2e --control
    """
    record = finished_run(options.settings(), run, ("mine",))
    gates = GateThresholds.model_validate(record.spec.get("gates") or {})
    rows = tier_funnels(
        run_rows(record, "trials"),
        run_rows(record, "factors"),
        run_rows(record, "calls"),
        gates.validation_t,
    )
    arm = None
    if control:
        arm = luck_funnel(Lake(record.spec["lake"]), RunSpec.from_message(record.spec), seed)
    if as_json:
        answer = {"run_id": record.id, "offline_proposer": offline(record), "tiers": rows}
        options.print_json(answer | ({"control": arm} if arm else {}))
        return
    rows += [arm] if arm else []
    console = Console()
    console.print(Text(record.id))
    if offline(record):
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    table = listing("", *(f">{row['tier'].partition('_')[0]}" for row in rows))
    for label, name in _COUNTS:
        table.add_row(Text(label), *(Text(whole(row[name])) for row in rows))
    for label, name in _MONEY:
        table.add_row(Text(label), *(Text(_usd(row[name])) for row in rows))
    for name in ("p50", "p99"):
        cells = (Text(whole(row["latency_ms"][name])) for row in rows)
        table.add_row(Text(f"latency {name}, ms"), *cells)
    console.print(table)
    if survivors := survivors_line(record):
        console.print(Text(survivors, style="dim"))


def _usd(micros: Any) -> str:
    return NOTHING if micros is None else usd(micros)
