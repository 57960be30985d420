"""`horizons`: tables of crypto-alpha-across-horizons from the hourly closes of the user's lake.

The study's lists of who belonged when come from a clone of it. They were made from a later listing
and lack the coins that have been delisted or renamed since, so beside its figures stand the same
ones over a universe that has its dead: this project's rule, from the lake's daily bars.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from alphamill.frames import Market, Month, TimeRange
from alphamill.lake import Lake
from alphamill.reproduction import cohorts, failed_validation, with_the_dead, yearly_ic
from alphamill.reproduction.closes import (
    HOUR_MS,
    Closes,
    Lists,
    lacking,
    lacking_text,
    needed,
    read_closes,
)
from alphamill.reproduction.figures import figures, source_of
from alphamill.reproduction.row import Reproduction, Row, State
from alphamill.universe.snapshots import read_master_list

NAME = "horizons"
YEARS = (2020, 2021, 2022, 2023, 2024)
_MEMBERS = "data/universe/monthly_universe.csv"
_WINDOWS = {
    "development": TimeRange(Month(2020, 4).start_ms, Month(2023, 1).start_ms),
    "evaluation": TimeRange(Month(2023, 1).start_ms, Month(2025, 1).start_ms),
    "holdout": TimeRange(Month(2025, 1).start_ms, Month(2026, 8).start_ms),
}
_OF_CELL = ("mean IC", "median IC", "decisions")


def published_lists(folder: str) -> dict[Month, tuple[str, ...]]:
    """Who belongs when, from a clone of the study. Raises GiveUp where that is not there."""
    (source,) = source_of(NAME)
    found: dict[Month, list[str]] = {}
    with source.file(folder, _MEMBERS).open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            found.setdefault(Month.parse(row["effective_month"][:7]), []).append(row["symbol"])
    return {month: tuple(names) for month, names in found.items()}


def symbols_of(folder: str) -> list[str]:
    """Every symbol that belongs in any month, sorted: those to fetch."""
    return sorted({name for names in published_lists(folder).values() for name in names})


def reproduce(lake: Lake, folder: str) -> Reproduction:
    """Every row; those of which the lake lacks bars say so."""
    lists = published_lists(folder)
    listed = read_master_list(lake, Market.SPOT)
    ends_ms = {
        one.symbol: one.last.end_ms
        for one in (listed.symbols if listed else ())
        if one.last is not None and one.delisted
    }
    longest_back = max(design.formation_h for design in cohorts.FINALISTS.values())
    longest_ahead = max(design.holding_h for design in cohorts.FINALISTS.values())
    study = Study(lists, read_closes(lake, lists, longest_back, longest_ahead, ends_ms))
    rows = [*study.ic_rows(), *study.validation_rows(), *study.finalist_rows()]
    dead = with_the_dead.rows_of(lake, listed, ends_ms)
    cures = [study.cure(folder)] if any(row.state is State.UNCHECKED for row in rows) else []
    if any(row.state is State.UNCHECKED for row in dead):
        cures.append(with_the_dead.CURE)
    return Reproduction(NAME, source_of(NAME), [*rows, *dead], cures)


@dataclass(slots=True)
class Study:
    """The study's lists, and the closes that there are of its members."""

    lists: Lists
    closes: Closes

    def ic_rows(self) -> Iterator[Row]:
        """The first table: a row a figure of each signal, cadence and year."""
        for signal, by_cadence in figures(NAME)["ic"].items():
            back_h, ahead_h = yearly_ic.SIGNALS[signal]
            hours = [int(cadence.removesuffix("h")) for cadence in by_cadence]
            for year in YEARS:
                why = self._why_not(yearly_ic.decided(year), back_h, ahead_h)
                cells = (
                    {} if why else yearly_ic.yearly_ic(self.closes, self.lists, signal, year, hours)
                )
                for cadence, printed in by_cadence.items():
                    cell = cells.get(int(cadence.removesuffix("h")))
                    ours = (cell.mean, cell.median, cell.n) if cell else (None,) * 3
                    for of, text, value in zip(_OF_CELL, printed[str(year)], ours, strict=True):
                        yield Row(f"{signal} {cadence} {year}, {of}", text, value, why)

    def validation_rows(self) -> Iterator[Row]:
        """The second table: the momentum that failed."""
        window, design = failed_validation.WINDOW, failed_validation.IMMEDIATE
        decided = TimeRange(
            window.start_ms - failed_validation.DELAY_H * HOUR_MS,
            window.end_ms - design.holding_h * HOUR_MS,
        )
        yield from self._rows(
            "failed validation",
            figures(NAME)["validation"],
            self._why_not(decided, design.formation_h, design.holding_h),
            lambda: failed_validation.figures_of(self.closes, self.lists, window),
        )

    def finalist_rows(self) -> Iterator[Row]:
        """The third: three books in development, evaluation and holdout."""
        for name, design in cohorts.FINALISTS.items():
            for period, window in _WINDOWS.items():
                times = cohorts.decisions(design, window)
                decided = TimeRange(int(times[0]), int(times[-1]) + 1)
                yield from self._rows(
                    name,
                    {period: figures(NAME)["finalists"][name][period]},
                    self._why_not(decided, design.formation_h, design.holding_h),
                    lambda d=design, w=window, p=period: {  # type: ignore[misc]
                        p: cohorts.figures_of(d, self.closes, self.lists, w)
                    },
                )

    def _rows(
        self,
        of: str,
        printed: Mapping[str, Mapping[str, str]],
        why: str,
        compute: Callable[[], Mapping[str, Mapping[str, float]]],
    ) -> Iterator[Row]:
        ours = {} if why else compute()
        for name, columns in printed.items():
            for column, text in columns.items():
                yield Row(f"{of}, {name}, {column}", text, ours.get(name, {}).get(column), why)

    def _why_not(self, decided: TimeRange, back_h: int, ahead_h: int) -> str:
        """Why decisions of a range cannot be followed; "" where they can."""
        wanted = needed(self.lists, decided, back_h, ahead_h)
        lacked = lacking(self.closes, wanted)
        return lacking_text(lacked, len(wanted)) if lacked else ""

    def cure(self, folder: str) -> str:
        """The commands that bring what the study needs."""
        last = date.fromisoformat(f"{max(self.lists).next()}-01")
        return (
            f"alphamill reproduce {NAME} --source {folder} --symbols > symbols.txt && "
            "alphamill fetch --symbols-file symbols.txt --unlisted --interval 1h "
            f"--start 2020-03-01 --end {last} --wait"
        )
