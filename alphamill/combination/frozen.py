"""One refit's weights as an expression of the factor language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alphamill.combination.combiner import Combiner
from alphamill.combination.walk import GRID
from alphamill.factors.bounds import GIVEN_BOUNDS
from alphamill.frames import FloatArray

COMBINED_BOUNDS = GIVEN_BOUNDS


def frozen_expression(
    weights: FloatArray,
    expressions: Sequence[str],
    directions: Sequence[int],
    combiner: Combiner | None = None,
) -> str:
    """The signal of one refit's weights, (factors,), in the factor language.

    A sum of weight * fill(demean(rank(factor)), 0), on the grid of `walk.GRID`: a missing factor is
    neutral, as in `combined_signal`; where none of those with a weight has a value there is none.
    Its values are that signal's, now and then a step of the grid beside it (9.1e-13), from the
    longest look-back on. It is as large as its parts
    together: parse it with `COMBINED_BOUNDS`. Factors without a weight are left out.
    Raises ValueError for weights that are all 0 or not finite, and for a combiner whose signal is
    no weighted sum.
    """
    if combiner is not None and not combiner.linear:
        raise ValueError(
            f"{combiner.method} is no weighted sum and has no formula; freeze equal, ic, "
            "icir_shrunk, ridge or lasso instead"
        )
    if not len(weights) == len(expressions) == len(directions):
        raise ValueError(
            f"{len(weights)} weights, {len(expressions)} expressions and {len(directions)} "
            "directions: give one of each for every factor"
        )
    if not np.isfinite(weights).all() or not np.any(weights):
        raise ValueError(
            "the weights of this refit are all 0 or unknown, so that there is nothing to freeze; "
            "take a later refit or a lower penalty"
        )
    terms, missing = [], []
    for weight, text, direction in zip(weights, expressions, directions, strict=True):
        if weight:
            own = f"demean(rank({text}))"
            terms.append(f"{float(weight) * direction!r} * fill({own}, 0)")
            missing.append(f"is_nan({own})")
    total = f"floor({_joined(terms, ' + ')} * {GRID} + 0.5) / {GRID}"
    return f"mask({total}, {_joined(missing, ' + ')} < {len(terms)})"


def _joined(parts: Sequence[str], between: str) -> str:
    """Halves in brackets, so that depth grows with the logarithm of their number."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], between)}{between}{_joined(parts[middle:], between)})"
