"""`alphamill bench noise|power`: a run searched again over its own bars, with other signs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import click
from rich.console import Console

from alphamill import controls
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.report.terminal.own_bars import NOISE_ANCHOR, noise_table, power_table
from alphamill.report.values import whole
from alphamill.runs.finished import finished_run
from alphamill.runs.published import PublishedRun
from alphamill.sim.market import FORMULAS, PlantedFactor
from producers import options
from producers.run.bench_money import (
    Asked,
    budget_a_search,
    budget_option,
    named,
    offline_option,
    plan_of,
    process_of,
)
from producers.run.bench_options import Repeats, Strengths, repeats_options
from producers.run.processes import in_processes

run_option = click.option(
    "--run", metavar="RUN", help="An id or its unique beginning; default: the newest."
)
asked_options = options.gathered("asked", Asked, offline_option, budget_option)


@click.command()
@run_option
@repeats_options(20, 10_000, "Searches")
@asked_options
@options.json_option
@options.exits
def noise(run: str | None, repeats: Repeats, asked: Asked, as_json: bool) -> None:
    """Search a run's own bars with worthless returns; count the searches that claim anything.

    The run's models, prompts, settings and gates over its own bars, with the sign of every bar's
    returns drawn by a fair coin, one for all coins: clusters of volatility, fat tails, correlations
    and volumes stay, and nothing predicts anything. A search claims something if it admits a
    factor. Each seed has signs of its own; those that were searched before are read from the lake.

    \b
    Example:
      alphamill bench noise --run mine-1f2e --seeds 200
    """
    settings = options.settings()
    found = finished_run(settings, run, (RunKind.MINE,))
    started_s = time.monotonic()
    kept = _kept(found, "noise", asked)
    known = kept.known(repeats.range)
    left = sorted(set(repeats.range) - {one.seed for one in known})
    each = budget_a_search([plan_of(found, asked, len(left), settings)], asked.budget_usd)
    specs = [controls.spec_again(found.spec, "noise", seed, each) for seed in left]
    work = partial(_noise, uri=found.lake.uri, run_id=found.id, folder=kept.folder)
    made = in_processes(work, specs, repeats.jobs, "searches", quiet=as_json)
    searches = sorted([*known, *made], key=lambda one: one.seed)
    count = controls.count_noise(searches)
    if as_json:
        told = {"run_id": found.id, "anchor": NOISE_ANCHOR, **count.to_dict()}
        options.print_json(told | {"searches": [one.to_dict() for one in searches]})
        return
    again = f", {whole(len(known))} of them searched before" if known else ""
    click.echo(
        f"{whole(len(searches))} searches of {found.id}'s bars with worthless returns, seeds "
        f"{repeats.first_seed} to {repeats.range.stop - 1}{again}; proposed by "
        f"{_models(found, asked)}; {time.monotonic() - started_s:.0f} s\n"
    )
    Console().print(noise_table(count))


@dataclass(frozen=True, slots=True)
class Planting:
    """A formula to plant, and at which ICs."""

    expression: str
    ics: tuple[float, ...]


@click.command()
@run_option
@options.gathered(
    "planting",
    Planting,
    click.option(
        "--formula",
        "expression",
        type=click.Choice(list(FORMULAS)),
        default=next(iter(FORMULAS)),
        show_default=True,
        help="What is planted.",
    ),
    click.option(
        "--ic",
        "ics",
        type=Strengths(),
        default="0.01,0.02,0.03",
        show_default=True,
        help="Mean RankICs to plant it at, of the run's horizon.",
    ),
)
@repeats_options(10, 1_000, "Searches of each IC")
@asked_options
@options.json_option
@options.exits
def power(
    run: str | None, planting: Planting, repeats: Repeats, asked: Asked, as_json: bool
) -> None:
    """Plant a known factor into a run's own bars; count the searches that find it.

    As `bench noise`, but the coin that gives each bar's returns their sign leans: the coming
    returns are ordered more often as the formula orders the coins. Sizes of returns, correlations
    and volumes stay as recorded at any strength. A factor that is admitted stands for the formula
    if their rank correlation is at least 0.7. Of several intervals the run's first is taken.

    \b
    Example:
      alphamill bench power --run mine-1f2e --ic 0.02,0.03 --seeds 20
    """
    if not min(planting.ics) > 0:
        raise click.UsageError("--ic must be above 0: without anything planted it is bench noise")
    settings = options.settings()
    found = finished_run(settings, run, (RunKind.MINE,))
    started_s = time.monotonic()
    first = replace(found.spec, intervals=found.spec.intervals[:1])
    stores = {
        ic: _kept(found, "power", asked, {"formula": planting.expression, "ic": ic})
        for ic in planting.ics
    }
    known = {ic: kept.known(repeats.range) for ic, kept in stores.items()}
    left = [
        (ic, seed)
        for ic in planting.ics
        for seed in repeats.range
        if seed not in {one.seed for one in known[ic]}
    ]
    if left:
        each = budget_a_search([plan_of(found, asked, len(left), settings)], asked.budget_usd)
        strengths = controls.strengths_in(found, planting.expression, planting.ics)
        strength = dict(zip(planting.ics, strengths, strict=True))
    tasks = [
        _Planted(
            controls.spec_again(first, f"power {ic:g}", seed, each),
            PlantedFactor(planting.expression, ic, first.segments.horizon_bars),
            strength[ic],
            stores[ic].folder,
        )
        for ic, seed in left
    ]
    work = partial(_power, uri=found.lake.uri, run_id=found.id)
    for ic, one in in_processes(work, tasks, repeats.jobs, "searches", quiet=as_json):
        known[ic].append(one)
    every = {ic: sorted(searches, key=lambda one: one.seed) for ic, searches in known.items()}
    counts = [controls.count_power(ic, searches) for ic, searches in every.items()]
    if as_json:
        told = {"run_id": found.id, "formula": planting.expression}
        searches = [
            {"target_ic": ic, **one.to_dict()} for ic, several in every.items() for one in several
        ]
        options.print_json(
            told | {"power": [one.to_dict() for one in counts], "searches": searches}
        )
        return
    click.echo(
        f"{planting.expression} planted in {found.id}'s {first.intervals[0]} bars, seeds "
        f"{repeats.first_seed} to {repeats.range.stop - 1} of each IC; proposed by "
        f"{_models(found, asked)}; {time.monotonic() - started_s:.0f} s\n"
    )
    Console().print(power_table(counts))


@dataclass(frozen=True, slots=True)
class _Planted:
    spec: RunSpec
    planted: PlantedFactor
    strength: float
    folder: str  # of what is kept


def _power(task: _Planted, uri: str, run_id: str) -> tuple[float, controls.Searched]:
    lake, settings = Lake(uri), options.settings()
    run, process = PublishedRun.open(lake, run_id), process_of(task.spec, settings)
    found = controls.search_leaning(run, task.spec, task.planted, task.strength, process)
    controls.KeptSearches(lake, task.folder).keep(found)
    return task.planted.target_ic, found


def _kept(
    run: PublishedRun, arm: str, asked: Asked, more: Mapping[str, Any] | None = None
) -> controls.KeptSearches:
    """Whatever they may spend, searches of equal settings are the same."""
    offline = asked.offline or run.offline
    spec = replace(controls.spec_again(run.spec, arm, 0, 0 if offline else 1), budget_usd_micros=0)
    return controls.KeptSearches.of(run, arm, {"spec": spec.to_message(), **(more or {})})


def _models(run: PublishedRun, asked: Asked) -> str:
    offline = asked.offline or run.offline
    return "the offline proposer" if offline else named(run.spec.tiers)


def _noise(spec: RunSpec, uri: str, run_id: str, folder: str) -> controls.Searched:
    lake, settings = Lake(uri), options.settings()
    run, change = PublishedRun.open(lake, run_id), controls.worthless(controls.seed_of(spec))
    found = controls.search_again(run, spec, change, process_of(spec, settings))
    controls.KeptSearches(lake, folder).keep(found)
    return found
