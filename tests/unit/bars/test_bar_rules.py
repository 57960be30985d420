"""What closes a bar, as text."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.bars import DEFAULT_IMBALANCE, Measure, RuleError, parse_rule


@pytest.mark.parametrize(
    ("text", "measure", "threshold", "imbalance", "spelled"),
    [
        ("15s", Measure.TIME, 15, False, "15s"),
        ("60s", Measure.TIME, 60, False, "1m"),
        ("7m", Measure.TIME, 420, False, "7m"),
        ("4h", Measure.TIME, 14_400, False, "4h"),
        ("24h", Measure.TIME, 86_400, False, "1d"),
        ("0.5m", Measure.TIME, 30, False, "30s"),
        ("1000t", Measure.TRADES, 1000, False, "1000t"),
        ("1e3t", Measure.TRADES, 1000, False, "1000t"),
        (" 500v ", Measure.VOLUME, 500, False, "500v"),
        ("0.50v", Measure.VOLUME, Decimal("0.5"), False, "0.5v"),
        ("1e6$", Measure.QUOTE, 10**6, False, "1e6$"),
        ("1000000$", Measure.QUOTE, 10**6, False, "1e6$"),
        ("2500000$", Measure.QUOTE, 2_500_000, False, "2.5e6$"),
        ("1234567$", Measure.QUOTE, 1_234_567, False, "1234567$"),
        ("200ti", Measure.TRADES, 200, True, "200ti"),
        ("500vi", Measure.VOLUME, 500, True, "500vi"),
        ("1e6$i", Measure.QUOTE, 10**6, True, "1e6$i"),
        ("imbalance", Measure.TRADES, 100, True, DEFAULT_IMBALANCE),
    ],
)
def test_a_rule_has_one_spelling(text, measure, threshold, imbalance, spelled):
    rule = parse_rule(text)
    assert (rule.measure, rule.threshold, rule.imbalance) == (measure, threshold, imbalance)
    assert rule.text == str(rule) == spelled
    assert parse_rule(rule.text) == rule


@pytest.mark.parametrize(
    ("text", "column", "meant"),
    [
        ("15S", 3, "15s"),
        ("1M", 2, "1m"),
        ("15min", 3, "15m"),
        ("1k t", 2, "1000t"),
        ("1_000t", 2, "1000t"),
        ("500 vol", 4, "500v"),
        ("$1e6", 1, "1e6$"),
        ("1e6usdt", 4, "1e6$"),
        ("1m$", 2, None),
        ("100it", 4, "100ti"),
        ("imbalances", 1, "imbalance"),
        ("1000", 5, None),
        ("", 1, None),
        ("fast", 1, None),
        ("-5t", 1, None),
        ("15si", 3, None),
    ],
)
def test_what_is_no_rule_is_told_where_and_what_may_be_meant(text, column, meant):
    with pytest.raises(RuleError) as told:
        parse_rule(text)
    error = told.value
    assert str(error).startswith(f"col {column}: ")
    assert error.suggestion == meant
    assert "1000t" in str(error)  # the spellings
    assert str(type(error)(*error.args)) == str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.5s", "whole number of seconds"),
        ("0m", "whole number of seconds"),
        ("25h", "longer than a day"),
        ("7d", "longer than a day"),
        ("1.5t", "trades are whole"),
        ("0t", "out of range"),
        ("1e19v", "out of range"),
        ("0.000000001v", "more than 8 decimals"),
    ],
)
def test_a_threshold_that_no_bar_can_have_is_refused(text, said):
    with pytest.raises(RuleError, match=said):
        parse_rule(text)


@given(
    st.decimals(min_value="0.00000001", max_value=10**18, places=8),
    st.sampled_from(["v", "$", "vi", "$i"]),
)
def test_the_text_keeps_the_threshold(number, unit):
    rule = parse_rule(f"{number:f}{unit}")
    assert rule.threshold == number
    assert parse_rule(rule.text) == rule
    assert "/" not in rule.text
    assert not rule.text.startswith(".")
