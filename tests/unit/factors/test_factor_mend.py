from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.errors import FactorError
from alphamill.factors import parse
from alphamill.factors.mend import mend


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rank(close)", "rank(close)"),
        ("rank(ts_mean(close, 20)", "rank(ts_mean(close, 20))"),
        ("rank(close))", "rank(close)"),
        ("ts_mean(close, 20.0)", "ts_mean(close, 20)"),
        ("ts_mean(close, 20.) - 0.5", "ts_mean(close, 20) - 0.5"),
        ("alpha_1 = rank(close)", "rank(close)"),
        ("`rank(close)`;", "rank(close)"),
        ("close − open", "close - open"),
        ("ts_meen(close, 20)", "ts_mean(close, 20)"),
        ("（close－open）／open", "(close - open) / open"),
        ("ｒａｎｋ（ｔｓ_ｍｅａｎ（ｃｌｏｓｅ，２０））", "rank(ts_mean(close, 20))"),
        ("－rank（close）＋２．５＊open", "-rank(close) + 2.5 * open"),
        ("ts_mean（close、20）", "ts_mean(close, 20)"),
        ("factor＝rank（close）", "rank(close)"),
        ("「close」\u3000", "close"),
        ("if_else（close ≥ open，1，－1）", "if_else(close >= open, 1, -1)"),
        ("close ‐ open", "close - open"),
        ("factor = ts_meen(clsoe, 20.0", "ts_mean(close, 20)"),
    ],
)
def test_slips_are_mended(written: str, meant: str) -> None:
    mended = mend(written, parse)
    assert mended.error is None
    assert parse(mended.text).hash == parse(meant).hash


@pytest.mark.parametrize(
    ("written", "bar_ms", "meant"),
    [
        ("ts_mean(returns, 1d)", 3_600_000, "ts_mean(returns, 24)"),
        (
            "rank(ts_mean(returns, 4h) - ts_mean(returns, 2d)",
            3_600_000,
            "rank(ts_mean(returns, 4) - ts_mean(returns, 48))",
        ),
        ("ts_mean(returns, 30min)", 300_000, "ts_mean(returns, 6)"),
        ("ts_mean(returns, 1w)", 86_400_000, "ts_mean(returns, 7)"),
        ("ts_mean(returns, 90m)", 3_600_000, None),
        ("ts_mean(returns, 30m)", 3_600_000, None),
        ("ts_mean(returns, 1d)", None, None),
    ],
)
def test_a_window_in_time_is_a_window_in_bars_where_it_is_whole(
    written: str, bar_ms: int | None, meant: str | None
) -> None:
    mended = mend(written, parse, bar_ms)
    assert (mended.error is None) == (meant is not None)
    assert mended.text == written if meant is None else parse(mended.text).hash == parse(meant).hash


@pytest.mark.parametrize(
    "written",
    [
        *["", "delay(close, -1)", "ts_mean(close, 2.5)", "__import__('os')", "close +"],
        # Signs that could be read in two ways.
        *["close² - open", "close⁻¹", "close —— open", "close －－ open", "close - －open"],
        *["close — open", "\u00adclose", "\ufffdclose", "close % open", "－ －close"],
    ],
)
def test_what_is_no_slip_stays_as_it_was_with_the_parsers_word(written: str) -> None:
    mended = mend(written, parse)
    assert mended.text == written
    assert isinstance(mended.error, FactorError)


def test_a_parser_that_refuses_everything_is_asked_a_few_times_only() -> None:
    asked = []

    def refuse(text: str) -> None:
        asked.append(text)
        raise FactorError("no", 0, "", "name")

    assert mend("((x = a.0", refuse).error is not None
    assert len(asked) <= 7


FIELDS = st.sampled_from(["close", "open", "volume", "returns", "0.5", "2", "-1"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sums = st.tuples(inner, st.sampled_from([" + ", " - ", " * ", " / ", "-", "*"]), inner)
    return st.one_of(
        sums.map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"-rank({text})"),
        inner.map(lambda text: f"ts_mean({text}, 20)"),
        inner.map(lambda text: f"-{text}"),
    )


WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
SLIPS = st.sampled_from(
    [
        lambda text: text.translate(WIDE),
        lambda text: text.replace("-", "−"),
        lambda text: text.replace("-", "–").replace("*", "×").replace("/", "÷"),
        lambda text: f"“{text}”",
        lambda text: f"alpha = {text};",
        lambda text: f"`{text}`",
        lambda text: f"{text})",
        lambda text: text.removesuffix(")"),
        lambda text: text.replace(", 20)", ", 20.0)"),
        lambda text: text.replace("-", "—"),
        lambda text: text.replace("-", "\u00ad"),
        lambda text: text.replace("(", "（").replace(")", "）"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(text=st.recursive(FIELDS, _larger, max_leaves=5), slips=st.lists(SLIPS, max_size=3))
def test_mending_never_turns_a_sign_or_cuts_a_formula(
    text: str, slips: list[Callable[[str], str]]
) -> None:
    written = text
    for slip in slips:
        written = slip(written)
    mended = mend(written, parse)
    if mended.error is None:
        assert parse(mended.text).hash == parse(text).hash
    else:
        assert mended.text == written
