"""What a symbol may be called: any script's letters, and nothing that a path or a screen obeys."""

import string
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import is_symbol, symbol_meant
from alphamill.lake.layout import checked_key

ACCEPTED = [
    *(
        "BTCUSDT",
        "1INCHUSDT",
        "BTCUSD_PERP",
        "BTCUSDT_261225",
        "U2",
        "币安人生USDT",
        "这是测试币456",
    ),
    *("ドージUSDT", "〇USDT", "비트코인USDT", "ÉUSDT", "ΣΑΣUSDT", "Ж9", "עבריתUSDT"),
]

REFUSED = {
    "empty": "",
    "one character": "A",
    "lower case": "btcusdt",
    "lower case of another script": "éUSDT",
    "title case": "\u01c5USDT",
    "no one upper case": "\u1e9eUSDT",  # to lower case and back it is SS
    "an upper case twice": "\u03f4USDT",  # on a disk that ignores case it is theta
    "a dot above": "\u0130USDT",
    "decomposed": "E\u0301USDT",
    "full width": "\uff22\uff34\uff23USDT",
    "a sign of Kelvin": "\u212aUSDT",
    "a superscript": "BTC\u00b2USDT",
    "a ligature of 18 letters": "\ufdfaUSDT",
    "an unseen letter": "\u115fUSDT",
    "an unseen letter of half width": "\uffa0USDT",
    "zero width": "BTC\u200bUSDT",
    "direction override": "BTC\u202eTDSU",
    "isolate": "\u2066BTCUSDT\u2069",
    "variation selector": "币\ufe0fUSDT",
    "not assigned": "\u0378USDT",
    "private": "\ue000USDT",
    "surrogate": "\udc80USDT",
    "emoji": "\U0001f680USDT",
    "parent": "../etc",
    "dots": "..",
    "slash": "币/USDT",
    "full-width slash": "币\uff0fUSDT",
    "division slash": "币\u2215USDT",
    "backslash": "币\\USDT",
    "equals": "币=USDT",
    "full-width equals": "币\uff1dUSDT",
    "space": "币 USDT",
    "ideographic space": "币\u3000USDT",
    "no-break space": "币\u00a0USDT",
    "end of line": "币USDT\n",
    "nul": "币\x00USDT",
    "escape": "币\x1b[2JUSDT",
    "underscore first": "_币USDT",
    "hyphen": "币-USDT",
    "percent": "币%2fUSDT",
    "31 characters": "币" * 31,
}


@pytest.mark.parametrize("symbol", ACCEPTED)
def test_names_of_every_script(symbol):
    assert is_symbol(symbol)
    assert checked_key(f"klines/symbol={symbol}") == f"klines/symbol={symbol}"


@pytest.mark.parametrize("symbol", REFUSED.values(), ids=REFUSED)
def test_what_no_symbol_is_made_of(symbol):
    assert not is_symbol(symbol)


@given(st.text(st.one_of(st.sampled_from("A币ドé_9./=\0 "), st.characters()), max_size=32))
def test_every_symbol_is_one_plain_segment(text):
    if not is_symbol(text):
        return
    assert checked_key(f"symbol={text}") == f"symbol={text}"
    assert checked_key(f"{text}-1m-2024-01-31.parquet")
    assert text.lower().upper() == text == unicodedata.normalize("NFKC", text)
    assert not set(text) & set(string.punctuation.replace("_", "") + string.whitespace)
    assert text.isprintable()
    assert len(text.encode()) <= 120


def test_no_two_are_one_where_case_and_composition_do_not_count():
    """Every character that may stand in a symbol, as the most forgiving file system sees it."""
    seen = {}
    for char in filter(str.isalnum, map(chr, range(sys.maxunicode + 1))):
        if is_symbol(f"A{char}"):
            folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", char).casefold())
            assert seen.setdefault(folded, char) == char
    assert len(seen) > 100_000


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("btc/usdt", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        ("\uff22\uff34\uff23USDT", "BTCUSDT"),
        ("币安人生usdt", "币安人生USDT"),
        ("E\u0301USDT", "\u00c9USDT"),
        ("\u202eUSDT", None),
    ],
)
def test_what_was_meant(text, meant):
    assert symbol_meant(text) == meant


@pytest.mark.parametrize(
    "key",
    [
        "币/..",
        "../币",
        "币/",
        "/币",
        "币//币",
        ".币",
        "币 安",
        "币\u202e",
        "币\ud800",
        "symbol=E\u0301USDT",
        "币\n",
        "\u0301币",
        "\u212a",  # Kelvin, which some file systems write as K
        "symbol=\uf900USDT",  # another code for an ideograph
        "币\u115f",
        "币\u00b2",
        "A" * 218,
        "币" * 73,
    ],
)
def test_keys_that_are_none(key):
    with pytest.raises(ValueError, match="not a key of the lake"):
        checked_key(key)


@pytest.mark.parametrize(
    "key", ["A" * 217, "币" * 72 + "A", "runs/run=a/proposals/币安人生USDT.parquet"]
)
def test_keys_that_fit(key):
    assert checked_key(key) == key
