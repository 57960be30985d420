"""The language of universes: canonical texts, and what is said of a slip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.errors import FactorError
from alphamill.market.kinds import Kind
from alphamill.universe.rule import EXAMPLE, MEASURED, STATISTICS, Rule, parse_rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (EXAMPLE, "top:25 by median_30d(quote_volume), listed:90d, quote:USDT, monthly"),
        (
            "monthly,listed : 7d ,quote:BTC, top: 3 by  mean_10d( trades )",
            "top:3 by mean_10d(trades), listed:7d, quote:BTC, monthly",
        ),
        ("top:5 by max_2d(volume)", "top:5 by max_2d(volume), listed:2d, quote:USDT, monthly"),
        (
            "top:5 by min_2d(volume), without:UST+ABC+UST, include:stablecoins + tradfi",
            "top:5 by min_2d(volume), listed:2d, quote:USDT, include:tradfi+stablecoins, "
            "without:ABC+UST, monthly",
        ),
    ],
)
def test_a_rule_has_one_text(text, canonical):
    rule = parse_rule(text)
    assert rule.text == canonical
    assert parse_rule(rule.text) == rule


def test_a_market_has_its_own_quote():
    assert parse_rule("top:5 by mean_2d(volume)", "USD").quote == "USD"
    assert parse_rule("top:5 by mean_2d(volume), quote:USDT", "USD").quote == "USDT"


def test_how_far_a_rule_looks_back():
    assert parse_rule(EXAMPLE).history_days == 455
    assert parse_rule("top:5 by mean_500d(volume), listed:0d").history_days == 500


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "a clause is missing; expected one of top, listed,"),
        ("top:25 by median_30d(quote_volume),", 36, "a clause is missing"),
        ("tops:25 by median_30d(quote_volume)", 1, "no clause 'tops'; .*did you mean top?"),
        ("top:0 by median_30d(quote_volume)", 5, "a whole number, 1 to 2000"),
        ("top:25", 7, "does not say by what"),
        ("top:25 of median_30d(quote_volume)", 8, "does not say by what"),
        ("top:25 by volume", 11, "'volume' is no measure; expected such as median_30d"),
        ("top:25 by medium_30d(volume)", 11, "no statistic 'medium'; .*did you mean median?"),
        ("top:25 by median_30d(quote_vol)", 22, "no measure of .*did you mean quote_volume?"),
        ("top:25 by median_0d(volume)", 18, "a whole number, 1 to 1500"),
        ("top:25 by median_30d(volume), listed:90", 38, "as in listed:90d"),
        ("top:25 by median_30d(volume), listed:9999d", 38, "0 to 1500"),
        ("top:2 by mean_2d(volume), top:3 by mean_2d(volume)", 27, "said twice"),
        ("listed:90d, monthly", 20, "does not say how many; expected as in 'top:25"),
        ("top:25 by mean_3d(volume), monthly:1", 36, "nothing after it"),
        ("top:25 by mean_3d(volume), monthly 1", 36, "'1' does not fit here; expected ':' or ','"),
        ("top:25 by mean_3d(volume), quote:usdt", 34, "'usdt' is no asset; .*did you mean USDT?"),
        ("top:25 by mean_3d(volume), quote:A+B", 36, "names 2 assets"),
        ("top:25 by mean_3d(volume), without:A++B", 38, "'' is no asset"),
        ("top:25 by mean_3d(volume), include:coins", 36, "did you mean stablecoins?"),
    ],
)
def test_a_slip_is_told_where_and_the_cure(text, column, said):
    with pytest.raises(FactorError, match=said.replace("?", r"\?")) as caught:
        parse_rule(text)
    assert caught.value.position + 1 == column


assets = st.text("ABCXYZ1币", min_size=1, max_size=6)


def in_order(kinds):
    return tuple(kind for kind in Kind if kind in kinds)


@given(
    st.builds(
        Rule,
        st.integers(1, 2000),
        st.sampled_from(STATISTICS),
        st.integers(1, 1500),
        st.sampled_from(MEASURED),
        st.integers(0, 1500),
        assets,
        st.sets(st.sampled_from(list(Kind))).map(
            lambda kinds: tuple(k for k in Kind if k in kinds)
        ),
        st.sets(assets, max_size=4).map(lambda names: tuple(sorted(names))),
    )
)
def test_a_text_gives_its_rule_back(rule):
    assert parse_rule(rule.text) == rule
