"""`alphamill funnel`: what each tier's calls led to, and what a factor cost."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.console import Console
from rich.text import Text

from alphamill import controls
from alphamill.jobs import RunKind
from alphamill.report.caveats import survivors_line
from alphamill.report.terminal.funnel import funnel_table
from alphamill.runs.finished import finished_run
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.published import OFFLINE_NOTICE
from producers import options
from producers.read.named import one_run, run_argument


@click.command()
@run_argument
@click.option(
    "--control", is_flag=True, help="Beside it as many random formulas, on the same bars; slow."
)
@click.option("--seed", default=0, show_default=True, help="Of the random formulas.")
@options.json_option
@options.exits
def funnel(word: str | None, run: str | None, control: bool, seed: int, as_json: bool) -> None:
    """Show what a mining run's calls led to: tier by tier, to cost and admitted factors.

    RUN is an id or its unique beginning; default: the newest.

    --control adds a column `random`: as many trials drawn without an idea, through the same gates,
    in a lake that is dropped. What a model finds more than that, it found.

    \b
    Example:
      alphamill funnel mine-1f2e --control
    """
    found = finished_run(options.settings(), one_run(word, run), (RunKind.MINE,))
    tiers = tier_funnels(found.trials, found.factors, found.calls, found.spec.gates.validation_t)
    luck = [controls.luck_funnel(found.lake, found.spec, seed)] if control else []
    if as_json:
        answer = {
            "run_id": found.id,
            "offline_proposer": found.offline,
            "tiers": [asdict(tier) for tier in tiers],
        }
        options.print_json(answer | ({"control": asdict(luck[0])} if luck else {}))
        return
    console = Console()
    console.print(Text(found.id))
    if found.offline:
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    console.print(funnel_table([*tiers, *luck]))
    if survivors := survivors_line(found):
        console.print(Text(survivors, style="dim"))
