"""Is it new: how like a factor is the run's other finalists, and what earlier runs admitted."""

from __future__ import annotations

import numpy as np

from alphamill.report.factor.laid_out import Drawn
from alphamill.report.plots.figures import (
    RIGHT,
    WIDTH,
    Box,
    Figure,
    Panel,
    Shape,
    Table,
    Word,
    path,
)
from alphamill.report.plots.scales import Scale, Tick
from alphamill.report.values import number, plain, whole
from alphamill.runs.rows import JudgedFactor

_NAMED = 30  # characters of an expression beside its bar
_SHOWN = 13
_ROW = 14.0
_TOP = 6.0


def alike(drawn: Drawn) -> Figure | None:
    """Correlation with the other finalists and with what earlier runs admitted."""
    factor = drawn.sheet.subject.factor
    if factor is None:
        return None
    nearest = sorted(drawn.sheet.likenesses, key=lambda one: -abs(one.correlation))
    table = Table(
        ("factor", "rank correlation"),
        [(f"{one.name} {one.expression}", number(one.correlation, 3, True)) for one in nearest],
    )
    question = "Is it something new?"
    caption = (
        "Correlation with the library: mean rank correlation of the values on validation, as both "
        f"are traded. {_of_record(factor)}"
    )
    if not nearest:
        none = "There is no other finalist at this interval, and no factor of an earlier run."
        return Figure(question, caption, 0, (), table, note=none)
    rows = nearest[:_SHOWN]
    bottom = _TOP + _ROW * len(rows)
    x = Scale(-1.0, 1.0, 214.0, WIDTH - RIGHT - 32)
    made = Panel(x, Scale(0.0, 1.0, bottom, _TOP), "", baseline=False)
    made.x_ticks = [Tick(x.px(at), text) for at, text in ((-1, "−1"), (0, "0"), (1, "1"))]
    for at in (-1.0, 0.0, 1.0):
        upright = path(np.full(2, x.px(at)), np.array([_TOP, bottom]))
        made.lines.append(Shape(upright, "zero" if at == 0 else "grid"))
    for at, one in enumerate(rows):
        middle = _TOP + _ROW * (at + 0.5)
        left, right = sorted((x.px(0.0), x.px(one.correlation)))
        name = f"{one.name} {one.expression}"
        text = f"{name}: {number(one.correlation, 3, True)}"
        made.boxes.append(Box(left, middle - 4.5, right - left, 9, "fill", text))
        made.words.append(Word(208, middle + 3.5, plain(name, _NAMED), "", "end"))
        figure = number(one.correlation, 2, True)
        made.words.append(Word(WIDTH - 2, middle + 3.5, figure, "", "end"))
    return Figure(question, caption, bottom + 20, [made], table)


def _of_record(factor: JudgedFactor) -> str:
    if not factor.library_correlation:
        said = "On validation it is the best of its interval."
    else:
        said = f"By the verdict {number(factor.library_correlation, 2)} with the nearest better one"
        if factor.residual_rank_ic is not None:
            said += (
                f"; beside the better ones a RankIC of {number(factor.residual_rank_ic, 4, True)} "
                f"is left (t {number(factor.residual_t, 1, True)})"
            )
        said += "."
    if factor.earlier_nearest:
        said += (
            f" The nearest of {whole(factor.earlier_factors)} factors of earlier runs: "
            f"{number(factor.earlier_correlation, 2, True)}."
        )
    return said
