"""Rows of a plan's steps that are kept from bar to bar.

They count for the next bar while that follows the last one and the panel's bars before it are, bit
for bit, those that the rows were made of; else all are made anew. So a bar that came late, a gap, a
symbol more or another start of history change no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alphamill.factors.kernels import program as programs
from alphamill.factors.kernels.newest import SCRATCH_ROWS
from alphamill.factors.nodes import GroupNumbers, amount_of, group_of, tie_of
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, Field
from alphamill.frames import FloatArray, Panel
from alphamill.grid import index_at

if TYPE_CHECKING:
    from alphamill.factors.tail import Plan, Step


class KeptRows:
    """A plan's values over the newest bars of panels of one shape. Callers silence numpy."""

    def __init__(self, plan: Plan, panel: Panel, groups: GroupNumbers) -> None:
        self._plan, self._groups = plan, groups
        self._symbols, self._interval = panel.symbols, panel.interval
        self._newest_bar: int | None = None
        n = len(panel.symbols)
        self._kept = _kept(plan)
        self._columns = [
            (slot, step.node.name, step.rows)
            for slot, step in enumerate(plan.steps)
            if isinstance(step.node, Field) and not step.args
        ]
        self._turns = _turns(plan)
        order = [slot for turn in self._turns for slot in turn]
        self._at = {slot: at for at, slot in enumerate(order)}  # its row in the program
        literals = sorted({arg for step in plan.steps for arg in step.args if _literal(arg)})
        self._literal_at = {value: len(order) + at for at, value in enumerate(literals)}
        tables = sorted({group_of(s.node) for s in plan.steps if isinstance(s.node, Call)} | {""})
        self._tables = {name: at for at, name in enumerate(tables)}
        codes = [groups.numbers(name, n) for name in tables]
        self._codes = np.array(codes, dtype=np.int64).reshape(len(tables), n)
        self._n_groups = self._codes.max(axis=1, initial=0) + 1
        self._program = np.zeros((len(order) + len(literals), programs.COLUMNS), dtype=np.int64)
        self._numbers = np.zeros((len(self._program), 2))
        rows = 0
        for at, slot in enumerate(order):
            rows = self._lay_out(at, plan.steps[slot], self._kept[slot], rows)
        for at in range(len(order), len(self._program)):
            self._program[at, programs.BASE] = rows
            rows += 1
        self._rows = np.full((rows, n), np.nan)
        self._rows[rows - len(literals) :] = np.reshape(literals, (-1, 1))
        self._newest_row = self._program[:, programs.BASE].copy()
        self._scratch = np.empty((SCRATCH_ROWS, n))
        self._roots = np.array([self._at[slot] for slot in plan.roots], dtype=np.int64)

    def is_of(self, plan: Plan, panel: Panel) -> bool:
        """Whether it is for such panels."""
        alike = panel.symbols == self._symbols and panel.interval is self._interval
        return plan is self._plan and alike

    def newest(self, panel: Panel) -> FloatArray:
        """The roots' values at the panel's last bar, (roots, symbols)."""
        bar = index_at(panel.interval, int(panel.times_ms[-1]))
        before, self._newest_bar = self._newest_bar, None  # until all is there
        if before is not None and bar == before + 1 and self._goes_on(panel):
            self._advance(panel, bar)
        else:
            self._begin(panel)
        self._newest_bar = bar
        return self._rows[self._newest_row[self._roots]]

    def _goes_on(self, panel: Panel) -> bool:
        """Whether the bars before the newest are those that the rows were made of."""
        return all(
            programs.same_bits(panel[name][-rows:-1], self._last_rows(slot, rows - 1))
            for slot, name, rows in self._columns
        )

    def _last_rows(self, slot: int, rows: int) -> FloatArray:
        end = int(self._newest_row[self._at[slot]]) + 1
        return self._rows[end - rows : end]

    def _begin(self, panel: Panel) -> None:
        self._carry_out(0, 0, 0)  # compiled now, and not when the next bar waits
        programs.same_bits(self._rows[:0], self._rows[:0])
        for slot, values in enumerate(self._plan.run(panel, self._groups)):
            kept, base = self._kept[slot], int(self._program[self._at[slot], programs.BASE])
            self._rows[base : base + kept] = values[-kept:]
            self._newest_row[self._at[slot]] = base + kept - 1

    def _advance(self, panel: Panel, bar: int) -> None:
        done = 0
        for number, turn in enumerate(self._turns):
            self._carry_out(done, done + len(turn), bar)
            if number % 2 == 0:
                for slot in turn:
                    self._call(slot, panel, bar)
            done += len(turn)

    def _carry_out(self, begin: int, end: int, bar: int) -> None:
        programs.carry_out(
            self._program,
            self._numbers,
            begin,
            end,
            bar,
            self._codes,
            self._n_groups,
            self._newest_row,
            self._rows,
            self._scratch,
        )

    def _call(self, slot: int, panel: Panel, bar: int) -> None:
        """A step that the program does not have."""
        step = self._plan.steps[slot]
        if step.args:
            args = [
                self._last_rows(arg, 1 + step.history) if isinstance(arg, int) else arg
                for arg in step.args
            ]
            values = step.compute(args, bar, self._groups)
        else:
            values = panel[step.node.name]  # type: ignore[union-attr]  # a field
        self._rows[self._newest_row[self._at[slot]]] = values[-1]

    def _lay_out(self, at: int, step: Step, kept: int, base: int) -> int:
        """A step's line of the program; returns the first row that is free after its own."""
        places = 2 * kept if kept > 1 else 1
        line = self._program[at]
        line[[programs.BASE, programs.PLACES, programs.KEPT]] = base, places, kept
        line[programs.CODE] = programs.ELSEWHERE
        if _is_in_program(step) and isinstance(step.node, Call):
            line[[programs.CODE, programs.MODE]] = programs.OPERATIONS[step.node.name]
            family = OPERATORS[step.node.name].family
            args = step.args if family is Family.BAR else [a for a in step.args if not _literal(a)]
            for number, arg in enumerate(args):
                place = self._literal_at[arg] if _literal(arg) else self._at[int(arg)]
                line[programs.FIRST_ARG + number] = place
            line[programs.BEFORE] = step.history
            if family in (Family.CROSS, Family.GROUPED):
                line[programs.GROUPS] = self._tables[group_of(step.node)]
                self._numbers[at, programs.AMOUNT] = amount_of(step.node)
            if family is not Family.BAR:
                self._numbers[at, programs.TIE] = tie_of(step.node.args[0])
        return base + places


def _literal(arg: int | np.float64) -> bool:
    return isinstance(arg, float)


def _is_in_program(step: Step) -> bool:
    return isinstance(step.node, Call) and step.node.name in programs.OPERATIONS


def _kept(plan: Plan) -> list[int]:
    """Of each step, how many rows are read: of a field all, as they are held to the panel's."""
    kept = [
        step.rows if isinstance(step.node, Field) and not step.args else 1 for step in plan.steps
    ]
    for step in plan.steps:
        for arg in step.args:
            if isinstance(arg, int):
                kept[arg] = max(kept[arg], 1 + step.history)
    return kept


def _turns(plan: Plan) -> list[list[int]]:
    """Slots, each after its arguments': those called by themselves and the program's in turn.

    Each as early as may be, so that they change seldom.
    """
    turn: list[int] = []
    for step in plan.steps:
        before = max((turn[arg] for arg in step.args if isinstance(arg, int)), default=0)
        turn.append(before + (before % 2 != _is_in_program(step)))
    return [
        [slot for slot, own in enumerate(turn) if own == number]
        for number in range(max(turn, default=0) + 1)
    ]
