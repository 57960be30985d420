"""Reading expressions: what parses, what does not, and what the errors say."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alphamill.factors import (
    MINING_BOUNDS,
    OPERATORS,
    Bounds,
    Factor,
    FactorError,
    check,
    compute,
    manual,
    parse,
)
from alphamill.factors.canonical import canonical
from alphamill.factors.factor import factor_of
from alphamill.factors.operators import SPELLINGS
from alphamill.factors.syntax import Call, Field, Group, Number, has_field, walk
from alphamill.language import read_given

ROOMY = Bounds(max_chars=100_000, max_depth=60, max_nodes=5_000, max_lookback_bars=10**6)


def test_a_factor_says_what_it_needs():
    factor = parse("rank(ts_mean(close,20)/close) - .5")
    assert factor.text == "rank(ts_mean(close, 20) / close) - 0.5" == str(factor)
    assert (factor.lookback_bars, factor.fields, factor.unit) == (19, ("close",), "ratio")
    assert len(factor.hash) == 16
    derived = parse("delay(adv20, 3) * returns / vwap")
    assert derived.lookback_bars == 22
    assert derived.fields == ("adv20", "returns", "vwap")
    assert derived.columns == ("close", "high", "low", "quote_volume", "volume")
    assert parse("ts_autocorr(returns, 20, 2)").lookback_bars == 19 + 2 + 1
    assert parse("close / ema(close, 9)").lookback_bars == 42 - 1  # 0.8 ** 42 < 1e-4 < 0.8 ** 41
    assert parse("rma(close, 1) + sma_cn(close, 8, 8)").lookback_bars == 8 - 1
    assert parse("rma(close, 5000)").lookback_bars == 5000 - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rank(close) - ts_mean(close)",
            "col 15: ts_mean needs (x, bars), as in close / ts_mean(close, 20); 1 argument given",
        ),
        (
            "delay(close, -1)",
            "col 14: delay by -1 bars would look ahead; "
            "expected a whole number, 1 to 5000; did you mean 1?",
        ),
        (
            "ts_mean(close, 20.5)",
            "col 16: ts_mean cannot have 20.5 bars; "
            "expected a whole number, 1 to 5000; did you mean 20?",
        ),
        (
            "ts_mean(close, 0)",
            "col 16: ts_mean cannot have 0 bars; "
            "expected a whole number, 1 to 5000; did you mean 1?",
        ),
        (
            "ts_std(close, 1)",
            "col 15: ts_std cannot have 1 bars; "
            "expected a whole number, 2 to 5000; did you mean 2?",
        ),
        (
            "ts_mean(close, open)",
            "col 16: bars of ts_mean must be written as a number; "
            "expected a whole number, 1 to 5000",
        ),
        (
            "delay(close, 1 - 2)",
            "col 14: bars of delay must be written as a number; expected a whole number, 1 to 5000",
        ),
        ("ts_maen(close, 2)", "col 1: unknown operator 'ts_maen'; did you mean ts_mean?"),
        ("rank(closse)", "col 6: unknown field 'closse'; did you mean close?"),
        ("rank", "col 1: rank is an operator; expected rank(x)"),
        (
            "close(open)",
            "col 1: close is a field, not an operator; expected close without brackets",
        ),
        ("1 + 2", "col 1: a factor needs at least one field; expected a field such as close"),
        (
            "ts_mean(5, 10) + close",
            "col 1: ts_mean of a constant says nothing; expected a field such as close in x",
        ),
        ("", "col 1: the expression is empty; expected one such as close / open"),
        (
            "close +",
            "col 8: the expression ends too early; "
            "expected a field, a number, an operator's name or '('",
        ),
        ("(close", "col 7: the expression ends too early; expected ')'"),
        ("close close", "col 7: 'close' does not fit here; expected an operator or the end"),
        (
            "rank(close, )",
            "col 13: ')' does not fit here; expected a field, a number, an operator's name or '('",
        ),
        (
            "close < open < high",
            "col 14: comparisons do not chain; expected 'and' between two comparisons",
        ),
        ("close ? open", "col 13: the expression ends too early; expected ':'"),
        (
            "close; open",
            "col 6: ';' is not part of the language; "
            "expected ',' between arguments, nothing at the end",
        ),
        (
            "cl\u043ese",
            "col 3: '\\u043e' is not part of the language; "
            "expected a name, a number, an operator or a bracket",
        ),
        (
            "__import__('os')",
            'col 12: "\'" is not part of the language; expected names without quotes',
        ),
        (
            "close.__class__",
            "col 1: unknown field 'close.__class__'; expected open, high, low, close, volume, "
            "quote_volume, trades, taker_buy_base, taker_buy_quote, vwap, returns, adv20 or an "
            "indicator",
        ),
        ("close / 0", "col 1: close / 0 is not a number"),
        ("close + 1 / 0", "col 1: 1 / 0 is not a finite number"),
        ("close + 1e999", "col 9: inf is too large; expected at most 1e+12"),
        (
            "clip(close, open, 3)",
            "col 13: low of clip must be written as a number; expected a number",
        ),
        ("ts_quantile(close, 9, 1.5)", "col 23: ts_quantile: q is 1.5; expected 0 to 1"),
        (
            "group_rank(close, 5)",
            "col 19: '5' does not fit here; expected the name of a group table",
        ),
    ],
)
def test_errors_speak(text, message):
    with pytest.raises(FactorError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_bounds_hold_before_anything_is_computed():
    for text in (
        "(" * 500 + "close" + ")" * 500,
        "-" * 900 + "close",
        "close" + "^close" * 300,
        "close" + "+close" * 300,
        "ts_mean(close, 5001)",
        "x" * 3000,
        "adv9999",
        "ts_mean(ts_mean(ts_mean(close, 5000), 5000), 5000)",
    ):
        with pytest.raises(FactorError):
            parse(text)
    deep = "abs(" * 12 + "close" + ")" * 12
    assert parse(deep)
    with pytest.raises(FactorError, match="13 levels deep; at most 12"):
        parse(deep, bounds=MINING_BOUNDS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("close + open", "open + close"),
        ("ts_corr(close, open, 5)", "ts_corr(open, close, 5)"),
        ("close > open", "open < close"),
        ("delay(delay(close, 2), 3)", "delay(close, 5)"),
        ("- -close", "close"),
        ("-1 * close", "-close"),
        ("close * (2 * 3)", "6 * close"),
        ("close * 2 * 3", "6 * close"),
        ("2 * (close * 0.1)", "close * 0.2"),
        ("close * -4 * 0.5", "-(2 * close)"),
        ("2 * close * volume", "close * (volume * 2)"),
        ("2 * close * volume * 3", "close * volume * 6"),
        ("close - -1", "close + 1"),
        ("-(close - open)", "open - close"),
        ("0 - close", "-close"),
        ("close - delay(close, 3)", "delta(close, 3)"),
        ("scale(close, 1)", "scale(close)"),
        ("wma(close, 5)", "decay_linear(close, 5)"),
        ("ts_stddev(close, 5)", "ts_std(close, 5)"),
        ("close > open ? high : low", "where(open < close, high, low)"),
        ("close ** 2", "square(close)"),
        ("inv(close)", "1 / close"),
        ("close && !open", "(close) and (not open)"),
        ("group_neutralize(close, sector)", "group_demean(close, sector)"),
        ("close / -2", "-(close / 2)"),
    ],
)
def test_the_same_meaning_has_one_hash(one, other):
    assert parse(one).hash == parse(other).hash
    assert parse(one).text == parse(other).text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("close - open", "open - close"),
        ("close ^ open", "open ^ close"),
        ("-close ^ 2", "(-close) ^ 2"),
        ("close - (open - high)", "close - open - high"),
        ("not close < open", "(not close) < open"),
        ("ts_mean(close, 5)", "ts_mean(close, 6)"),
        ("close * 3 * 5", "close * 15"),  # twice rounded, and once
        ("close * 0.1 * 10", "close"),
        ("ts_beta(close, open, 5)", "ts_beta(open, close, 5)"),
    ],
)
def test_different_meanings_have_different_hashes(one, other):
    assert parse(one).hash != parse(other).hash


def test_fields_are_those_of_the_command_line_unless_others_are_named():
    factor = parse("rank(rsi_14) - rank(close / ma_20)")
    assert factor.hash == read_given(factor.text).hash
    assert (factor.fields, check(factor)) == (("close", "ma_20", "rsi_14"), [])
    assert parse("close / ma_20").unit == "ratio"
    panel = {"rsi_14": np.array([[30.0, 70.0, 50.0]])}
    assert compute(parse("rank(rsi_14)"), panel).tolist() == [[1 / 3, 1.0, 2 / 3]]
    with pytest.raises(FactorError, match=r"rsi_15.*rsi_14"):
        parse("rank(rsi_15)")


def test_extra_fields_and_their_units():
    with pytest.raises(FactorError, match="unknown field 'rsi_14'"):
        parse("rank(rsi_14)", fields=())
    assert parse("rank(rsi_14)", fields=["rsi_14"]).fields == ("rsi_14",)
    assert check(parse("rank(sma_20)", fields=["sma_20"])) == []  # on trust
    assert parse("close / sma_20", fields={"sma_20": "price"}).unit == "ratio"
    assert check(parse("rank(sma_20)", fields={"sma_20": "price"}))


def test_qlib_expressions():
    factor = parse("Ref($close, 5)/$close + Greater(Mean($open, 3), $open)/$close", dialect="qlib")
    assert factor.hash == parse("delay(close,5)/close + max(ts_mean(open,3),open)/close").hash
    with pytest.raises(FactorError, match="look ahead"):
        parse("Ref($close, -5)/$close", dialect="qlib")
    with pytest.raises(FactorError, match="unknown dialect 'qlob'"):
        parse("close", dialect="qlob")


def test_all_101_formulas_parse_print_and_compute(formulas, make_market, groups):
    panel = make_market(n_bars=300)
    assert len(formulas) == 101
    silent = []
    for number, text in formulas.items():
        factor = parse(text, dialect="alpha101")
        assert parse(factor.text, fields=["cap"]).hash == factor.hash
        values = compute(factor, panel, groups)
        assert values.shape == (300, 12)
        if not (abs(values[factor.lookback_bars :]) < 1e300).any():
            silent.append(number)
    assert silent == [96]  # 12 bars of unbroken 3-bar correlations of coarse ranks hardly happen


def test_traps_of_the_101(formulas):
    def text(number):
        return parse(formulas[number], dialect="alpha101").text

    assert "ts_min(ts_product(" in text(29)  # a literal second argument: a window
    assert text(71).startswith("max(ts_rank(")  # two series: the larger
    assert "ts_corr(group_demean(vwap, sector), volume, 3)" in text(58)  # 3.92795 days


def test_every_operator_has_an_example_that_is_clean_and_a_line_in_the_manual():
    lines = manual().splitlines()
    for operator in OPERATORS.values():
        assert check(parse(operator.example)) == [], operator.example
        assert sum(operator.example in line for line in lines) >= 1
        head = operator.symbol or f"  {operator.name}("
        assert any(head in line for line in lines), operator.name
        for alias in operator.aliases:
            assert SPELLINGS[alias] == operator.name
    aliases = [a for o in OPERATORS.values() for a in o.aliases]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(OPERATORS)


def test_parsing_loads_no_compiler():
    code = (
        "import sys, alphamill.factors as f; f.check(f.parse('rank(returns)'));"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def trees(max_leaves=12):
    numbers = st.one_of(st.integers(-50, 50).map(float), st.floats(-1e3, 1e3)).filter(
        lambda v: v == 0 or abs(v) > 1e-9
    )
    leaves = st.one_of(
        st.sampled_from(["close", "volume", "adv20", "returns", "vwap"]).map(Field),
        numbers.map(Number),
    )

    def grow(children):
        def call(operator):
            args = []
            for param in operator.params:
                if param.kind == "bars":
                    args.append(
                        st.integers(max(2, int(param.low)), 30).map(lambda v: Number(float(v)))
                    )
                elif param.kind == "number":
                    args.append(st.floats(max(param.low, -9.0), min(param.high, 9.0)).map(Number))
                elif param.kind == "group":
                    args.append(st.just(Group("sector")))
                else:
                    args.append(children)
            return st.tuples(*args).map(lambda a: Call(operator.name, a))

        return st.sampled_from(list(OPERATORS.values())).flatmap(call)

    return st.recursive(leaves, grow, max_leaves=max_leaves)


def sound(node):
    """Whether the parser would take it: no window over a constant, fields somewhere."""
    if not isinstance(node, Call):
        return True
    operator = OPERATORS[node.name]
    series = [a for p, a in zip(operator.params, node.args, strict=False) if p.kind == "series"]
    if operator.family.name != "BAR" and not all(has_field(a) for a in series):
        return False
    return all(sound(arg) for arg in node.args)


@settings(max_examples=250, deadline=None)
@given(trees())
def test_print_parse_print_is_stable(tree):
    assume(sound(tree) and has_field(tree))
    try:
        settled = canonical(tree)
    except FactorError:
        return  # constants that divide by zero
    assume(has_field(settled))
    assert canonical(settled) == settled
    sizes = [abs(node.value) for node in walk(settled) if isinstance(node, Number)]
    assume(all(size == 0 or 1e-12 <= size <= 1e12 for size in sizes))
    factor = factor_of(settled, bounds=ROOMY)
    again = parse(factor.text, bounds=ROOMY)
    assert again.text == factor.text
    assert again.tree == factor.tree
    assert again.hash == factor.hash


PIECES = [
    *OPERATORS,
    "close",
    "volume",
    "adv20",
    "returns",
    "sector",
    "(",
    ")",
    ",",
    " ",
    "+",
    "-",
    "*",
    "/",
    "^",
    "<",
    "<=",
    "==",
    "?",
    ":",
    "and",
    "or",
    "not",
    "1",
    "20",
    "0.5",
    "-1",
    "1e9",
    ".",
    "é",
    "\x00",
    "__class__",
    "'",
    "lambda",
    "0x1",
    "1_000",
    "$close",
    "&",
    "|",
    "!",
]


@settings(max_examples=2000, deadline=None)
@given(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)),
    st.sampled_from(["", "alpha101", "qlib"]),
)
def test_any_text_parses_or_says_why(text, dialect):
    found = outcome(text, dialect)
    if isinstance(found, Factor):
        assert parse(found.text, fields=list(found.units)).hash == found.hash
    else:
        assert 0 <= found.position <= max(len(text), 1)
        assert str(type(found)(*found.args)) == str(found)


def outcome(text, dialect):
    try:
        return parse(text, dialect=dialect)
    except FactorError as error:
        return error
