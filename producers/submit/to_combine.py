"""What `combine` makes one signal of: a run's factors over its bars, or others over bars given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, Wide
from alphamill.jobs import RunKind, RunSpec
from alphamill.language import read_given
from alphamill.report.values import counted
from alphamill.settings import Settings
from producers import options
from producers.submit.given import check_expression, given_bars
from producers.submit.groups import groups_option
from producers.submit.measures import Measured
from producers.submit.universe import rule_option
from producers.submit.wide import with_option

if TYPE_CHECKING:
    from alphamill.lake import Lake
    from alphamill.runs.library import LibraryEntry
    from alphamill.runs.published import PublishedRun
    from alphamill.runs.rows import JudgedFactor

_HASH = re.compile(r"[0-9a-f]{4,64}")
_NAMED = re.compile(r"[0-9]{1,3}|[0-9a-f]{4,64}")  # a number of the board, or a hash
_OF_THE_RUN = (
    *("lake", "market", "symbols", "intervals", "start_ms", "end_ms", "groups", "search"),
    *("segments", "portfolio", "fees", "gates", "wide", "universe"),
)


@dataclass(frozen=True, slots=True)
class OwnBars:
    """Bars of no run; None: not asked for."""

    symbols: tuple[str, ...] | None
    by_rule: str | None
    interval: Interval | None
    start_ms: int | None
    end_ms: int | None
    market: Market | None
    wide: tuple[Wide, ...]
    groups_file: Path | None

    @property
    def asked(self) -> bool:
        return any(getattr(self, one.name) not in (None, ()) for one in fields(self))

    @property
    def range(self) -> options.BarRange:
        """Raises click.UsageError for what is missing."""
        if self.interval is None or self.start_ms is None:
            lacks = "--start" if self.interval else "--interval"
            raise click.UsageError(
                f"{lacks} is missing: bars of your own are named by --symbols or --universe, "
                "--interval and --start; without them those of a mining run are taken"
            )
        market = self.market or Market.SPOT
        return options.BarRange(market, (self.interval,), self.start_ms, self.end_ms)


own_bars_options = options.gathered(
    "own",
    OwnBars,
    options.symbols_option,
    rule_option,
    click.option(
        "--interval",
        type=click.Choice([interval.value for interval in Interval]),
        metavar="1h",
        callback=lambda _ctx, _param, value: value and Interval(value),
        help="Bar length, of bars that are no run's.",
    ),
    click.option("--start", "start_ms", type=options.Day(), metavar="DATE", help="First day, UTC."),
    click.option(
        "--end",
        "end_ms",
        type=options.Day(),
        metavar="DATE",
        help="Day after the last, UTC; default: up to the last closed bar.",
    ),
    click.option(
        "--market",
        type=click.Choice([market.value for market in Market]),
        callback=lambda _ctx, _param, value: value and Market(value),
        help="Default: spot, or the run's.",
    ),
    with_option,
    groups_option,
)


@dataclass(frozen=True, slots=True)
class ToCombine:
    """What is combined, over which bars. fields: of a RunSpec. searches: runs it came out of."""

    factors: tuple[str, ...]
    searches: tuple[str, ...]
    settings: Settings
    fields: Mapping[str, Any]
    told: Mapping[str, Any]
    too_few: str  # what to say of less than two


def over_run(
    run: str | None, factors: Sequence[str], expressions: Sequence[str], library: bool
) -> ToCombine:
    """Factors of a mining run, over its bars and by its terms.

    factors: numbers and hashes of its finalists, and expressions. Raises GiveUp and UsageError.
    """
    from alphamill.runs.finished import finished_run  # loads what reads the lake

    settings = options.settings()
    found = finished_run(settings, run, (RunKind.MINE,))
    judged = [found.factor(text) for text in factors if _NAMED.fullmatch(text)]
    expressions = [*(text for text in factors if not _NAMED.fullmatch(text)), *expressions]
    if not (factors or expressions):
        judged = [factor for factor in found.factors if factor.admitted]
    interval = _interval(found, judged)
    spec = replace(found.spec, intervals=(interval,))
    named, searches = dict.fromkeys([factor.traded for factor in judged]), [found.id]
    for text in expressions:
        check_expression(text)
    if library:
        for entry in _from_library(found.lake, spec, found.id):
            named[entry.traded] = None
            searches.append(entry.run)
    named |= dict.fromkeys(read_given(text).text for text in expressions)
    return ToCombine(
        tuple(named),
        tuple(dict.fromkeys(searches)),
        settings,
        {name: getattr(spec, name) for name in _OF_THE_RUN},
        {},
        f"{found.id} has {counted(len(named), 'factor')} to combine, and it takes two: name "
        f"finalists by their numbers in alphamill factors {found.id}, or add --expr or --library",
    )


def over_own_bars(
    own: OwnBars,
    measured: Measured,
    texts: Sequence[str],
    expressions: Sequence[str],
    library: bool,
) -> ToCombine:
    """Factors of the library and expressions, over the bars asked for, by the settings' terms.

    texts: hashes of the library's factors, and expressions. Raises GiveUp and UsageError.
    """
    bars = own.range
    settings = measured.one_horizon.over(options.settings())
    by_hash = [text for text in texts if _HASH.fullmatch(text)]
    written = [*(text for text in texts if text not in by_hash), *expressions]
    for text in written:
        check_expression(text)
    given = given_bars(settings, bars, own.symbols, own.by_rule, own.wide, own.groups_file)
    given.check(written)
    spec = RunSpec(kind=RunKind.COMBINE, **given.fields)
    from alphamill.lake import Lake  # loads what reads the lake

    lake = Lake(settings.lake_uri)
    entries = [_in_library(lake, spec, text) for text in by_hash]
    if library:
        entries += _from_library(lake, spec)
    given.check([entry.traded for entry in entries])
    named = dict.fromkeys([entry.traded for entry in entries])
    named |= dict.fromkeys(read_given(text).text for text in written)
    return ToCombine(
        tuple(named),
        tuple(dict.fromkeys(entry.run for entry in entries)),
        settings,
        given.fields,
        given.told,
        f"{counted(len(named), 'factor')} to combine, and it takes two: name expressions, or "
        "factors of the library by their hash, or add --library",
    )


def _interval(run: PublishedRun, factors: Sequence[JudgedFactor]) -> Interval:
    """The one that all were judged at; without factors the run's. Raises GiveUp for several."""
    there = sorted({factor.interval for factor in factors} or set(run.spec.intervals))
    if len(there) > 1:
        raise GiveUp(
            f"these factors are of {' and '.join(there)}: one signal has one interval; name those "
            f"of one by their numbers in: alphamill factors {run.id}"
        )
    return there[0]


def _from_library(lake: Lake, spec: RunSpec, own_run: str = "") -> Iterator[LibraryEntry]:
    """What other runs admitted over such bars; says how many are left out."""
    from alphamill.runs.library import entries

    left_out = 0
    for entry in entries(lake):
        if entry.removed or entry.run == own_run:
            continue
        if not _other_bars(lake, entry, spec):
            yield entry
        else:
            left_out += 1
    if left_out:
        click.echo(
            f"{counted(left_out, 'factor')} of the library are left out: of another market, "
            f"interval or universe than {own_run or 'these bars'}",
            err=True,
        )


def _in_library(lake: Lake, spec: RunSpec, text: str) -> LibraryEntry:
    """The one whose hash begins so. Raises GiveUp for none, several, and one of other bars."""
    from alphamill.runs.library import entries

    there = [one for one in entries(lake) if not one.removed and one.hash.startswith(text)]
    fit = [one for one in there if not _other_bars(lake, one, spec)]
    if there and not fit:
        raise GiveUp(
            f"factor {text} is of {_other_bars(lake, there[0], spec)}: one signal is of one "
            f"market, interval and universe; combine it over its own bars: alphamill combine --run "
            f"{there[0].run}"
        )
    if len({one.hash for one in fit}) != 1:
        what = "several factors" if fit else "no factor"
        raise GiveUp(
            f"{what} of this lake's library begin with {text}: alphamill library lists them; an "
            "expression is given as it is written"
        )
    return fit[0]


def _other_bars(lake: Lake, entry: LibraryEntry, spec: RunSpec) -> str:
    """Over which other bars it was admitted; "" over such as these."""
    if entry.market is not spec.market or entry.interval not in spec.intervals:
        return f"{entry.market} {entry.interval}"
    other = _spec_of(lake, entry.run)
    if other is None:
        return f"{entry.run}, which is no longer in the lake"
    if _rule(other) != _rule(spec):
        return f"the universe {_rule(other) or 'of named symbols'}"
    if spec.universe is None and set(other.symbols) != set(spec.symbols):
        return f"{counted(len(other.symbols), 'symbol')} of its own"
    return ""


def _rule(spec: RunSpec) -> str:
    return spec.universe.rule if spec.universe else ""


def _spec_of(lake: Lake, run_id: str) -> RunSpec | None:
    from alphamill.runs.published import PublishedRun

    try:
        return PublishedRun.open(lake, run_id).spec
    except GiveUp:
        return None
