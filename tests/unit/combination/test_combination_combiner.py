"""A combiner in one line, there and back."""

import math

import pytest

from alphamill.combination import METHODS, Combiner, parse_combiner

EACH = [
    Combiner("equal"),
    Combiner("ic", half_life_bars=2160),
    Combiner("icir_shrunk", prior_labels=12.5),
    Combiner("ridge", penalty=1e-6, turnover_bps=0, half_life_bars=20),
    Combiner("lasso", penalty=0.3),
    Combiner("lightgbm", trees=50, leaves=15, seed=7),
]


@pytest.mark.parametrize("combiner", EACH, ids=lambda one: one.method)
def test_its_text_reads_back(combiner):
    assert parse_combiner(combiner.text) == combiner
    assert parse_combiner(f"  {combiner.text} ".replace("=", " = ")) == combiner


@pytest.mark.parametrize("method", METHODS)
def test_a_bare_method_has_the_defaults(method):
    assert parse_combiner(method) == Combiner(method)
    assert Combiner(method).text == method


def test_texts_are_short_and_plain():
    assert EACH[1].text == "ic(half_life_bars=2160)"
    assert EACH[3].text == "ridge(penalty=1e-06, turnover_bps=0, half_life_bars=20)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no way to combine; write a method"),
        ("ridge(penalty=1", "is no way to combine; write a method"),
        ("xgboost", "called 'xgboost'; one of equal, ic, icir_shrunk, ridge, lasso, lightgbm"),
        ("equal(penalty=1)", "equal does not read 'penalty=1'; it reads nothing in brackets"),
        ("ic(penalty=1)", "ic does not read 'penalty=1'; it reads half_life_bars=NUMBER"),
        ("ridge(penalty)", "ridge does not read 'penalty'; it reads penalty=NUMBER"),
        ("ridge(penalty=ten)", "penalty is 'ten'; give a number"),
        ("lightgbm(trees=1.5)", "trees is '1.5'; give a whole number"),
        ("ridge(penalty=1, penalty=2)", "penalty is given twice to ridge; give it once"),
        ("ridge(penalty=-1)", "penalty is -1; give 0 or more"),
        ("ridge(penalty=nan)", "penalty is nan; give 0 or more"),
        ("ic(half_life_bars=0)", "half_life_bars is 0; give 1 or more"),
        ("ridge(turnover_bps=20000)", "turnover_bps is 20000; give a number from 0 to 10000"),
    ],
)
def test_a_text_that_is_none_says_what_would_be_one(text, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        parse_combiner(text)


def test_a_parameter_that_a_method_does_not_read_is_refused():
    with pytest.raises(ValueError, match=r"equal does not read half_life_bars; leave it out"):
        Combiner("equal", half_life_bars=5)
    assert math.isinf(Combiner("equal").half_life_bars)
