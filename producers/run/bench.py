"""`alphamill bench`: the control arms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import click
from rich.console import Console

from alphamill import controls
from alphamill.frames import Interval
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.report.terminal.control_arms import DEMANDS, calibration_table, random_table
from alphamill.runs.finished import finished_run
from alphamill.settings import SegmentSettings
from alphamill.sim.market import FORMULAS, PlantedFactor
from producers import options
from producers.run.bench_models import models
from producers.run.bench_options import Repeats, Strengths, repeats_options, whole
from producers.run.bench_own_bars import noise, power
from producers.run.processes import in_processes


@click.group()
def bench() -> None:
    """Control arms: what the mill says where the truth is known, or where there is only luck."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Markets whose truth is known. strengths: ICs to plant at, 0 for pure noise."""

    strengths: tuple[float, ...]
    formulas: int
    symbols: int
    bars: int
    horizon: int  # bars

    def markets(self, seeds: range, apart: bool = False) -> list[controls.ControlMarket]:
        """One of each strength and seed, with all formulas; apart: one of each formula too."""
        return [
            controls.ControlMarket(seed, self.symbols, self.bars, planted)
            for seed in seeds
            for ic in self.strengths
            for planted in self._planted(ic, apart)
        ]

    def _planted(self, ic: float, apart: bool) -> list[tuple[PlantedFactor, ...]]:
        texts = list(FORMULAS)[: self.formulas] if ic else []
        together = tuple(PlantedFactor(text, ic, self.horizon) for text in texts)
        return [(one,) for one in together] if apart and ic else [together]


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard each market is searched."""

    rounds: int
    candidates: int


truth_options = options.gathered(
    "truth",
    Truth,
    click.option(
        "--ic",
        "strengths",
        type=Strengths(),
        default="0,0.03,0.065",
        show_default=True,
        help="Strengths to plant at; 0: pure noise.",
    ),
    whole("--formulas", 2, 1, len(FORMULAS), "Formulas in one market, all of that strength."),
    whole("--symbols", 20, 3, 200),
    whole("--bars", 3000, 600, 100_000),
    whole(
        "--horizon",
        1,
        1,
        48,
        "Bars that a planted formula predicts, and that factors are judged at.",
    ),
)
effort_options = options.gathered(
    "effort",
    Effort,
    whole("--rounds", 1, 1, 20),
    whole(
        "--candidates",
        4,
        1,
        40,
        "Asked for in one call; there is a call a symbol and one more, each round.",
    ),
)


@bench.command()
@repeats_options(8, 10_000, "Markets of each strength")
@truth_options
@effort_options
@click.option(
    "--direct",
    is_flag=True,
    help="Mine nothing: each formula in a market of its own, judged as the only trial.",
)
@options.json_option
@options.exits
def planted(truth: Truth, effort: Effort, repeats: Repeats, direct: bool, as_json: bool) -> None:
    """Mine synthetic markets whose truth is known; count what is found, and what is not there.

    Each market has a common factor, clustered volatility, fat tails, outages, a late listing and
    a collapse with delisting. The whole pipeline runs in this process with the offline proposer,
    which is not told what was planted; decoys are slipped into its first reply. Beside what is
    measured stands what is asked of alphamill; docs/verdicts.md has the figures and commands.

    \b
    Example:
      alphamill bench planted
      alphamill bench planted --ic 0 --seeds 200 --symbols 12 --bars 1500 --horizon 4
                                                    (false alarms on noise)
      alphamill bench planted --direct --ic 0.03 --formulas 3 --symbols 30 --bars 8000
                                                    (power of the gates, without a search)
    """
    segments = SegmentSettings(horizon_bars=truth.horizon)
    search = controls.Search(effort.rounds, effort.candidates, segments=segments)
    started_s = time.monotonic()
    count = _judge_all if direct else _mine_all
    markets = truth.markets(repeats.range, apart=direct)
    found, told = count(markets, search, repeats, as_json)
    if as_json:
        options.print_json(found.to_dict() | {"asked": DEMANDS, "markets": told})
        return
    what = f"markets mined, {found.trials:,} trials"
    if direct:
        what = "planted formulas, each judged as the only trial of a market of its own"
    click.echo(
        f"{len(markets)} {what}: {truth.symbols} symbols x {truth.bars:,} bars, "
        f"horizon {truth.horizon}, seeds {repeats.first_seed} to "
        f"{repeats.range.stop - 1}; {time.monotonic() - started_s:.0f} s\n"
    )
    Console().print(calibration_table(found, truth.symbols, truth.bars))


def _judge_all(
    markets: Sequence[controls.ControlMarket],
    search: controls.Search,
    repeats: Repeats,
    quiet: bool,
) -> tuple[controls.Calibration, list[dict[str, Any]]]:
    """Without mining; what is told of each market is its verdict."""
    if not all(market.planted for market in markets):
        raise click.UsageError("--direct judges what is planted: give each --ic above 0")
    judge = partial(_judged, search=search)
    judged = list(in_processes(judge, markets, repeats.jobs, "markets judged", quiet=quiet))
    judged.sort(key=lambda one: (one[0], one[1].target_ic, one[1].expression))
    found = controls.calibrate((), alone=[alone for _, alone in judged])
    return found, [{"seed": seed} | asdict(alone) for seed, alone in judged]


def _judged(market: controls.ControlMarket, search: controls.Search) -> tuple[int, controls.Alone]:
    (alone,) = controls.judge_planted(market, search)
    return market.seed, alone


def _mine_all(
    markets: Sequence[controls.ControlMarket],
    search: controls.Search,
    repeats: Repeats,
    quiet: bool,
) -> tuple[controls.Calibration, list[dict[str, Any]]]:
    """Mined, and a survivorship trap of each seed sprung."""
    mine = partial(controls.mine_market, search=search)
    outcomes = list(in_processes(mine, markets, repeats.jobs, "markets mined", quiet=quiet))
    outcomes.sort(key=lambda one: (one.market.seed, len(one.market.planted)))
    traps = list(
        in_processes(controls.spring, repeats.range, repeats.jobs, "traps sprung", quiet=quiet)
    )
    return controls.calibrate(outcomes, traps), [one.to_dict() for one in outcomes]


@bench.command()
@click.option("--run", metavar="RUN", help="An id or its unique beginning; default: the newest.")
@repeats_options(1, 100, "Random searches beside the run")
@options.json_option
@options.exits
def random(run: str | None, repeats: Repeats, as_json: bool) -> None:
    """Mine a run's own bars with as many random formulas: what luck alone would have found.

    The run's panel, gates and number of trials; formulas drawn from the operators without an idea.
    In a lake that is dropped: no look at the run's holdout is added.

    \b
    Example:
      alphamill bench random --run mine-1f2e --seeds 4
    """
    found = finished_run(options.settings(), run, (RunKind.MINE,))
    tasks = [(interval, seed) for interval in found.spec.intervals for seed in repeats.range]
    work = partial(_lucky, uri=found.lake.uri, spec=found.spec)
    results = list(in_processes(work, tasks, repeats.jobs, "random searches", quiet=as_json))
    results.sort(key=lambda one: (one[0], one[1]))
    own = [controls.arm_of_run(found.lake, found.id, interval) for interval in found.spec.intervals]
    if as_json:
        arms = [{"seed": seed, **arm.to_dict()} for _, seed, arm in results]
        options.print_json(
            {"run_id": found.id, "run": [arm.to_dict() for arm in own], "random": arms}
        )
        return
    rows = [(found.id, arm) for arm in own]
    rows += [(f"random, seed {seed}", arm) for _, seed, arm in results]
    Console().print(random_table(rows))


def _lucky(task: tuple[Interval, int], uri: str, spec: RunSpec) -> tuple[str, int, controls.Arm]:
    interval, seed = task
    return interval.value, seed, controls.mine_luck(Lake(uri), spec, interval, seed)


bench.add_command(noise)
bench.add_command(power)
bench.add_command(models)
