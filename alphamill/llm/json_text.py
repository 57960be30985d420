"""Finding the answer in a model's reply: strict, fenced, wrapped in prose, damaged or cut off.

A reply holds more JSON than its answer: drafts in the model's thoughts, examples that it quotes, a
first answer that it corrects. The answer is what stands last and outside thoughts and quotes.

Bounded in time for hostile text: the last MAX_CHARS are read, and about MAX_WORK characters decoded
in vain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_CHARS = 100_000
MAX_WORK = 200 * MAX_CHARS
START_WORK = 2_000  # what an error at one place costs beside its characters
MAX_DEPTH = 5  # of objects around an answer

_DECODER = json.JSONDecoder()
_KEY = re.compile(r'[\s,]*(?=")')
_COLON = re.compile(r"\s*:\s*")
_AFTER_NUMBER = re.compile(r"\s*[,}]")
_AFTER_TEXT = re.compile(r"\s*(?:[,}]|$)")
_NOTHING = object()
_PLACEHOLDERS = ("...", "…")

# Thoughts as models and their servers mark them; of some the opening mark stays in the prompt.
_TAG = r"(?:[\w-]+:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_MARK = re.compile(
    rf"(?P<opens><{_TAG}(?:\s[^<>]{{0,80}})?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|<\|channel\|>\s*(?:analysis|commentary))"
    rf"|(?P<closes></{_TAG}\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>\s*final)"
    r"|\{(?=\s*[\"}])|\[(?=\s*[\]\[{\"\dtfni-])",  # and where JSON may begin
    re.IGNORECASE,
)
_QUOTED_LINE = re.compile(r"^[ \t]*>.*[{\[].*$", re.MULTILINE)
_STRING_OR_SIGN = re.compile(r'(?s:"(?:[^"\\]|\\.)*"?)|[，：｛｝［］]')
_SIGNS = str.maketrans("，：｛｝［］", ",:{}[]")
# What may stand between the parts of one answer: marks, numbers, fences and headings.
_LABELS = re.compile(
    r"(?:[\W\d_]|json|candidates?|factors?|ideas?|alphas?|repairs?|keep|veto|number|and)*",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"[\s#*_>(-]*(?:(?:candidate|factor|idea|alpha|expression|repair|veto)\s*)?#?\d{1,2}[.):*\s]",
    re.IGNORECASE,
)
_OPENS_LIST = re.compile(r'[\s,]*"[^"\\]*"\s*:\s*\[')
_LIST_OF_PARTS = re.compile(r'\[\s*[{"]')
_LOOKS_LIKE_JSON = re.compile(r'\{\s*"|\[\s*[{"]')
_IS_A_PART = re.compile(r'(?:["}\]\d]\s*[,:]|\[)\s*$')


class Found(NamedTuple):
    """A JSON value. cut: an object that broke off or is damaged; what stood before that is here."""

    value: Any
    cut: bool = False


class Answer(NamedTuple):
    """The JSON values of a reply's answer, in order.

    whole: nothing of it is damaged. in_thoughts: the reply has thoughts, and no JSON beside them.
    apart: rows that stand alone behind a whole answer, such as one that a remark repeats, or words
    before the rows that are the answer.
    """

    values: tuple[Found, ...]
    whole: bool
    in_thoughts: bool = False
    apart: tuple[Any, ...] = ()


class Form(NamedTuple):
    """How an answer is known: the names of its lists, and the members that each row has.

    The first of the members tells a row; a row that is not whole needs all of them. continues:
    answers without a word between are one list; otherwise the last of them counts.
    """

    lists: tuple[str, ...]
    row: tuple[str, ...]
    continues: bool = False

    def is_row(self, value: Any) -> bool:
        """Whether a value is one row, and not the form of one: {"expression": "..."}."""
        return isinstance(value, dict) and value.get(self.row[0], "...") not in _PLACEHOLDERS

    def is_answer(self, value: Any) -> bool:
        """Whether a value is a whole answer: its lists under their names, or a list of rows."""
        if isinstance(value, list):
            return any(map(self.is_row, value))
        if not isinstance(value, dict):
            return False
        lists = [rows for rows in value.values() if isinstance(rows, list)]
        if any(name in value for name in self.lists):
            shown = [row for rows in lists for row in rows]
            return not shown or not all(map(self._is_placeholder, shown))
        return not self.is_row(value) and any(map(self.is_answer, lists))

    def _is_placeholder(self, row: Any) -> bool:
        said = row.get(self.row[0]) if isinstance(row, dict) else row
        return said in _PLACEHOLDERS

    def names(self, value: Any) -> set[str]:
        """The lists that an answer states."""
        return {name for name in self.lists if isinstance(value, dict) and name in value}

    def unwrapped(self, value: Any) -> Any:
        """An answer without the objects or the list around it; what is none as it is."""
        inner = value
        for _ in range(MAX_DEPTH):
            if self.is_answer(inner) or self.is_row(inner):
                return inner
            parts = list(inner.values()) if isinstance(inner, dict) else inner
            parts = [one for one in parts if isinstance(one, dict)] if parts else []
            if not parts or (isinstance(inner, dict) and len(parts) > 1):
                return value
            inner = parts[-1]
        return value


class _Piece(NamedTuple):
    """A value, or a place where JSON is damaged; where it begins and ends in the text.

    opens: the damaged place is the beginning of an answer, whose parts follow.
    """

    start: int
    end: int
    found: Found | None = None
    opens: bool = False


def find_answer(text: str, form: Form) -> Answer:
    """The answer in `text`: the last whole one, else the last run of rows, whole or cut."""
    value, _, _ = _decode(text.strip(), 0)
    if value is not None:
        return Answer((Found(form.unwrapped(value)),), True)
    text = text[-MAX_CHARS:]
    best = Answer((), False)
    for shown in _readings(text):
        pieces, thoughts = _outside_thoughts(shown, form)
        answer = _last_answer(shown, pieces, form)
        if answer.whole:
            return answer
        if not best.values:
            best = answer._replace(in_thoughts=thoughts and not answer.values)
    return best


def _readings(text: str) -> Iterator[str]:
    """The text without lines that quote, as it is, and with full-width signs between strings."""
    unquoted = _QUOTED_LINE.sub("", text)
    yield from dict.fromkeys((unquoted, text))
    signs = _STRING_OR_SIGN.sub(
        lambda one: one[0] if one[0][0] == '"' else one[0].translate(_SIGNS), unquoted
    )
    if signs != unquoted:
        yield signs


def _outside_thoughts(text: str, form: Form) -> tuple[list[_Piece], bool]:
    """What stands outside thoughts, left to right, and whether there are any thoughts.

    What fails to decode is entered. A mark inside a whole value is text like any other. Thoughts
    end at the first mark that closes; one that closes what was never opened ends thoughts from the
    beginning on.
    """
    pieces: list[_Piece] = []
    outside: int | None = None  # how many pieces stood before thoughts that are open
    thoughts, at, work = False, 0, 0
    while mark := _MARK.search(text, at):
        at = mark.end()
        if mark["opens"]:
            thoughts, outside = True, len(pieces) if outside is None else outside
        elif mark["closes"]:
            del pieces[outside or 0 :]
            thoughts, outside = True, None
        elif work > MAX_WORK:
            pieces, thoughts, outside, work = [], True, None, 0
            if not (at := _last_close(text, at)):
                break
        else:
            value, end, tried = _decode(text, mark.start(), to_the_end=False)
            work += tried + START_WORK if value is None else 0
            if value is not None:
                pieces.append(_Piece(mark.start(), end, Found(form.unwrapped(value))))
                at = end
            else:
                pieces.append(_damaged(text, mark.start(), form))
    return pieces[:outside], thoughts


def _last_close(text: str, at: int) -> int:
    """Where the last thoughts behind `at` end; 0 if none do."""
    return max((mark.end() for mark in _MARK.finditer(text, at) if mark["closes"]), default=0)


def _last_answer(text: str, pieces: list[_Piece], form: Form) -> Answer:
    """A whole answer counts before rows that stand alone, and the last before the others."""
    parts: list[_Piece] = []  # of the run of rows, or of the answer that broke off, under way
    rows: list[_Piece] = []  # the last of these that has any
    answer: list[_Piece] = []
    apart: list[Any] = []
    others: list[_Piece] = []
    broken_from: int | None = None
    for piece in pieces:
        value = piece.found.value if piece.found else None
        if piece.opens:
            parts, broken_from = [], piece.start
        elif piece.found and not piece.found.cut and form.is_answer(value):
            answer = [*_beside(text, answer, piece, form), piece]
            parts, rows, apart, broken_from = [], [], [], None
        elif piece.found and (piece.found.cut or form.is_row(value)):
            if parts and broken_from is None and not _linked(text, parts[-1], piece):
                apart += [one.found.value for one in rows if one.found]
                parts = []
            parts.append(piece)
            if broken_from is not None or not answer:
                rows = parts
            else:
                apart.append(value)
        elif piece.found:
            others.append(piece)
    damaged = [piece for piece in pieces if _is_damage(text, piece)]
    chosen = rows or answer or ([] if damaged else others[-1:])
    whole = bool(chosen) and broken_from is None
    if chosen is rows:
        begin = chosen[0].start if chosen else 0
        whole &= not any(piece.start >= begin for piece in damaged)
    values = tuple(piece.found for piece in chosen if piece.found)
    return Answer(values, whole, apart=tuple(apart))


def _beside(text: str, before: list[_Piece], piece: _Piece, form: Form) -> list[_Piece]:
    """The parts of the same answer before one: other lists, or its own; no word stands between."""
    if not before or not before[-1].found or not piece.found:
        return []
    said = set().union(*(form.names(one.found.value) for one in before if one.found))
    own = form.names(piece.found.value)
    apart = bool(said) and bool(own) and not said & own
    return before if (apart or form.continues) and _linked(text, before[-1], piece) else []


def _linked(text: str, one: _Piece, two: _Piece) -> bool:
    """Whether marks or a numbered heading stand between, not words as before a correction."""
    between = text[one.end : two.start]
    if one.found and one.found.cut:
        between = between.rpartition("}")[2]
    heading = between.rstrip(" \t\n`").removesuffix("```json").rstrip().rpartition("\n")[2]
    return bool(_LABELS.fullmatch(between) or _NUMBERED.match(heading))


def _is_damage(text: str, piece: _Piece) -> bool:
    """Whether it is JSON that is not whole, and not a bracket of some prose."""
    if piece.found is not None:
        return piece.found.cut
    return _LOOKS_LIKE_JSON.match(text, piece.start) is not None


def _damaged(text: str, at: int, form: Form) -> _Piece:
    """The place of a value that does not decode, with what could be read of one that is a row."""
    before, end = _before_damage(text, at)
    if all(name in before for name in form.row):
        return _Piece(at, end, Found(before, cut=True))
    begins = _LIST_OF_PARTS.match(text, at) or (
        text[at] == "{" and form.row[0] not in before and _OPENS_LIST.match(text, end)
    )
    opens = bool(begins) and not _IS_A_PART.search(text[max(0, at - 80) : at])
    return _Piece(at, end, opens=opens)


def _decode(text: str, at: int, to_the_end: bool = True) -> tuple[Any, int, int]:
    """An object or a list, its end, and how much was read in vain; None if it is neither."""
    value, end, work = _any_value(text, at)
    if not isinstance(value, dict | list) or (to_the_end and end != len(text)):
        return None, at, work
    return value, end, work


def _any_value(text: str, at: int) -> tuple[Any, int, int]:
    """The value at `at` and its end, or _NOTHING and `at`; and how much was read in vain."""
    try:
        return *_DECODER.raw_decode(text, at), 0
    except json.JSONDecodeError as error:
        known = not error.msg.startswith("Unterminated")
        return _NOTHING, at, (error.pos if known else len(text)) - at
    except (ValueError, RecursionError):
        return _NOTHING, at, len(text) - at


def _before_damage(text: str, at: int) -> tuple[dict[str, Any], int]:
    """The whole members of the damaged object that opens at `at`, and their end; none of a list.

    A number at the very end may have lost digits and is left out, and so is a text that goes on
    behind its quotes: it may be half of a formula.
    """
    members: dict[str, Any] = {}
    end = at + 1
    while text[at] == "{" and (found := _KEY.match(text, end)):
        name, after, _ = _any_value(text, found.end())
        colon = _COLON.match(text, after)
        if not isinstance(name, str) or colon is None:
            break
        value, after, _ = _any_value(text, colon.end())
        closed = _AFTER_TEXT if isinstance(value, str) else _AFTER_NUMBER
        if value is _NOTHING or not closed.match(text, after):
            break
        members[name] = value
        end = after
    return members, end
