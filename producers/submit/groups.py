"""A table of groups from a CSV file: symbol, then a column a group (sector, industry, ...)."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

Groups = Mapping[str, Mapping[str, str]]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_MOST_LABEL_CHARS = 60
groups_option = click.option(
    "--groups",
    "groups_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV: symbol,sector,industry,subindustry (or other groups) for the group operators.",
)


def read_groups(path: Path, symbols: Sequence[str]) -> Groups:
    """Group -> symbol -> label, for the run's symbols; an empty cell puts a symbol in no group.

    Raises click.UsageError for a file that is no such table or lacks a symbol.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"--groups {path}: {error}") from error
    if not rows or rows[0][0].lower() != "symbol" or len(rows[0]) < 2:
        raise click.UsageError(f"--groups {path}: the first line must read symbol,sector,...")
    names = [name.lower() for name in rows[0][1:]]
    for name in names:
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise click.UsageError(f"--groups {path}: column {name!r} cannot name a group")
    labels = _labels(path, rows[1:], len(names))
    absent = [symbol for symbol in symbols if symbol not in labels]
    if absent:
        raise click.UsageError(f"--groups {path} lacks {', '.join(absent[:5])}")
    return {
        name: {symbol: labels[symbol][at] for symbol in symbols if labels[symbol][at]}
        for at, name in enumerate(names)
    }


def _labels(path: Path, rows: Sequence[Sequence[str]], n_groups: int) -> dict[str, Sequence[str]]:
    labels: dict[str, Sequence[str]] = {}
    for row in rows:
        symbol = row[0].upper()
        if len(row) != n_groups + 1 or any(len(cell) > _MOST_LABEL_CHARS for cell in row):
            raise click.UsageError(
                f"--groups {path}: {symbol}: {n_groups + 1} short cells expected"
            )
        if symbol in labels:
            raise click.UsageError(f"--groups {path}: {symbol} comes twice")
        labels[symbol] = row[1:]
    return labels
