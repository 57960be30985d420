"""`alphamill bench noise`: a run searched again over its own bars, whose returns are worthless."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import click
from rich.console import Console

from alphamill import controls
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.report.terminal.control_arms import NOISE_ANCHOR, noise_table
from alphamill.report.values import whole
from alphamill.runs.finished import finished_run
from alphamill.runs.published import PublishedRun
from alphamill.settings import Tier
from producers import options
from producers.run.bench_money import (
    Asked,
    budget_a_search,
    budget_option,
    offline_option,
    process_of,
)
from producers.run.processes import in_processes
from producers.run.repeats import Repeats, repeats_options

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
    each = budget_a_search(found, asked, len(left), settings) if left else 0
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


def _kept(run: PublishedRun, arm: str, asked: Asked) -> controls.KeptSearches:
    """Whatever they may spend, searches of equal settings are the same."""
    offline = asked.offline or run.offline
    spec = controls.spec_again(run.spec, arm, 0, 0 if offline else 1)
    return controls.KeptSearches.of(
        run, arm, {"spec": replace(spec, budget_usd_micros=0).to_message()}
    )


def _models(run: PublishedRun, asked: Asked) -> str:
    if asked.offline or run.offline:
        return "the offline proposer"
    return ", ".join(dict.fromkeys(run.spec.tiers[tier].model for tier in Tier))


def _noise(spec: RunSpec, uri: str, run_id: str, folder: str) -> controls.Searched:
    lake, settings = Lake(uri), options.settings()
    run, change = PublishedRun.open(lake, run_id), controls.worthless(controls.seed_of(spec))
    found = controls.search_again(run, spec, change, process_of(spec, settings))
    controls.KeptSearches(lake, folder).keep(found)
    return found
