"""Sentences that belong to every figure of a run."""

import pytest

from alphamill.report.caveats import known_line, looks_line, spent_line


def call(status="settled", cost=1000, reserved=5000):
    return {"status": status, "cost_usd_micros": cost, "reserved_usd_micros": reserved}


def factor(verdict="predictive", looks=3, interval="1h", before=0):
    return {"verdict": verdict, "holdout_looks": looks, "holdout_looks_before": before,
            "interval": interval}  # fmt: skip


def test_what_was_paid_and_what_a_factor_cost():
    line = spent_line([call(), call()], [factor(), factor("rejected"), factor("tradable")])
    assert line == "$0.002000 for 2 model calls; $0.001000 a factor not rejected"


def test_what_may_have_been_billed_counts_towards_a_factor():
    line = spent_line([call(), call("unknown", None)], [factor()])
    assert "$0.005000 more possibly billed; $0.006000 a factor" in line
    assert spent_line([call()], [factor("rejected")]) == "$0.001000 for 1 model call"


@pytest.mark.parametrize(
    ("factors", "said"),
    [([], ""), ([factor(looks=0)], ""), ([factor(looks=2), factor(looks=2)], "shown to 2 factors"),
     ([factor(looks=7, before=5)] * 2, "7 factors so far, 5 of them by earlier runs: the hurdle"),
     ([factor(looks=2), factor(looks=2), factor(looks=0)], "so far.")],
)  # fmt: skip
def test_looks_at_the_holdout_are_told_and_whose_they_are(factors, said):
    assert said in looks_line(factors)
    assert bool(looks_line(factors)) is bool(said)
    assert ("earlier runs" in looks_line(factors)) is ("earlier runs" in said)


def test_trials_that_the_library_has_are_counted_once():
    trials = [
        {"reason": "admitted by mine-1", "why_not_finalist": None},
        {"reason": "", "why_not_finalist": "admitted by mine-1 as rank(close)"},
        {"reason": "proposed before in this run", "why_not_finalist": "not among the best"},
    ]
    assert known_line(trials).startswith("2 trials")
    assert known_line(trials[2:]) == ""
