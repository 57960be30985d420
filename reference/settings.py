"""Settings: defaults and ranges from their models, words from the example file and the source."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from alphamill.settings import Settings
from alphamill.settings.load import ENVIRONMENT, KEY_FILE
from alphamill.settings.models import Price, Tier, TierSettings
from reference.markdown import code, page, table, words
from reference.sources import first_paragraph, told, told_in_docstring

EXAMPLE = Path(__file__).resolve().parents[1] / "alphamill.example.toml"
_UNITS = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_bps": "basis points",
    "_usd": "US dollars",
    "_frac": "share, 0 to 1",
    "_bars": "bars",
    "_hours": "hours",
    "_per_minute": "a minute",
    "max_tokens": "tokens",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_NUMBERS = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "folder",
    SecretStr: "secret",
}
_TABLE = re.compile(r"\[([\w.]+)\]")
_ENTRY = re.compile(r"(?:# )?(\w+) = ([^#]*)(?:#\s*(.*))?")


def settings_page() -> str:
    """Every key of the TOML file, and every variable."""
    about = (
        "`ALPHAMILL_CONFIG` names a TOML file; every `ALPHAMILL_*` variable wins over it, and it "
        "over the defaults. `alphamill.example.toml` has all of this as a file to begin with. A "
        "key that is not known, or a value out of range, is refused by name before anything starts."
    )
    comments = example_comments()
    parts = [part for name, kind in _sections() for part in _section(name, kind, comments)]
    variables = [
        *((code(name), code(".".join(path))) for name, path in ENVIRONMENT.items()),
        (code(KEY_FILE), "a file that holds the common key"),
        *(
            (
                code(f"ALPHAMILL_LLM_{tier.value.upper()}_API_KEY"),
                f"the key of {tier.value}'s model; `..._FILE` names a file",
            )
            for tier in Tier
        ),
        (code("ALPHAMILL_CONFIG"), "the TOML file"),
    ]
    parts += ["## Variables", table(("variable", "sets"), variables)]
    return page("Settings", about, *parts)


def example_comments() -> dict[str, str]:
    """Key, with its tables, -> what the example file says behind it and on the lines below."""
    found: dict[str, str] = {}
    section, last = "", ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if match := _TABLE.match(line):
            section, last = match[1] + ".", ""
        elif (match := _ENTRY.fullmatch(line)) and section + match[1] not in found:
            last = section + match[1] if match[3] else ""
            if last:
                found[last] = match[3]
        elif last and re.match(r"#?\s{8,}#?\s*\S", line):
            found[last] += " " + line.strip("# ")
        else:
            last = ""
    return found


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Settings
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield name, info.annotation
            if name == "llm":
                yield "llm.tiers.TIER", TierSettings
                yield 'llm.prices."MODEL"', Price


def _section(name: str, kind: type[BaseModel], comments: dict[str, str]) -> list[str]:
    own, said = told_in_docstring(kind), told(kind)
    rows = []
    for key, info in kind.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            continue  # a table of its own
        path = f"{name}.{key}" if name else key
        example = path.replace(".TIER", f".{Tier.QUICK_SCAN.value}")
        meaning = own.get(key) or comments.get(example) or said.get(key, "")
        rows.append((code(key), *_kind(info), code(default(info)), _unit(key), words(meaning)))
    head = ("key", "kind", "range", "default", "unit", "meaning")
    title = f"## `[{name}]`" if name else "## At the top of the file"
    notes = ["`api_key` stands in the environment, never in the file."] if name == "llm" else []
    if name == "llm.tiers.TIER":
        notes = [_tier_defaults()]
    about = words(first_paragraph(kind)) if name else ""
    about = about.replace("docs/verdicts.md", "[how a factor is judged](../verdicts.md)")
    return [title, about, *notes, table(head, rows)]


def _tier_defaults() -> str:
    tiers = Settings().llm.tiers
    keys = [
        key
        for key in TierSettings.model_fields
        if len({repr(getattr(settings, key)) for settings in tiers.values()}) > 1
        or getattr(tiers[Tier.QUICK_SCAN], key) != TierSettings(model="x").model_dump().get(key)
    ]
    rows = [
        (code(tier.value), *(code(_shown(getattr(settings, key))) for key in keys))
        for tier, settings in tiers.items()
    ]
    return "The tiers differ in:\n\n" + table(("tier", *(code(key) for key in keys)), rows)


def default(info: FieldInfo) -> str:
    """As it would be written; "" where there is none, or where it depends on the machine."""
    if info.is_required() or info.default_factory is not None:
        return ""
    return _shown(info.default)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, SecretStr | PurePath):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(one) for one in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unit(key: str) -> str:
    return next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")


def _kind(info: FieldInfo) -> tuple[str, str]:
    """What it is, and its range."""
    bounds = _bounds(info.metadata)
    kinds = []
    for part in _alternatives(info.annotation):
        if get_origin(part) is Annotated:
            bounds = bounds or _bounds(get_args(part)[1:])
            part = get_args(part)[0]  # noqa: PLW2901
        kinds.append(_named(part))
    return " or ".join(dict.fromkeys(kind for kind in kinds if kind)), bounds


def _alternatives(annotation: Any) -> list[Any]:
    union = get_origin(annotation) in (Union, types.UnionType)
    return [
        one for one in (get_args(annotation) if union else [annotation]) if one is not type(None)
    ]


def _named(kind: Any) -> str:
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = tuple(one.value for one in kind)
    if choices:
        return ", ".join(code(_shown(one)) for one in choices)
    if get_origin(kind) is dict or kind is dict:
        return "table"
    if get_origin(kind) is tuple:
        return "list"
    return _NUMBERS.get(kind, "table")


def _bounds(metadata: Any) -> str:
    """Such as "> 0, <= 1"; of text, the pattern it must match."""
    said = []
    for one in metadata:
        for found in getattr(one, "metadata", None) or [one]:
            said += [
                f"{sign} {getattr(found, name):g}"
                for name, sign in _SIGNS.items()
                if getattr(found, name, None) is not None
            ]
    return ", ".join(said)
