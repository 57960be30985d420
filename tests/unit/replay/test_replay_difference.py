"""How far two results lie apart, and what is said of it."""

import math

import pytest

from alphamill.replay.difference import Code, farthest

JSON = '{"ic": [0.5, 1.0], "bars": 7}'


@pytest.mark.parametrize(
    ("one", "two", "apart"),
    [
        (1.0, 1.0, 0.0),
        (1.0, 1.0 + 2**-52, pytest.approx(2**-52)),
        (math.nan, None, 0.0),  # older code stored NaN
        (0.25, None, None),
        ("predictive", "rejected", None),
        (JSON, JSON.replace("0.5", "0.4"), pytest.approx(0.2)),
        (JSON, JSON.replace("7", "8"), None),  # a count is not rounded
        (JSON, JSON.replace("[0.5, 1.0]", "[0.5]"), None),
        ({"a": 2.0}, {"a": 2.0, "b": 1.0}, None),
    ],
)
def test_how_far(one, two, apart):
    assert farthest([(3.0, 3.0), (one, two)]) == apart


def test_what_is_said():
    assert Code("1+values.2", "1+values.2").explain(0.1) == ""
    assert Code("", "1+values.2").explain(0.1) == ""
    older = Code("1", "1+values.2")
    assert "last digits only, by 1e-14" in older.explain(1e-14)
    assert "(by 0.2;" in older.explain(0.2)
    assert "something else than a number" in older.explain(None)
