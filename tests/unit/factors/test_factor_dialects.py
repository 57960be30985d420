"""Other spellings: taken where they mean one thing, refused with what to write otherwise."""

import numpy as np
import pytest

from alphamill.factors import DIFFERENCES, OPERATORS, FactorError, compute, dialect_table, parse
from alphamill.factors.dialects import DIALECTS
from alphamill.factors.spellings import LOOSE, refusal

# Every operator of qlib's OpsList that has a meaning here, with ours.
QLIB = {
    "Ref($close, 3)": "delay(close, 3)",
    "Max($close, 3)": "ts_max(close, 3)",
    "Min($close, 3)": "ts_min(close, 3)",
    "Sum($close, 3)": "ts_sum(close, 3)",
    "Mean($close, 3)": "ts_mean(close, 3)",
    "Std($close, 3)": "ts_std(close, 3)",
    "Var($close, 3)": "ts_var(close, 3)",
    "Skew($close, 5)": "ts_skew(close, 5)",
    "Kurt($close, 5)": "ts_kurt(close, 5)",
    "Med($close, 3)": "ts_median(close, 3)",
    "Mad($close, 3)": "ts_mad(close, 3)",
    "Slope($close, 3)": "ts_slope(close, 3)",
    "Rsquare($close, 3)": "ts_rsquare(close, 3)",
    "Resi($close, 3)": "ts_resid(close, 3)",
    "Rank($close, 3)": "ts_rank(close, 3)",
    "Quantile($close, 5, 0.8)": "ts_quantile(close, 5, 0.8)",
    "EMA($close, 3)": "ema(close, 3)",
    "WMA($close, 3)": "decay_linear(close, 3)",
    "Corr($close, $open, 5)": "ts_corr(close, open, 5)",
    "Cov($close, $open, 5)": "ts_cov(close, open, 5)",
    "Delta($close, 3)": "delta(close, 3)",
    "Abs($close)": "abs(close)",
    "Sign($close)": "sign(close)",
    "Log($close)": "log(close)",
    "Power($close, 2)": "close ^ 2",
    "Add($close, $open)": "close + open",
    "Sub($close, $open)": "close - open",
    "Mul($close, $open)": "close * open",
    "Div($close, $open)": "close / open",
    "Greater($close, $open)": "max(close, open)",
    "Less($close, $open)": "min(close, open)",
    "And($close, $open)": "close and open",
    "Or($close, $open)": "close or open",
    "Not($close)": "not close",
    "Gt($close, $open)": "close > open",
    "Ge($close, $open)": "close >= open",
    "Lt($close, $open)": "close < open",
    "Le($close, $open)": "close <= open",
    "Eq($close, $open)": "close == open",
    "Ne($close, $open)": "close != open",
    "IdxMax($close, 9)": "9 - ts_argmax(close, 9)",
    "IdxMin($close, 9)": "9 - ts_argmin(close, 9)",
    "If($close > $open, $close, 1)": "close > open ? close : 1",
    "($close-Ref($close,1))/Ref($close,1)": "delta(close, 1) / delay(close, 1)",
}


@pytest.mark.parametrize(("text", "ours"), QLIB.items())
def test_qlib_means_ours(text, ours):
    assert parse(text, dialect="qlib").hash == parse(ours).hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ref($close, -1)/$close - 1", "col 13: delay by -1 bars would look ahead"),
        ("Delta($close, -2)", "col 15: delta by -2 bars would look ahead"),
        ("Ref($close, 0)", "delay cannot have 0 bars"),
        ("EMA($close, 0.1)", "ema cannot have 0.1 bars"),
        ("Count($close, 5)", r"Count counts the bars .* did you mean ts_count\(cond, bars\)"),
        ("Mask($close, $open)", "Mask takes another instrument's series"),
        ("ChangeInstrument($close, 5)", "needs another symbol's series"),
        ("P($close)", "point-in-time"),
        ("PRef($close, 3)", "point-in-time"),
        ("TResample($close, 5)", "changes the bars' length"),
    ],
)
def test_qlib_without_our_meaning_is_refused_with_a_reason(text, message):
    with pytest.raises(FactorError, match=message):
        parse(text, dialect="qlib")


def test_the_place_of_the_maximum_counts_from_the_oldest_bar_in_qlib():
    close = np.array([3.0, 9.0, 5.0, 1.0])[:, None]
    assert compute(parse("IdxMax($close, 4)", dialect="qlib"), {"close": close})[-1, 0] == 2


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("TS_MEAN(close, 3)", "ts_mean(close, 3)"),
        ("TsStd(close, 3)", "ts_std(close, 3)"),
        ("Mean(close, 3)", "ts_mean(close, 3)"),
        ("Ref(close, 3)", "delay(close, 3)"),
        ("CSRank(returns)", "rank(returns)"),
        ("CsZScore(returns)", "zscore(returns)"),
        ("RANK(returns)", "rank(returns)"),
        ("DECAYLINEAR(returns, 5)", "decay_linear(returns, 5)"),
        ("TS_PCTCHANGE(close, 5)", "pct_change(close, 5)"),
        ("SignedPower(returns, 2)", "signed_power(returns, 2)"),
        ("SMA(close, 5)", "ts_mean(close, 5)"),
        ("COUNT_IF(returns > 0, 5)", "ts_count(returns > 0, 5)"),
        ("ts_ir(close, 9)", "ts_mean(close, 9) / ts_std(close, 9)"),
        ("ts_av_diff(close, 9)", "close - ts_mean(close, 9)"),
        ("ts_min_max_diff(close, 9)", "ts_max(close, 9) - ts_min(close, 9)"),
        ("sma_cn(close, 9, 1)", "rma(close, 9)"),
    ],
)
def test_other_miners_spellings(text, ours):
    assert parse(text).hash == parse(ours).hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Greater(close, open)", r"in others; did you mean max\(x, y\) or x > y\?"),
        ("Less(close, open)", r"did you mean min\(x, y\) or x < y\?"),
        ("Max(close, 20)", r"did you mean ts_max\(x, bars\) or max\(x, y\)\?"),
        ("MAD(close, 20)", r"did you mean ts_mad\(x, bars\) or ts_medad\(x, bars\)\?"),
        ("HIGHDAY(close, 20)", "counts this bar as 1"),
        ("SUMIF(close, 20, open)", r"did you mean ts_sum_if\(x, cond, bars\)"),
        ("MEAN(returns)", r"MEAN needs \(x, bars\), .* did you mean cs_mean\(x\)\?"),
        ("STD(returns)", r"did you mean cs_std\(x\)\?"),
        ("Rank(close, 20)", r"did you mean ts_rank\(x, bars\)\?"),
        ("SMA(close, 20, 2)", r"did you mean sma_cn\(x, bars, weight\)\?"),
        ("cumsum(close)", r"no bound on its window; did you mean ts_sum\(x, bars\)\?"),
        ("Lead(close, 2)", "looks ahead"),
        ("sma_cn(close, 3, 4)", "weight must not be above bars"),
    ],
)
def test_names_with_two_meanings_are_refused_with_what_to_write(text, message):
    with pytest.raises(FactorError, match=message):
        parse(text)


def test_a_loose_name_is_one_operator_and_no_operator_s_own_name_is_refused():
    assert set(LOOSE.values()) <= set(OPERATORS)
    refused = {name for name in OPERATORS if refusal(name)}
    assert refused == {"max", "min"}  # exact spellings come first
    assert parse("max(close, open)").text == "max(close, open)"


def test_the_table_of_differences_is_whole_and_names_what_exists():
    table = dialect_table()
    assert {name for name in DIALECTS if name} <= set(table.replace(",", " ").split())
    for row in DIFFERENCES:
        assert all((row.point, row.ours, row.alpha101, row.qlib))
        assert row.point in table
