"""`alphamill reproduce`: what others published, from one's own lake."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import click

from alphamill.errors import GiveUp
from alphamill.reproduction import Reproduction, State, source_of
from producers import options


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to look. lake: its address. source: a clone of the study, "" for none."""

    lake: str
    source: str


@dataclass(frozen=True, slots=True)
class Published:
    """What can be reproduced. what: in a line. needs: which data. cloned: a study's repository."""

    what: str
    needs: str
    run: Callable[[Asked], Reproduction]
    cloned: bool = False


def _statistics(asked: Asked) -> Reproduction:  # noqa: ARG001  it needs no data
    from alphamill.reproduction.statistics import reproduce

    return reproduce()


def _momentum(asked: Asked) -> Reproduction:
    from alphamill.reproduction.momentum import reproduce

    return reproduce(_clone("momentum-2026", asked))


def _horizons(asked: Asked) -> Reproduction:
    from alphamill.lake import Lake
    from alphamill.reproduction.horizons import reproduce

    return reproduce(Lake(asked.lake), _clone("horizons", asked))


def _bands(name: str, asked: Asked) -> Reproduction:
    from alphamill.lake import Lake
    from alphamill.reproduction.bands import reproduce

    return reproduce(Lake(asked.lake), name)


def _clone(name: str, asked: Asked) -> str:
    if not asked.source:
        (source,) = source_of(name)
        folder = source.url.rpartition("/")[2]
        raise GiveUp(
            f"{name} reads files of {source.place}: {source.clone}, then "
            f"alphamill reproduce {name} --source {folder}"
        )
    return asked.source


NAMES: Mapping[str, Published] = {
    "horizons": Published(
        "crypto-alpha-across-horizons: yearly IC by cadence, three books, and what its dead change",
        "1h bars of 151 symbols in the lake and a clone of the study (--source)",
        _horizons,
        cloned=True,
    ),
    "momentum-2026": Published(
        "crypto-momentum-backtest: two strategies over 25 coins, and its unstated clip",
        "a clone of the study (--source)",
        _momentum,
        cloned=True,
    ),
    "factorminer-random": Published(
        "FactorMiner's random formulas, 64 coins at 10 minutes: a band, its coins are undisclosed",
        "5m bars of 64 coins of 2024-25 in the lake, daily bars that say which",
        partial(_bands, "factorminer-random"),
    ),
    "alpha101": Published(
        "FactorMiner's row of the 101 formulas on the same coins: a band",
        "5m bars of 64 coins of 2024-25 in the lake, daily bars that say which",
        partial(_bands, "alpha101"),
    ),
    "statistics": Published(
        "the papers' worked numbers: PSR, DSR, Newey-West, false discoveries, PBO",
        "nothing",
        _statistics,
    ),
}


@click.command()
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(list(NAMES)))
@click.option("--lake", metavar="URI", help="Folder or s3:// address; default: the settings'.")
@click.option("--source", default="", metavar="FOLDER", help="A clone of the study's repository.")
@click.option(
    "--symbols", "list_symbols", is_flag=True, help="Name the symbols that it reads, one a line."
)
@options.json_option
@options.exits
def reproduce(
    name: str | None, lake: str | None, source: str, list_symbols: bool, as_json: bool
) -> None:
    """Compute what others published again: their figure, ours, and whether they agree.

    NAME is one of those that are listed without it. A row agrees where the two are the same to the
    last digit that was printed; one that cannot be checked says why, and what would bring the data.
    The exit code is 1 where a figure is another, but for rows that are known to be and say so, and
    where nothing could be checked at all.

    \b
    Example:
      alphamill reproduce
      alphamill reproduce statistics
      alphamill reproduce momentum-2026 --source crypto-momentum-backtest --json
      alphamill reproduce horizons --source crypto-alpha-across-horizons --symbols > symbols.txt
      alphamill reproduce horizons --source crypto-alpha-across-horizons --lake ~/lake
    """
    if name is None:
        _list(as_json)
        return
    if source and not NAMES[name].cloned:
        raise click.UsageError(f"--source: {name} reads no study's repository; leave it out")
    asked = Asked(lake or options.settings().lake_uri, source)
    if list_symbols:
        _list_symbols(name, asked)
        return
    found = NAMES[name].run(asked)
    if as_json:
        options.print_json(found.to_dict())
    else:
        from alphamill.report.terminal.reproduction import print_reproduction

        print_reproduction(found)
    if found.failed or found.count(State.UNCHECKED) == len(found.rows):
        sys.exit(options.EXIT_FAILED)


def _list(as_json: bool) -> None:
    if as_json:
        options.print_json(
            {name: {"what": one.what, "needs": one.needs} for name, one in NAMES.items()}
        )
        return
    for name, one in NAMES.items():
        click.echo(f"{name:<18}  {one.what}; needs {one.needs}")


def _list_symbols(name: str, asked: Asked) -> None:
    if name == "horizons":
        from alphamill.reproduction.horizons import symbols_of

        found = symbols_of(_clone(name, asked))
    elif name in ("factorminer-random", "alpha101"):
        from alphamill.lake import Lake
        from alphamill.reproduction import bands

        found = bands.symbols_of(Lake(asked.lake))
    else:
        raise click.UsageError(f"--symbols: {name} reads no symbols of the lake")
    click.echo("\n".join(found))
