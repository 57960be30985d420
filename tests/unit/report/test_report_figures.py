"""What stands beside a Sharpe ratio on the page, and how small numbers are worded."""

import math

import pytest

from alphamill.report.html import render_report
from alphamill.report.values import NOTHING, dollars, probability

FACTOR = {"rank": 1, "expression": "-ts_zscore(close, 24)", "verdict": "predictive",
          "net_sharpe": 1.25, "holdout_net_sharpe": 0.75, "gross_sharpe": 3.5, "trials": 208,
          "dsr": 0.963, "bh_p": 3e-9, "break_even_bps": 8.31, "cost_usd_micros": 449,
          "coverage": 0.99,
    "capacity_quote": 1_250_000.0,
    "stability": {
        "folds": [0.031, -0.004], "walk_forward": 0.012, "same_sign": 0.9286, "half_life_bars": 6.0,
    },
}  # fmt: skip


def cells(page, row=1):
    line = page.split("<tr>")[1 + row].split("</tr>")[0]
    return [cell.rsplit(">", 1)[-1] for cell in line.split("</td>")[:-1]]


def test_trials_deflation_and_both_costs_stand_beside_the_sharpe_ratio():
    page = render_report({"factors": [FACTOR]})
    assert cells(page)[6:] == ["+1.25", "+0.75", "208", "0.963", "&lt;0.0001", NOTHING, "8.3",
                               "93 %", "1.25M", "$0.000449"]  # fmt: skip
    assert "folds of discovery +0.031 -0.004 · walk-forward +0.012 · half-life 6 bars" in page
    assert "Sharpe before costs +3.50 · coverage 99.0 %" in page


def test_the_search_is_told_with_its_probability_of_overfitting_and_its_price():
    run = {"trials": {"1h": 208}, "pbo": {"1h": 0.0123}, "spent": "$0.01 for 3 answers"}
    page = render_report({"run": run})
    assert "0.01 probability that the best" in page
    assert "$0.01 for 3 answers" in page
    several = render_report({"run": run | {"trials": {"1h": 208, "4h": 7}}})
    assert "trials at 4h" in several
    assert f"{NOTHING} probability that the best" in several  # not measured at 4h


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "<0.0001"), (9.9e-5, "<0.0001"), (1e-4, "0.0001"), (0.03141, "0.0314"), (1, "1.0000"),
     (math.nan, NOTHING), (None, NOTHING)],
)  # fmt: skip
def test_a_p_value_is_never_nought(value, shown):
    assert probability(value) == shown


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(0, "$0.00"), (449, "$0.000449"), (12_345, "$0.0123"), (1_234_567, "$1.23"),
     (1_240_000_000, "$1,240"), (-449, "-$0.000449"), (None, NOTHING)],
)  # fmt: skip
def test_dollars_keep_the_digits_that_count(micros, shown):
    assert dollars(micros) == shown
