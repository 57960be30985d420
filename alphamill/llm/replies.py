"""What a model's reply says, however badly it is wrapped. Nothing here raises on any text.

The pydantic models are the one source of the JSON schema that is sent and of what is accepted. The
reading is more forgiving than the schema: a candidate that is whole counts even if the reply around
it is fenced, wrapped in prose or of the wrong shape, and so does one whose expression is whole in a
reply that broke off behind it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alphamill.llm.json_text import Found, find_json

MAX_EXPRESSION_CHARS = 500
MAX_HYPOTHESIS_CHARS = 500
MAX_REASON_CHARS = 300
MAX_CANDIDATES = 64
MAX_KEEP = 3


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
        return clean(value) if isinstance(value, str) else value

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


class ProposalReading(NamedTuple):
    """What could be used of a proposal, and what could not."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]


class Review(NamedTuple):
    """keep and veto by position in the list that was sent, from 0; a vetoed factor is not kept."""

    keep: tuple[int, ...]
    veto: Mapping[int, str]
    problems: tuple[Problem, ...]


def read_proposal(text: str, finish_reason: str = "stop") -> ProposalReading:
    """All candidates of a reply whose expression is whole, in order, without repeats."""
    values, whole = find_json(text, "expression")
    problems = _about_the_whole(values, whole, text, finish_reason)
    found: dict[str, Candidate] = {}
    rows = [Found(row, cut) for value, cut in values for row in _rows(value)]
    for row, cut in rows[:MAX_CANDIDATES]:
        candidate = _candidate(row, cut)
        if isinstance(candidate, Problem):
            problems.append(candidate)
        else:
            found.setdefault(candidate.expression, candidate)
    if len(rows) > MAX_CANDIDATES:
        problems.append(Problem(f"{len(rows)} candidates; only {MAX_CANDIDATES} are read"))
    if values and not rows:
        problems.append(Problem("no candidates in the reply", _excerpt(text)))
    return ProposalReading(tuple(found.values()), tuple(problems))


def read_review(text: str, finish_reason: str, n_factors: int) -> Review:
    """Which of `n_factors` to keep and to stop. Unreadable: nothing kept, nothing vetoed."""
    values, whole = find_json(text, "index", "reason")
    problems = _about_the_whole(values, whole, text, finish_reason)
    keep: list[int] = []
    veto: dict[int, str] = {}
    for value, _ in values:
        if not isinstance(value, Mapping):
            continue
        for number in _listed(value.get("keep")):
            _note(number, n_factors, problems, keep.append)
        for row in _listed(value.get("veto", [value] if "index" in value else [])):
            number = row.get("index") if isinstance(row, Mapping) else row
            reason = row.get("reason") if isinstance(row, Mapping) else None
            why = clean(reason)[:MAX_REASON_CHARS] if isinstance(reason, str) else ""
            _note(number, n_factors, problems, lambda at, why=why: veto.setdefault(at, why))
    kept = tuple(at for at in dict.fromkeys(keep) if at not in veto)
    return Review(kept[:MAX_KEEP], veto, tuple(problems))


def read_repairs(text: str, n_expressions: int) -> Mapping[int, str]:
    """Mended expressions by position in the list that was sent, from 0; the first word counts."""
    values, _ = find_json(text, "index", "expression")
    mended: dict[int, str] = {}
    rows = [row for value, _ in values for row in _numbered(value)]
    for row in rows[:MAX_CANDIDATES]:
        number, found = row.get("index"), row.get("expression")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(found, str):
            continue
        found = clean(found)
        if 0 < len(found) <= MAX_EXPRESSION_CHARS and 1 <= number <= n_expressions:
            mended.setdefault(number - 1, found)
    return mended


def _numbered(value: Any) -> list[Mapping[str, Any]]:
    rows = value.get("repairs", [value]) if isinstance(value, Mapping) else value
    return [row for row in _listed(rows) if isinstance(row, Mapping)]


def clean(text: str) -> str:
    """One line of printable text: no control, format or surrogate characters."""
    line = " ".join(text.split())
    return "".join(char for char in line if unicodedata.category(char) not in _UNPRINTABLE)


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


def _about_the_whole(
    values: Sequence[Found], whole: bool, text: str, finish_reason: str
) -> list[Problem]:
    if finish_reason == "length":
        return [Problem("the reply was cut at max_tokens", _excerpt(text[-80:]))]
    if not text.strip():
        return [Problem("the reply is empty")]
    if not values:
        return [Problem("no JSON in the reply", _excerpt(text))]
    return [] if whole else [Problem("the reply's JSON is damaged", _excerpt(text[-80:]))]


def _rows(value: Any) -> list[Any]:
    """The candidates of one JSON value, whatever they are filed under."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return []
    if "expression" in value:
        return [value]
    if isinstance(named := value.get("candidates"), list):
        return named
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
    return value if isinstance(value, list) else []


def _note(number: Any, n_factors: int, problems: list[Problem], take: Any) -> None:
    whole = isinstance(number, int) and not isinstance(number, bool)
    if whole and 1 <= number <= n_factors:
        take(number - 1)
    else:
        problems.append(
            Problem(f"no factor of that number among {n_factors}", _excerpt(str(number)))
        )


def _excerpt(text: str) -> str:
    return clean(text[:400])[:120]
