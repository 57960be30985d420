"""`alphamill bench planted|random`: the control arms."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphamill.controls.calibration import Calibration, calibrate
from alphamill.controls.luck import Arm, arm_of_run, mine_luck
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import FALSE_BELOW, KEEPS, MEETS, Outcome, Search, mine_market
from alphamill.controls.survivors import spring
from alphamill.frames import Interval
from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.report.values import number, percent, plain, whole
from alphamill.settings import SegmentSettings
from alphamill.sim.planted import FORMULAS, PlantedFactor
from producers import options
from producers.options import Function
from producers.processes import in_processes
from producers.results import finished_run
from workers import flows

_MAX_JOBS = 32
_KS_LEVEL = 0.01
_NOISE_LEVEL = 0.05


class Strengths(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """ICs separated by commas; 0 is pure noise."""

    name = "IC,IC,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(dict.fromkeys(float(text) for text in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not numbers separated by commas: 0,0.03,0.06", param, ctx)
        if not all(0 <= ic < 0.3 for ic in found):
            self.fail("each must be at least 0 and below 0.3", param, ctx)
        return found


@click.group()
def bench() -> None:
    """Control arms: what the mill says where the truth is known, or where there is only luck."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Markets whose truth is known. strengths: ICs to plant at, 0 for pure noise."""

    strengths: tuple[float, ...]
    formulas: int
    n_symbols: int
    n_bars: int
    horizon_bars: int

    def markets(self, seeds: range) -> list[ControlMarket]:
        """One of each strength and seed."""
        return [
            ControlMarket(seed, self.n_symbols, self.n_bars, self._planted(ic))
            for seed in seeds
            for ic in self.strengths
        ]

    def _planted(self, ic: float) -> tuple[PlantedFactor, ...]:
        texts = list(FORMULAS)[: self.formulas] if ic else []
        return tuple(PlantedFactor(text, ic, self.horizon_bars) for text in texts)


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard each market is searched."""

    rounds: int
    candidates: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often, and on how many cores."""

    seeds: int
    first_seed: int
    jobs: int

    @property
    def range(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


truth_options = options.gathered(
    "truth",
    Truth,
    click.option("--ic", "strengths", type=Strengths(), default="0,0.03,0.065", show_default=True,
                 help="Strengths to plant at; 0: pure noise."),
    click.option("--formulas", default=2, show_default=True,
                 type=click.IntRange(1, len(FORMULAS)),
                 help="Formulas in one market, all of that strength."),
    click.option("--symbols", "n_symbols", default=20, show_default=True,
                 type=click.IntRange(3, 200)),
    click.option("--bars", "n_bars", default=3000, show_default=True,
                 type=click.IntRange(600, 100_000)),
    click.option("--horizon", "horizon_bars", default=1, show_default=True,
                 type=click.IntRange(1, 48),
                 help="Bars that a planted formula predicts, and that factors are judged at."),
)  # fmt: skip
effort_options = options.gathered(
    "effort",
    Effort,
    click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 20)),
    click.option("--candidates", default=4, show_default=True, type=click.IntRange(1, 40),
                 help="Asked for in one call; there is a call a symbol and one more, each round."),
)  # fmt: skip


def repeats_options(seeds: int, most: int, of: str) -> Callable[[Function], Function]:
    """How many seeds by default and at most; `of`: what one seed makes."""
    return options.gathered(
        "repeats",
        Repeats,
        click.option("--seeds", default=seeds, show_default=True, type=click.IntRange(1, most),
                     help=f"{of}."),
        click.option("--seed", "first_seed", default=0, show_default=True, help="The first."),
        click.option("--jobs", default=min(os.cpu_count() or 1, 8),
                     show_default="the machine's cores", type=click.IntRange(1, _MAX_JOBS),
                     help="Processes."),
    )  # fmt: skip


@bench.command()
@repeats_options(8, 10_000, "Markets of each strength")
@truth_options
@effort_options
@options.json_option
@options.exits
def planted(truth: Truth, effort: Effort, repeats: Repeats, as_json: bool) -> None:
    """Mine synthetic markets whose truth is known; count what is found, and what is not there.

    Each market has a common factor, clustered volatility, fat tails, outages, a late listing and
    a collapse with delisting. The whole pipeline runs in this process with the offline proposer,
    which is not told what was planted; decoys are slipped into its first reply.

    \b
    Example:
      alphamill bench planted
      alphamill bench planted --ic 0 --seeds 200 --bars 1500      (false alarms on noise)
    """
    markets = truth.markets(repeats.range)
    segments = SegmentSettings(horizon_bars=truth.horizon_bars)
    search = Search(effort.rounds, effort.candidates, segments=segments)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alphamill-bench-") as scratch:
        mine = partial(_mined, search=search, scratch=scratch)
        outcomes = list(in_processes(mine, markets, repeats.jobs, "markets mined", quiet=as_json))
    traps = list(in_processes(spring, repeats.range, repeats.jobs, "traps sprung", quiet=as_json))
    found = calibrate(outcomes, traps)
    if as_json:
        outcomes.sort(key=lambda one: (one.market.seed, len(one.market.planted)))
        options.print_json(found.to_dict() | {"markets": [one.to_dict() for one in outcomes]})
        return
    console = Console()
    console.print(_planted_table(found))
    click.echo(f"{len(markets)} markets, {found.trials} trials, "
               f"{time.monotonic() - started_s:.0f} s")  # fmt: skip


def _mined(market: ControlMarket, search: Search, scratch: str) -> Outcome:
    return mine_market(market, search, flows.plan, scratch)


def _planted_table(found: Calibration) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="fold")

    def say(what: str, value: str, note: str = "", good: bool | None = None) -> None:
        style = "" if good is None else "green" if good else "bold red"
        table.add_row(Text(what), Text(value, style=style), Text(note))

    if found.noise_markets:
        say("noise markets with a false claim", f"{found.noise_called} of {found.noise_markets}",
            f"anything called predictive; true share below {percent(found.noise_called_upper_frac)}"
            " (95 %)", found.noise_called <= _NOISE_LEVEL * found.noise_markets)  # fmt: skip
        say("p-values uniform on noise", number(found.ks_p, 3),
            "p of Kolmogorov and Smirnov, one p-value a market; below 0.01 they are not",
            found.ks_p >= _KS_LEVEL if found.ks_p == found.ks_p else None)  # fmt: skip
    if found.planted_markets:
        say("factors called predictive", whole(found.called),
            f"in {found.planted_markets} markets with something planted")  # fmt: skip
        say("of them false", percent(found.false_discovery_rate),
            f"rank correlation below {FALSE_BELOW} with everything planted")  # fmt: skip
    for power in found.power:
        say(f"planted at IC {power.target_ic:g}: found", f"{power.found} of {power.planted}",
            f"a factor called predictive correlates at least {KEEPS}")  # fmt: skip
        say("  of those that a trial met", f"{power.kept} of {power.met}",
            f"a trial correlates at least {MEETS}: the search did its part")  # fmt: skip
    say("decoys let through", f"{found.decoys_through} of {found.decoys}",
        "look-ahead and scale artefacts that were measured as factors",
        found.decoys_through == 0)  # fmt: skip
    say("survivorship traps seen through", f"{found.traps_seen_through} of {found.traps}",
        "buying what has fallen is rejected where the delisted coins are in; of survivors alone it "
        f"is called predictive in {found.traps_baited} of {found.traps}",
        found.traps_seen_through == found.traps)  # fmt: skip
    return table


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
    record = finished_run(options.settings(), run, ("mine",))
    spec = RunSpec.from_message(record.spec)
    lake = Lake(spec.lake)
    tasks = [(interval, seed) for interval in spec.intervals for seed in repeats.range]
    work = partial(_lucky, spec=spec)
    results = list(in_processes(work, tasks, repeats.jobs, "random searches", quiet=as_json))
    results.sort(key=lambda one: (one[0], one[1]))
    own = [arm_of_run(lake, record.id, interval) for interval in spec.intervals]
    if as_json:
        arms = [{"seed": seed, **arm.to_dict()} for _, seed, arm in results]
        options.print_json(
            {"run_id": record.id, "run": [arm.to_dict() for arm in own], "random": arms}
        )
        return
    rows = [(record.id, arm) for arm in own]
    rows += [(f"random, seed {seed}", arm) for _, seed, arm in results]
    Console().print(_random_table(rows))


def _lucky(task: tuple[Interval, int], spec: RunSpec) -> tuple[str, int, Arm]:
    interval, seed = task
    return interval.value, seed, mine_luck(Lake(spec.lake), spec, interval, seed)


def _random_table(rows: Sequence[tuple[str, Arm]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("search", overflow="fold")
    for name in ("bar", "trials", "|t| disc", "best t val", "finalists", "predictive", "tradable"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in rows:
        table.add_row(
            *map(Text, (plain(name, 60), arm.interval, whole(arm.trials),
                        number(arm.median_abs_t, 2), number(arm.best_validation_t, 2, signed=True),
                        whole(arm.finalists), whole(arm.predictive), whole(arm.tradable)))
        )  # fmt: skip
    return table
