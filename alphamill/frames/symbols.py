"""How symbols are spelled, and so what may be a path segment and part of a URL."""

from __future__ import annotations

import re
import unicodedata

_ASCII_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_]{1,29}")
SYMBOL_SPELLING = "2 to 30 upper-case letters and numbers of any script, and _"
_SYMBOL_CHARS = range(2, 31)  # at most 120 bytes of UTF-8; the longest seen has 17 characters
# Letters with a case, without one and modifiers (the long vowel of kana); numbers.
_LETTERS_AND_NUMBERS = frozenset({"Lu", "Ll", "Lo", "Lm", "Nd", "Nl"})
_INVISIBLE = frozenset("\u115f\u1160")  # letters by category: fillers of Hangul


def is_letter_or_number(char: str) -> bool:
    """Whether one character of any script is a letter or a number that can be seen.

    An allow-list of Unicode categories: no mark, space, control, direction override, surrogate,
    punctuation or character that has not been assigned.
    """
    return unicodedata.category(char) in _LETTERS_AND_NUMBERS and char not in _INVISIBLE


def is_symbol(text: str) -> bool:
    """Whether `text` may be a symbol, and so a path segment and part of a URL.

    2 to 30 letters and numbers of any script, and underscores but for the first, as BTCUSDT and
    币安人生USDT. One spelling each: upper case where the script has case, so that the lower case
    of a stream's name leads back and no file system takes two for one, and Unicode's NFKC, so that
    none looks like another by width or composition.
    """
    if text.isascii():
        return _ASCII_SYMBOL.fullmatch(text) is not None
    return (
        len(text) in _SYMBOL_CHARS
        and not text.startswith("_")
        and all(char == "_" or is_letter_or_number(char) for char in text)
        and text.lower().upper() == text
        and unicodedata.is_normalized("NFKC", text)
    )


def symbol_meant(text: str) -> str | None:
    """The symbol that differs from `text` in case, width, composition or separators alone."""
    meant = unicodedata.normalize("NFKC", text).upper()
    meant = meant.replace("/", "").replace("-", "").strip()
    return meant if is_symbol(meant) else None
