"""Text to tokens. Plain ASCII; anything else is an error with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from alphamill.errors import FactorError


class Kind(Enum):
    """What a token is."""

    NUMBER = auto()
    NAME = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text; `position` is its 0-based column."""

    kind: Kind
    text: str
    position: int

    def __str__(self) -> str:
        return "the end" if self.kind is Kind.END else f"'{self.text}'"


_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>\$?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|<>|&&|\|\||[-+*/^<>?:(),!&|])"
)
_SPELLINGS = {"**": "^", "<>": "!=", "&&": "and", "||": "or", "&": "and", "|": "or", "!": "not"}

_INSTEAD = {
    "=": "'==' to compare; arguments go by place, not by name",
    "[": "delay(x, bars) for an earlier bar",
    "{": "'('",
    "}": "')'",
    "%": "a plain number: 0.02 for 2 percent",
    ";": "',' between arguments, nothing at the end",
    '"': "names without quotes",
    "'": "names without quotes",
    **dict.fromkeys("\u00d7\u00b7\u2217", "'*'"),
    **dict.fromkeys("\u00f7\u2215", "'/'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "'-'"),
    "\u2264": "'<='",
    "\u2265": "'>='",
    "\u2260": "'!='",
}
"""What to write for characters that other languages, or a word processor, have."""


def tokenize(text: str) -> list[Token]:
    """All tokens of `text`, then one END. Raises FactorError at a character that fits nowhere."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise FactorError(
                f"{text[position]!a} is not part of the language",
                position,
                _INSTEAD.get(text[position], "a name, a number, an operator or a bracket"),
            )
        piece, kind = match.group(), match.lastgroup
        if kind == "number":
            if match.end() < len(text) and (
                text[match.end()].isalnum() or text[match.end()] in "._"
            ):
                problem = f"'{piece}{text[match.end()]}' is not a number"
                raise FactorError(problem, position, "digits alone; windows are counted in bars")
            tokens.append(Token(Kind.NUMBER, piece, position))
        elif kind == "name" and piece in ("and", "or", "not"):
            tokens.append(Token(Kind.SYMBOL, piece, position))
        elif kind == "name":
            tokens.append(Token(Kind.NAME, piece, position))
        elif kind == "symbol":
            tokens.append(Token(Kind.SYMBOL, _SPELLINGS.get(piece, piece), position))
        position = match.end()
    tokens.append(Token(Kind.END, "", len(text)))
    return tokens
