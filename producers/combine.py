"""Enqueue the combination of a run's factors to one signal; no model is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from alphamill.combination.combiner import METHODS, Combiner, parse_combiner
from alphamill.errors import FactorError, GiveUp
from alphamill.frames import Interval
from alphamill.jobs import Combination, RunKind, RunSpec
from alphamill.language import read_given
from alphamill.report.values import counted
from producers import options, submit

if TYPE_CHECKING:
    from alphamill.lake import Lake
    from alphamill.runs.published import PublishedRun
    from alphamill.runs.rows import JudgedFactor

_UNITS_MS = {"h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_BETWEEN = re.compile(r",(?![^(]*\))")  # commas outside of brackets


class Span(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """A length of time such as 30d, as milliseconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SPAN.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no length of time; write 12h, 30d or 4w", param, ctx)
        return int(found[1]) * _UNITS_MS[found[2]]


class Combiners(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """Ways to combine, separated by commas; parameters in brackets."""

    name = "method"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Combiner, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = [parse_combiner(text) for text in _BETWEEN.split(value)]
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return tuple(dict.fromkeys(found))


@click.command()
@click.argument("factors", nargs=-1, metavar="[FACTOR]...")
@click.option("--run", metavar="RUN", help="The mining run; default: the newest with results.")
@click.option(
    "--library", is_flag=True, help="Also what other runs of this lake admitted on such bars."
)
@click.option("--expr", "expressions", multiple=True, metavar="EXPR", help="An expression as well.")
@click.option(
    "--method",
    "methods",
    type=Combiners(),
    default="equal,ic,icir_shrunk,ridge",
    show_default=True,
    help=f"Ways to weigh, each a trial: {', '.join(METHODS)}; or ridge(penalty=1,turnover_bps=5).",
)
@click.option(
    "--refit",
    "refit_ms",
    type=Span(),
    default="30d",
    show_default=True,
    help="New weights so often.",
)
@click.option(
    "--train",
    "train_ms",
    type=Span(),
    default="90d",
    show_default=True,
    help="Bars that the first weights have seen.",
)
@click.option(
    "--control",
    "draws",
    type=click.IntRange(0, 10_000),
    default=200,
    show_default=True,
    help="Draws of as many random formulas, combined alike; 0 leaves them out.",
)
@click.option(
    "--pool",
    type=click.IntRange(2, 10_000),
    default=500,
    show_default=True,
    help="Random formulas that are drawn from.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the random formulas.")
@options.submit_options
@options.exits
def combine(
    factors: tuple[str, ...],
    run: str | None,
    library: bool,
    expressions: tuple[str, ...],
    methods: tuple[Combiner, ...],
    refit_ms: int,
    train_ms: int,
    draws: int,
    pool: int,
    seed: int,
    how: options.Submission,
) -> None:
    """Combine factors to one signal, walked forward, against as many random formulas.

    FACTOR is a number or hash of RUN; without one, all of it that are predictive or better. Bars,
    costs and gates are the run's. Weights of a refit have seen matured labels alone; the signal is
    judged as a factor is, and every method counts as a trial of the same search. What stands first
    is the excess over random formulas under the same method: without it a combined figure says
    nothing of mining.

    \b
    Example:
      alphamill combine --run mine-1f2e --wait
      alphamill combine --run mine-1f2e 1 2 5 --method "ic,ridge(penalty=1)" --refit 7d --wait
      alphamill combine --expr "-ts_zscore(close, 24)" --expr "-ts_rank(returns, 12)" --wait
    """
    from alphamill.runs.finished import finished_run  # loads what reads the lake

    settings = options.settings()
    found = finished_run(settings, run, (RunKind.MINE,))
    judged = [found.factor(text) for text in factors]
    if not (factors or expressions):
        judged = [factor for factor in found.factors if factor.admitted]
    interval = _interval(found, judged)
    named = dict.fromkeys([factor.traded for factor in judged])
    searches = [found.id]
    if library:
        for text, search in _from_library(found, interval):
            named[text] = None
            searches.append(search)
    for text in expressions:
        named[_read(text)] = None
    if len(named) < 2:
        raise GiveUp(_too_few(found, len(named)))
    if draws and pool < len(named):
        raise click.UsageError(
            f"--pool {pool} is smaller than the {len(named)} factors that are combined: each draw "
            "takes as many formulas"
        )
    spec = RunSpec(
        kind=RunKind.COMBINE,
        lake=settings.lake_uri,
        market=found.spec.market,
        symbols=found.spec.symbols,
        intervals=(interval,),
        start_ms=found.spec.start_ms,
        end_ms=found.spec.end_ms,
        expressions=tuple(named),
        groups=found.spec.groups,
        search=found.spec.search,
        segments=found.spec.segments,
        portfolio=found.spec.portfolio,
        fees=found.spec.fees,
        gates=found.spec.gates,
        wide=found.spec.wide,
        universe=found.spec.universe,
        combination=Combination(
            methods=tuple(one.text for one in methods),
            refit_ms=refit_ms,
            train_ms=train_ms,
            draws=draws if any(one.linear for one in methods) else 0,
            pool=pool if draws else 0,
            seed=seed,
            searches=tuple(dict.fromkeys(searches)),
        ),
    )
    _check_calendar(spec, interval, refit_ms, train_ms)
    submit.submit(spec, settings, how, {"factors": list(named)})


def _read(text: str) -> str:
    """As the language spells it. Raises click.UsageError for what is no expression."""
    try:
        return read_given(text).text
    except FactorError as error:
        raise click.UsageError(
            f"{error}: {text!r}; alphamill operators prints the language's manual"
        ) from error


def _interval(run: PublishedRun, factors: Sequence[JudgedFactor]) -> Interval:
    """The one that all were judged at; without factors the run's. Raises GiveUp for several."""
    there = sorted({factor.interval for factor in factors} or set(run.spec.intervals))
    if len(there) > 1:
        raise GiveUp(
            f"these factors are of {' and '.join(there)}: one signal has one interval; name those "
            f"of one by their numbers in: alphamill factors {run.id}"
        )
    return there[0]


def _from_library(run: PublishedRun, interval: Interval) -> Iterator[tuple[str, str]]:
    """What other runs admitted over the same symbols, with the run; says what is left out."""
    from alphamill.runs.library import entries

    left_out = 0
    for entry in entries(run.lake):
        if entry.removed or entry.run == run.id:
            continue
        other = _spec_of(run.lake, entry.run)
        same = (entry.market, entry.interval) == (run.spec.market, interval) and other is not None
        if (
            same
            and other
            and (other.symbols, other.universe) == (run.spec.symbols, run.spec.universe)
        ):
            yield entry.traded, entry.run
        else:
            left_out += 1
    if left_out:
        click.echo(
            f"{counted(left_out, 'factor')} of the library are left out: of another market, "
            f"interval or universe than {run.id}",
            err=True,
        )


def _spec_of(lake: Lake, run_id: str) -> RunSpec | None:
    from alphamill.runs.published import PublishedRun

    try:
        return PublishedRun.open(lake, run_id).spec
    except GiveUp:
        return None


def _too_few(run: PublishedRun, count: int) -> str:
    return (
        f"{run.id} has {counted(count, 'factor')} to combine, and it takes two: name finalists by "
        f"their numbers in alphamill factors {run.id}, or add --expr or --library"
    )


def _check_calendar(spec: RunSpec, interval: Interval, refit_ms: int, train_ms: int) -> None:
    """Raise click.UsageError where no refit fits into the range, however full it is."""
    import numpy as np

    from alphamill.combination import combination_segments, refit_schedule

    times_ms = np.arange(spec.start_ms, spec.end_ms, interval.ms, dtype=np.int64)
    purge_bars = spec.segments.horizon_bars + spec.segments.entry_lag_bars
    try:
        schedule = refit_schedule(times_ms, refit_ms, max(1, train_ms // interval.ms), purge_bars)
        combination_segments(
            schedule, spec.segments.discovery_frac, spec.segments.validation_frac, purge_bars
        )
    except ValueError as error:
        raise click.UsageError(f"--refit, --train: {error}") from error


if __name__ == "__main__":
    combine()
