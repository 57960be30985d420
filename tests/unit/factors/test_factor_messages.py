"""What people type, and what they are told: each message must say what to write instead."""

from __future__ import annotations

import pytest

from alphamill.factors import FactorError, parse

FIELDS = {"rsi_6": "ratio", "rsi_14": "ratio", "bb_width": "ratio", "price_volume_corr_20": "ratio"}
TABLES = ("sector", "beta_bucket")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ts_mean(close)",
            "col 1: ts_mean needs (x, bars), as in close / ts_mean(close, 20); 1 argument given",
        ),
        (
            "corr(close, volume)",
            "col 1: corr needs (x, y, bars), as in ts_corr(returns, volume, 20); 2 arguments given",
        ),
        (
            "rank(close, 20)",
            "col 1: rank needs (x), as in rank(returns); 2 arguments given; "
            "did you mean ts_rank(x, bars)?",
        ),
        (
            "ts_mean(20, close)",
            "col 13: bars of ts_mean must be written as a number; "
            "expected a whole number, 1 to 5000",
        ),
        (
            "ts_mean(close, -20)",
            "col 16: ts_mean cannot have -20 bars; "
            "expected a whole number, 1 to 5000; did you mean 20?",
        ),
        (
            "ts_mean(close, 4h)",
            "col 16: '4h' is not a number; expected digits alone; windows are counted in bars",
        ),
        (
            "ts_mean(close, window=20)",
            "col 22: '=' is not part of the language; "
            "expected '==' to compare; arguments go by place, not by name",
        ),
        (
            "rsi(close, 14)",
            "col 1: 'rsi' is no operator; indicators are fields; expected rsi_6 or rsi_14",
        ),
        ("rank(rsi_20)", "col 6: unknown field 'rsi_20'; expected rsi_6 or rsi_14"),
        ("rank(RSI14)", "col 6: unknown field 'RSI14'; did you mean rsi_14?"),
        (
            "bb_width(20)",
            "col 1: bb_width is a field, not an operator; expected bb_width without brackets",
        ),
        (
            "rank(price)",
            "col 6: unknown field 'price'; expected open, high, low, close, volume, quote_volume, "
            "trades, taker_buy_base, taker_buy_quote, vwap, returns, adv20 or an indicator",
        ),
        ("adv(20)", "col 1: adv is no operator; expected the bars in its name: adv20"),
        (
            "close[1]",
            "col 6: '[' is not part of the language; expected delay(x, bars) for an earlier bar",
        ),
        (
            "close.shift(1)",
            "col 1: 'close.shift' is not part of the language, "
            "which has no methods; did you mean delay(x, bars)?",
        ),
        (
            "np.log(close)",
            "col 1: 'np.log' is not part of the language, which has no methods; "
            "did you mean log(x)?",
        ),
        (
            "close \N{MULTIPLICATION SIGN} open",
            "col 7: '\\xd7' is not part of the language; expected '*'",
        ),
        ("forward_return(5)", "col 1: forward_return looks ahead, which this language cannot say"),
        (
            "rank(returns, sector)",
            "col 15: 'sector' is a group, not a field; did you mean group_rank(x, group)?",
        ),
        (
            "group_rank(returns, rank(close))",
            "col 21: there is no group table 'rank'; expected sector or beta_bucket",
        ),
        (
            "group_rank(returns, sector(close))",
            "col 21: the group of group_rank is a table's name, not an expression",
        ),
        (
            "group_rank(returns, banana)",
            "col 21: there is no group table 'banana'; expected sector or beta_bucket",
        ),
        (
            "group_rank(returns, sectors)",
            "col 21: there is no group table 'sectors'; "
            "expected sector or beta_bucket; did you mean sector?",
        ),
        (
            "crossover(close, open)",
            "col 1: unknown operator 'crossover'; expected an operator of the manual",
        ),
    ],
)
def test_a_message_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(FactorError) as caught:
        parse(text, fields=FIELDS, groups=TABLES)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("close <> open", "close != open"),
        ("TS_MEAN(close, 5)", "ts_mean(close, 5)"),
        ("group_rank(returns, beta_bucket)", "group_rank(returns, beta_bucket)"),
    ],
)
def test_what_can_mean_one_thing_only_is_taken(text: str, meant: str) -> None:
    assert parse(text, fields=FIELDS, groups=TABLES).text == meant


def test_without_tables_no_group_will_do_and_without_a_list_any_will() -> None:
    with pytest.raises(FactorError, match="no group table 'sector'; expected no operator over"):
        parse("group_rank(returns, sector)", groups=())
    assert parse("group_rank(returns, banana)").text == "group_rank(returns, banana)"
