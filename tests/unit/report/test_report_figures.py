"""How small numbers are worded."""

import math

import pytest

from alphamill.report.values import NOTHING, dollars, probability


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "<0.0001"),
        (9.9e-5, "<0.0001"),
        (1e-4, "0.0001"),
        (0.03141, "0.0314"),
        (1, "1.0000"),
        (math.nan, NOTHING),
        (None, NOTHING),
    ],
)
def test_a_p_value_is_never_nought(value, shown):
    assert probability(value) == shown


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "$0.00"),
        (449, "$0.000449"),
        (12_345, "$0.0123"),
        (1_234_567, "$1.23"),
        (1_240_000_000, "$1,240"),
        (-449, "-$0.000449"),
        (None, NOTHING),
    ],
)
def test_dollars_keep_the_digits_that_count(micros, shown):
    assert dollars(micros) == shown
