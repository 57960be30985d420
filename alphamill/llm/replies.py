"""What a model's reply says, however badly it is wrapped. Nothing here raises on any text.

The pydantic models are the one source of the JSON schema that is sent and of what is accepted. The
reading is more forgiving than the schema: a candidate that is whole counts even if the reply around
it is fenced, wrapped in prose or of the wrong shape, and so does one whose expression is whole in a
reply that broke off behind it. Only a reply's answer is read: what stands last, outside thoughts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alphamill.llm.json_text import Answer, Form, Found, find_answer

MAX_EXPRESSION_CHARS = 500
MAX_HYPOTHESIS_CHARS = 500
MAX_REASON_CHARS = 300
MAX_CANDIDATES = 64
MAX_KEEP = 3
MAX_PROBLEMS = 20  # that are kept of a reply

_NONE = ("", "none", "null", "n/a", "-")
_NUMBER = re.compile(
    r"(?:factor|index|number|no\.?)?\s*#?\s*(\d{1,6})(?:\.0*)?[.:)]?", re.IGNORECASE
)


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ProposedFactor(_Reply):
    """One candidate as a model writes it."""

    expression: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]
    hypothesis: str
    horizon_bars: Annotated[int, Field(ge=1, le=100_000)] | None
    direction: Literal["positive", "negative"] | None

    @field_validator("expression", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        return clean_expression(value) if isinstance(value, str) else value

    @field_validator("hypothesis", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return clean(value)[:MAX_HYPOTHESIS_CHARS] if isinstance(value, str) else ""

    @field_validator("horizon_bars", mode="wrap")
    @classmethod
    def _horizon_or_none(cls, value: Any, handler: Any) -> Any:
        return _or_none(value, handler)

    @field_validator("direction", mode="wrap")
    @classmethod
    def _direction_or_none(cls, value: Any, handler: Any) -> Any:
        return _or_none(value, handler)


class Proposal(_Reply):
    """Reply of quick_scan and detailed_analysis."""

    candidates: list[ProposedFactor]


class MendedExpression(_Reply):
    """One expression mended, by its number in the prompt, from 1; null if it cannot be."""

    index: int
    expression: str | None


class Repairs(_Reply):
    """Reply to a request for repairs."""

    repairs: list[MendedExpression]


class VetoedFactor(_Reply):
    """A factor to stop, by its number in the prompt, from 1."""

    index: int
    reason: str


class Verification(_Reply):
    """Reply of final_verification; factors by their number in the prompt, from 1."""

    keep: list[int]
    veto: list[VetoedFactor]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A factor to try. Text is printable, on one line, and at most 500 characters each.

    cut: the reply broke off or is damaged behind the expression; what is missing has its default.
    """

    expression: str
    hypothesis: str = ""
    horizon_bars: int | None = None
    direction: Literal["positive", "negative"] | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a reply that could not be used, and an excerpt of it."""

    reason: str
    excerpt: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.excerpt}" if self.excerpt else self.reason


class ProposalReading(NamedTuple):
    """What could be used of a proposal, and what could not."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]


class Review(NamedTuple):
    """keep and veto by position in the list that was sent, from 0; a vetoed factor is not kept."""

    keep: tuple[int, ...]
    veto: Mapping[int, str]
    problems: tuple[Problem, ...]


class RepairReading(NamedTuple):
    """Mended expressions by position in the list that was sent, from 0; None: it cannot be said.

    unread: why one that is not in `mended` could not be read, a line a problem.
    """

    mended: Mapping[int, str | None]
    unread: Mapping[int, str]


_PROPOSAL = Form(("candidates",), ("expression",), continues=True)
_REVIEW = Form(("keep", "veto"), ("index", "reason"))
_REPAIRS = Form(("repairs",), ("index", "expression"), continues=True)


def read_proposal(text: str, finish_reason: str = "stop") -> ProposalReading:
    """The answer's candidates whose expression is whole, in order, without repeats."""
    answer = find_answer(text, _PROPOSAL)
    problems = _about_the_whole(answer, text, finish_reason)
    found: dict[str, Candidate] = {}
    rows = [Found(row, cut) for value, cut in answer.values for row in _rows(value)]
    for row, cut in rows[:MAX_CANDIDATES]:
        candidate = _candidate(row, cut)
        if isinstance(candidate, Problem):
            problems.append(candidate)
        else:
            found.setdefault(candidate.expression, candidate)
    others = (_candidate(row, cut=False) for row in answer.apart)
    new = [row for row in others if isinstance(row, Candidate) and row.expression not in found]
    problems += _left_out(new)
    if len(rows) > MAX_CANDIDATES:
        problems.append(Problem(f"{len(rows)} candidates; only {MAX_CANDIDATES} are read"))
    if answer.values and not rows:
        problems.append(Problem("no candidates in the reply", _excerpt(text)))
    return ProposalReading(tuple(found.values()), tuple(problems))


def read_review(text: str, finish_reason: str, n_factors: int) -> Review:
    """Which of `n_factors` to keep and to stop. Unreadable: nothing kept, nothing vetoed.

    A number written as text, and one row in place of a list, are read as they are meant.
    """
    answer = find_answer(text, _REVIEW)
    problems = _about_the_whole(answer, text, finish_reason)
    keep: list[int] = []
    veto: dict[int, str] = {}
    for value, _ in answer.values:
        stated = value if _REVIEW.names(value) else {}
        if _REVIEW.is_row(value) or (isinstance(value, list) and _REVIEW.is_answer(value)):
            stated = {"veto": value}
        elif not stated:
            problems.append(Problem("it names neither keep nor veto", _excerpt(str(value))))
        for row in _listed(stated.get("keep")):
            keep += _positions(row, n_factors, problems)
        for row in _listed(stated.get("veto")):
            reason = row.get("reason") if isinstance(row, Mapping) else None
            why = clean(reason)[:MAX_REASON_CHARS] if isinstance(reason, str) else ""
            for at in _positions(row, n_factors, problems):
                veto.setdefault(at, why)
    problems += _left_out(answer.apart)
    kept = tuple(at for at in dict.fromkeys(keep) if at not in veto)
    return Review(kept[:MAX_KEEP], veto, tuple(problems))


def read_repairs(text: str, finish_reason: str, n_expressions: int) -> RepairReading:
    """What is said of each of `n_expressions`; of several repairs of one the last counts."""
    answer = find_answer(text, _REPAIRS)
    problems = _about_the_whole(answer, text, finish_reason)
    mended: dict[int, str | None] = {}
    problems += _left_out(answer.apart)
    bad: dict[int, Problem] = {}
    rows = [row for value, _ in answer.values for row in _repair_rows(value)]
    for row in rows[:MAX_CANDIDATES]:
        for at in _positions(row, n_expressions, problems):
            said = row.get("expression", "") if isinstance(row, Mapping) else ""
            found = clean_expression(said) if isinstance(said, str) else said
            if found is None or (isinstance(found, str) and 0 < len(found) <= MAX_EXPRESSION_CHARS):
                mended[at] = found
            else:
                bad[at] = Problem("the repair is no expression", _excerpt(str(row)))
    unread = {}
    for at in set(range(n_expressions)) - set(mended):
        own = [bad[at]] if at in bad else problems
        unread[at] = problem_lines(own) or "the reply does not name it"
    return RepairReading(mended, unread)


def problem_lines(problems: Iterable[Problem]) -> str:
    """A line a problem, at most MAX_PROBLEMS of them."""
    return "\n".join(map(str, tuple(problems)[:MAX_PROBLEMS]))


def _repair_rows(value: Any) -> list[Any]:
    if isinstance(value, Mapping) and not _REPAIRS.is_row(value):
        value = value.get("repairs")
    return _listed(value)


def clean(text: str) -> str:
    """One line of printable text: no control, format or surrogate characters."""
    line = " ".join(text.split())
    return "".join(char for char in line if unicodedata.category(char) not in _UNPRINTABLE)


def clean_expression(text: str) -> str:
    """As `clean`, but what some fonts show as an operator stays to be seen, and is refused."""
    return clean(_MAYBE_OPERATORS.sub("\ufffd", text))


_MAYBE_OPERATORS = re.compile("[\u00ad\u2061-\u2064\ue000-\uf8ff]")  # a soft hyphen, for one
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema in the strict form: all required, nothing more, no references.

    Only keywords that every strict implementation takes are kept; lengths and ranges are checked
    on reading.
    """
    full = model.model_json_schema()
    schema: dict[str, Any] = _strict(full, full.get("$defs", {}))
    return schema


_KEPT = ("type", "enum", "const", "description")


def _strict(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _strict(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    out: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    if "anyOf" in node:
        out["anyOf"] = [_strict(option, definitions) for option in node["anyOf"]]
    if "items" in node:
        out["items"] = _strict(node["items"], definitions)
    if "properties" in node:
        properties = node["properties"]
        out["properties"] = {name: _strict(properties[name], definitions) for name in properties}
        out["required"] = list(properties)
        out["additionalProperties"] = False
    out.pop("description", None)  # the prompt explains; the schema only constrains
    return out


def _about_the_whole(answer: Answer, text: str, finish_reason: str) -> list[Problem]:
    if finish_reason == "length":
        return [Problem("the reply was cut at max_tokens", _excerpt(text[-80:]))]
    if not text.strip():
        return [Problem("the reply is empty")]
    if answer.in_thoughts:
        return [Problem("no JSON outside the model's thoughts", _excerpt(text[-80:]))]
    if not answer.values:
        return [Problem("no JSON in the reply", _excerpt(text))]
    return [] if answer.whole else [Problem("the reply's JSON is damaged", _excerpt(text[-80:]))]


def _left_out(rows: Sequence[Any]) -> list[Problem]:
    return [Problem("rows apart from the answer are not read", _excerpt(str(rows)))] if rows else []


def _rows(value: Any) -> list[Any]:
    """The candidates of one JSON value, whatever they are filed under."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return []
    if "expression" in value:
        return [value]
    named = value.get("candidates")
    if isinstance(named, Mapping) and "expression" not in named:
        return list(named.values())
    if isinstance(named, str | list | Mapping):
        return _listed(named)
    lists = [item for item in value.values() if isinstance(item, list)]
    return lists[0] if len(lists) == 1 else []


def _candidate(row: Any, cut: bool) -> Candidate | Problem:
    if isinstance(row, str):
        row = {"expression": row}
    if not isinstance(row, Mapping):
        return Problem("a candidate is not an object", _excerpt(repr(row)[:200]))
    fields = {name: row.get(name) for name in ProposedFactor.model_fields}
    try:
        read = ProposedFactor.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(f"{where}: {first['msg']}", _excerpt(str(row.get("expression"))))
    return Candidate(read.expression, read.hypothesis, read.horizon_bars, read.direction, cut)


def _or_none(value: Any, handler: Any) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None  # an optional hint: a bad one costs nothing


def _listed(value: Any) -> list[Any]:
    """The rows of a list, or the one that stands in its place; reasons by number are rows too."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and value and all(map(_whole, value)):
        return [{"index": key, "reason": said, "expression": said} for key, said in value.items()]
    nothing = not value or (isinstance(value, str) and value.strip().lower() in _NONE)
    return [] if nothing else [value]


def _positions(row: Any, count: int, problems: list[Problem]) -> list[int]:
    """Which of `count` things a row is about, from 0; what is no number of one is a problem."""
    said = row.get("index") if isinstance(row, Mapping) else row
    found = []
    for one in said if isinstance(said, list) and said else [said]:
        number = _whole(one)
        if number is None:
            problems.append(Problem("no number that can be read", _excerpt(str(row))))
        elif not 1 <= number <= count:
            problems.append(Problem(f"no number {number} among {count}", _excerpt(str(row))))
        else:
            found.append(number - 1)
    return found


def _whole(said: Any) -> int | None:
    """A whole number, also one that is written as text or as 1.0."""
    if isinstance(said, float) and said.is_integer():
        return int(said)
    if isinstance(said, int) and not isinstance(said, bool):
        return said
    found = _NUMBER.fullmatch(said.strip()) if isinstance(said, str) else None
    return int(found[1]) if found else None


def _excerpt(text: str) -> str:
    return clean(text[:400])[:120]
