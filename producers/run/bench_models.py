"""`alphamill bench models`: what a token and a dollar buy, model by model, on a run's own bars."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from alphamill import controls
from alphamill.errors import Misconfigured
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.llm.prices import PriceTable
from alphamill.report.terminal.own_bars import models_tables
from alphamill.runs.finished import finished_run
from alphamill.runs.published import PublishedRun, asks_offline
from alphamill.settings import ENVIRONMENT, Settings, load_settings
from producers import options
from producers.run.bench_money import (
    Plan,
    budget_a_search,
    budget_option,
    measured_by,
    measured_micros,
    named,
    process_of,
)
from producers.run.bench_options import Repeats, repeats_options
from producers.run.processes import in_processes
from producers.submit.endpoints import check_models


@dataclass(frozen=True, slots=True)
class Configured:
    """A file of settings, and the run's spec with its models in place of the run's."""

    path: str
    settings: Settings
    spec: RunSpec

    @classmethod
    def read(cls, path: Path, run: PublishedRun) -> Configured:
        """Raises Misconfigured for settings that no run could be submitted with."""
        settings = settings_of(str(path))
        spec = replace(run.spec, tiers=dict(settings.llm.tiers), llm_url=settings.llm.url)
        if not asks_offline(spec.to_message()):
            check_models(settings)
        return cls(str(path), settings, spec)

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return Path(self.path).stem

    @property
    def offline(self) -> bool:
        """Whether it names the offline proposer."""
        return asks_offline(self.spec.to_message())

    def again(self, seed: int, budget_usd_micros: int) -> RunSpec:
        """For one seed."""
        budget = 0 if self.offline else budget_usd_micros
        return controls.spec_again(self.spec, f"models {self.name}", seed, budget)

    def kept(self, run: PublishedRun) -> controls.KeptSearches:
        """Of that file's models; what it is called, and may spend, is no matter."""
        spec = controls.spec_again(self.spec, "models", 0, 0 if self.offline else 1)
        plain = replace(spec, budget_usd_micros=0).to_message()
        return controls.KeptSearches.of(run, "models", {"spec": plain})


def settings_of(path: str) -> Settings:
    """Of this process, with that file in place of ALPHAMILL_CONFIG's.

    Raises Misconfigured where a variable would name the same model in place of every file's.
    """
    for variable, where in ENVIRONMENT.items():
        if where[:2] == ("llm", "tiers") and os.environ.get(variable):
            raise Misconfigured(variable, "wins over every --config", "unset it for this command")
    try:
        return load_settings({**os.environ, "ALPHAMILL_CONFIG": path})
    except Misconfigured as error:
        if error.setting != "ALPHAMILL_CONFIG":
            raise
        raise Misconfigured("--config", error.problem, error.cure) from error


@click.command()
@click.option(
    "--config",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A file as ALPHAMILL_CONFIG names; its [llm] is compared. Repeat it.",
)
@click.option("--run", metavar="RUN", help="Whose bars; an id or its beginning; default: newest.")
@repeats_options(3, 1_000, "Searches by each")
@budget_option
@options.json_option
@options.exits
def models(
    paths: tuple[Path, ...],
    run: str | None,
    repeats: Repeats,
    budget_usd: float | None,
    as_json: bool,
) -> None:
    """Price what models find on a run's own bars: a proposed, valid, new, admitted factor.

    Each file's models search the bars of RUN by its prompts, rounds and gates; beside each search
    stands one of as many random formulas. Tokens and dollars are those that were paid. A file that
    names `offline-proposer` costs nothing, others need --budget-usd and Redis.

    \b
    Example:
      alphamill bench models --config small.toml --config large.toml --seeds 5 --budget-usd 4
    """
    settings = options.settings()
    found = finished_run(settings, run, (RunKind.MINE,))
    started_s = time.monotonic()
    compared = [Configured.read(path, found) for path in paths]
    if len({one.name for one in compared}) < len(compared):
        raise click.UsageError("--config: give each file a name of its own; tables are told by it")
    kept = {one.name: one.kept(found) for one in compared}
    known = {name: store.known(repeats.range) for name, store in kept.items()}
    left = {
        name: sorted(set(repeats.range) - {one.seed for one in searches})
        for name, searches in known.items()
    }
    plans = [_plan(one, found, known[one.name], len(left[one.name])) for one in compared]
    each = budget_a_search(plans, budget_usd)
    tasks = [
        _Task(one.path, one.name, kept[one.name].folder, one.again(seed, each))
        for one in compared
        for seed in left[one.name]
    ]
    work = partial(_search, uri=found.lake.uri, run_id=found.id)
    for name, search in in_processes(work, tasks, repeats.jobs, "searches", quiet=as_json):
        known[name].append(search)
    counts = [
        controls.count_models(one.name, named(one.spec.tiers), known[one.name]) for one in compared
    ]
    if as_json:
        searches = [
            {"config": name, **one.to_dict()}
            for name, several in known.items()
            for one in sorted(several, key=lambda one: one.seed)
        ]
        options.print_json(
            {
                "run_id": found.id,
                "models": [count.to_dict() for count in counts],
                "searches": searches,
            }
        )
        return
    click.echo(
        f"{found.id}'s bars, seeds {repeats.first_seed} to {repeats.range.stop - 1} of each; "
        f"{time.monotonic() - started_s:.0f} s\n"
    )
    for table in models_tables(counts):
        Console().print(table)


def _plan(
    one: Configured, run: PublishedRun, known: Sequence[controls.Searched], searches: int
) -> Plan:
    """By what its own searches took, if there are any, else by the run's tokens."""
    models = f"{one.name} ({named(one.spec.tiers)})"
    if one.offline:
        return Plan(models, searches, offline=True)
    if known:
        each = sum(search.cost_usd_micros for search in known) // len(known)
        return Plan(models, searches, each, f"its own {len(known)} before")
    prices = PriceTable.shipped(one.settings.llm.prices)
    each = measured_micros(run.calls, one.spec.tiers, prices)
    return Plan(models, searches, each, f"{measured_by(run)}, of which it may write more")


@dataclass(frozen=True, slots=True)
class _Task:
    path: str
    name: str
    folder: str  # of what is kept
    spec: RunSpec


def _search(task: _Task, uri: str, run_id: str) -> tuple[str, controls.Searched]:
    lake, settings = Lake(uri), settings_of(task.path)
    run = PublishedRun.open(lake, run_id)
    found = controls.search_by_models(run, task.spec, process_of(task.spec, settings))
    controls.KeptSearches(lake, task.folder).keep(found)
    return task.name, found
