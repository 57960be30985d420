"""The leaderboard: reasons in short, figures never cut, foreign text never obeyed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from alphamill.evaluation import Grade
from alphamill.frames import Interval
from alphamill.language import read_given
from alphamill.report.terminal.leaderboard import (
    factors_board,
    short_reasons,
    trials_board,
    verdicts_line,
)
from alphamill.report.values import amount
from alphamill.runs.figures import Measures
from tests import rows
from tests.rendering import shown
from tests.rows import gate

HOSTILE = "rank(close) [bold]x[/] [/] \x1b[31m"


GATES = (
    gate("check", True, math.nan, math.nan),
    gate("validation_t", False, 1.2345, 3.0),
    gate("false_discovery", False, 0.2, 0.05),
    gate("deflated_sharpe", False, 0.41, 0.95),
    gate("net_validation", False, -7.0, 0.0, Grade.TRADABLE),
)
FACTOR = replace(rows.FACTOR, gates=GATES)


def factor(**changes):
    return replace(FACTOR, **changes)


def test_a_rejection_names_the_first_failed_gates_that_it_rests_on():
    assert short_reasons(factor()) == (
        "fails validation_t 1.23 (needs 3), false_discovery 0.2 (needs 0.05), 1 more"
    )


def test_a_predictive_factor_says_why_it_is_not_tradable_and_a_tradable_one_nothing():
    passed = [replace(one, passed=True) for one in GATES[:-1]]
    predictive = factor(verdict=Grade.PREDICTIVE, gates=(*passed, GATES[-1]))
    assert short_reasons(predictive) == "not tradable: net_validation -7 (needs 0)"
    assert short_reasons(factor(verdict=Grade.TRADABLE, gates=tuple(passed))) == ""


def test_a_veto_is_the_reason_and_a_gate_without_a_number_says_what_it_means():
    assert short_reasons(factor(veto_reason="peeks")) == "vetoed by final_verification: peeks"
    assert short_reasons(factor(gates=(gate("look_ahead", False, math.nan, math.nan),))) == (
        "fails look_ahead (what look_ahead means)"
    )


def test_the_headline_counts_verdicts_and_trials_of_each_interval():
    found = [factor(), factor(verdict=Grade.TRADABLE), factor(verdict=Grade.PREDICTIVE)]
    assert verdicts_line(found) == "1 tradable, 1 predictive, 1 rejected; 1,208 trials"
    found.append(factor(interval=Interval.H4, n_trials=96))
    assert verdicts_line(found).endswith("2 rejected; trials: 1,208 at 1h, 96 at 4h")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160, 200])
def test_every_figure_is_shown_whole_at_any_width(width):
    long = "rank(ts_mean(close / open, 24)) + " * 6 + "rank(volume / adv20)"
    found = [factor(), factor(rank=65, expression=long), factor(verdict=Grade.PREDICTIVE)]
    text = shown(factors_board(found), width)
    for part in (
        "+13.9",
        "+8.3",
        "-16.6",
        "13%",
        "0.413",
        "<0.0001",
        "predictive",
        "1,208",
        "8.3",
        "$0.000449",
    ):
        assert part in text, part
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    figures = next(line for line in text.splitlines() if "+13.9" in line)
    # The holdout was not opened, and no gate has deflated it after costs.
    assert figures.count("–") == 3 or width < 80
    assert "".join(long.split()) in "".join(text.replace("\n", "").split()) or width > 149


def test_intervals_are_a_column_where_there_are_several():
    text = shown(factors_board([factor(), factor(interval=Interval.H4)]), 90)
    assert " bar " in text
    assert "4h" in text


@pytest.mark.parametrize("width", [80, 160])
def test_an_expression_is_text_and_not_markup(width):
    text = shown(factors_board([factor(expression=HOSTILE, veto_reason="[red]no[/]")]), width)
    assert "[bold]x[/] [/]" in text
    assert "[red]no[/]" in text
    assert "\x1b" not in text


def test_no_finalist_is_said_in_words():
    assert "nothing is claimed" in shown(factors_board([]), 80)


def trial(rank_ic_t=4.5, **changes):
    changed = replace(rows.TRIAL, **changes)
    return rows.figures_of(changed, discovery={"rank_ic_t": rank_ic_t})


def test_given_expressions_are_ordered_by_t_and_called_in_sample():
    faulty = replace(
        rows.TRIAL,
        status="fault",
        direction=None,
        discovery=Measures(),
        expression="log(-close)",
        reason="no value at all",
    )
    text = shown(trials_board([faulty, trial(expression="weak", rank_ic_t=1.0), trial()]), 80)
    assert "In-sample" in text
    at = [text.index(name) for name in ("rank(close)", "weak", "log(-close)")]
    assert at == sorted(at)
    assert "no value at all" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_capacity_and_folds_are_columns_where_there_is_room_and_words_where_there_is_not():
    roomy, narrow = shown(factors_board([factor()]), 120), shown(factors_board([factor()]), 90)
    header = roomy[: roomy.index("─")]
    assert {"trials", "DSR", "folds", "capacity", "call"} <= set(header.split())
    assert max(len(line) for line in roomy.splitlines()) <= 120
    assert {"93%", "1.25M", "1,208", "0.413"} <= set(roomy.split())
    assert "capacity" not in narrow[: narrow.index("─")]
    assert "folds 93%, capacity 1.25M, call $0.000449" in " ".join(narrow.split())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1250, "1.25k"),
        (34_000_000, "34.0M"),
        (999_600_000, "1.00B"),
        (-1250, "-1.25k"),
        (float("inf"), "–"),
    ],
)
def test_an_amount_has_three_digits(value, text):
    assert amount(value) == text


def test_factors_of_one_symbol_are_not_called_ic():
    alone = rows.figures_of(
        factor(),
        discovery={"rank_ic_mean": None, "rank_ic_t": None, "time_series_t": -3.21},
        validation={"rank_ic_mean": None, "rank_ic_t": None, "time_series_t": -2.5},
    )
    text = " ".join(shown(factors_board([alone]), 120).split())
    assert "IC" not in text
    assert "t of the rank correlation in time" in text
    assert "+3.2" in text


@pytest.mark.parametrize("width", [80, 120, 160])
def test_given_expressions_have_trials_and_deflation_beside_their_sharpe_ratios(width):
    scored = rows.figures_of(
        trial(n_trials=202, deflated_sharpe=0.4321),
        discovery={"gross_sharpe": 12.34, "net_sharpe": -10.25},
    )
    text = shown(trials_board([scored]), width)
    header = " ".join(text[: text.index("─")].split())
    assert "SR gross net trials DSR gross even" in header
    figures = next(line for line in text.splitlines() if "+12.34" in line)
    assert "+12.34 -10.25 202 0.432" in " ".join(figures.split())
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_narrow_terminal_loses_columns_and_each_figure_is_told_in_words_instead():
    text = shown(factors_board([factor()]), 60)
    header = text[: text.index("─")]
    words = " ".join(text.split())
    for name, figure in (("BH p", "<0.0001"), ("even", "8.3"), ("trials", "1,208")):
        assert name in header or f"{name} {figure}" in words, name
    assert "call" not in header
    assert "…" not in text


def test_what_is_sold_is_an_expression_to_paste_and_its_t_is_as_it_is_traded():
    sold = shown(factors_board([factor(direction=-1)]), 120)
    assert "-(rank(close / open))" in sold
    assert "sell" not in sold
    assert "+13.9" in sold
    bought = shown(factors_board([factor(direction=1)]), 120)
    assert "-13.9" in bought
    assert (
        read_given("-(rank(close / open))", []).hash == read_given("-rank(close / open)", []).hash
    )
    assert "+4.50" in shown(trials_board([trial(-4.5, direction=-1)]), 120)


def test_deflation_before_and_after_costs_has_two_names():
    net = gate("net_deflated_sharpe", False, 0.0969, 0.95, Grade.TRADABLE)
    text = shown(factors_board([factor(deflated_sharpe=0.9991, gates=(*GATES, net))]), 120)
    header, figures = text[text.index("# ") :].splitlines()[0], text
    assert "DSR gross" in " ".join(header.split())
    assert "0.999" in figures
    assert "0.097" in figures
    assert "before costs (gross) and after them (net)" in " ".join(text.split())


def test_a_zoo_is_summed_up_and_its_names_stand_beside_the_figures():
    def lacking(status, reason):
        return replace(
            rows.TRIAL, status=status, reason=reason, hypothesis="alpha_3", discovery=Measures()
        )

    zoo = [
        trial(hypothesis="alpha_1"),
        trial(hypothesis="alpha_2", rank_ic_t=2.0),
        lacking("fault", "only 0 bars have a correlation; 30 needed"),
        lacking("fault", "only 7 bars have a correlation; 30 needed"),
        lacking("invalid", "unknown field cap"),
    ]
    text = shown(trials_board(zoo), 120)
    assert text.startswith(
        "2 of 5 measured; 2: only … bars have a correlation; … needed; 1 invalid"
    )
    row = next(line for line in text.splitlines() if "+4.50" in line)
    assert row.split()[:3] == ["1", "evaluated", "alpha_1"]
    assert "measured;" not in shown(trials_board(zoo[:2]), 120)
