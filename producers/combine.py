"""Enqueue the combination of a run's factors to one signal; no model is asked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import click

from alphamill.combination.combiner import METHODS, Combiner, parse_combiner
from alphamill.errors import GiveUp
from alphamill.jobs import Combination, RunKind, RunSpec
from producers import options, submit
from producers.submit.given import Negatable
from producers.submit.measures import Measured, measure_options
from producers.submit.to_combine import OwnBars, over_own_bars, over_run, own_bars_options

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


@click.command(cls=Negatable)
@click.argument("factors", nargs=-1, metavar="[FACTOR|EXPR]...")
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
@measure_options
@own_bars_options
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
    measured: Measured,
    own: OwnBars,
    how: options.Submission,
) -> None:
    """Combine factors to one signal, walked forward, against as many random formulas.

    Over a mining run: FACTOR is a number or hash of RUN; without one, all of it that are predictive
    or better. Bars, costs and gates are the run's. Over bars of your own (--symbols or --universe,
    --interval, --start): FACTOR is the hash of one in the library, or an expression.

    Weights of a refit have seen matured labels alone; the signal is judged as a factor is, and
    every method counts as a trial of the same search. What stands first is the excess over random
    formulas under the same method: without it a combined figure says nothing of mining.

    \b
    Example:
      alphamill combine --run mine-1f2e --wait
      alphamill combine --run mine-1f2e 1 2 5 --method "ic,ridge(penalty=1)" --refit 7d --wait
      alphamill combine "-ts_zscore(close, 24)" "-ts_rank(returns, 12)" \\
        --symbols BTCUSDT,ETHUSDT,BNBUSDT --interval 1h --start 2022-01-01 --wait
      alphamill combine --library --universe "top:25 by mean_30d(quote_volume)" \\
        --interval 1h --start 2022-01-01 --wait
    """
    texts = tuple(text.removeprefix(" ") for text in factors)
    if own.asked:
        if run is not None:
            raise click.UsageError(
                "--run brings bars of its own: leave it out, or the options that name bars"
            )
        found = over_own_bars(own, measured, texts, expressions, library)
    else:
        if measured != Measured():
            raise click.UsageError(
                "horizon, book and fees are the run's; they can be chosen over bars of your own, "
                "with --symbols or --universe, --interval and --start"
            )
        found = over_run(run, texts, expressions, library)
        how = replace(how, unlisted=True)  # the run has seen who is listed
    if len(found.factors) < 2:
        raise GiveUp(found.too_few)
    if draws and pool < len(found.factors):
        raise click.UsageError(
            f"--pool {pool} is smaller than the {len(found.factors)} factors that are combined: "
            "each draw takes as many formulas"
        )
    spec = RunSpec(
        kind=RunKind.COMBINE,
        expressions=found.factors,
        combination=Combination(
            methods=tuple(one.text for one in methods),
            refit_ms=refit_ms,
            train_ms=train_ms,
            draws=draws if any(one.linear for one in methods) else 0,
            pool=pool if draws else 0,
            seed=seed,
            searches=found.searches,
        ),
        **found.fields,
    )
    _check_calendar(spec, refit_ms, train_ms)
    submit.submit(spec, found.settings, how, {"factors": list(found.factors)} | dict(found.told))


def _check_calendar(spec: RunSpec, refit_ms: int, train_ms: int) -> None:
    """Raise click.UsageError where no refit fits into the range, however full it is."""
    import numpy as np

    from alphamill.combination import combination_segments, refit_schedule

    [interval] = spec.intervals
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
