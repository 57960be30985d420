"""Hostile text in place of every text of a page, and whether a browser would obey it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html.parser import HTMLParser
from typing import Any

HOSTILE = (
    '</text></svg></title><script>alert(1)</script><a href="javascript:x">" onload="x" '
    "' & \x1b[31m\u202e\x00\ud800"
)


def poisoned(value: Any, but: Collection[str] = ()) -> Any:
    """The same shape with hostile text in place of every text, but in the fields of these names."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return HOSTILE if value else ""
    if is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in fields(value) if one.init and one.name not in but]
        return replace(value, **{name: poisoned(getattr(value, name), but) for name in names})
    if isinstance(value, Mapping):
        # Names that are keys too: symbols, settings, reasons.
        return {
            f"{HOSTILE}{key}" if type(key) is str else key: poisoned(item, but)
            for key, item in value.items()
        }
    if isinstance(value, tuple | list):
        return type(value)(poisoned(item, but) for item in value)
    return value


class Read(HTMLParser):
    """The tags, the names of attributes and the links that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href"}


def harmless(text: str) -> bool:
    """Whether the page, or image, obeys nothing of HOSTILE and can be written."""
    read = Read(text)
    handlers = [name for name in read.names if name.startswith("on")]
    text.encode("utf-8")
    hidden = any(sign in text for sign in "\x1b\u202e\x00")
    elsewhere = [link for link in read.links if not link.startswith("#")]
    return "script" not in read.tags and not (handlers or hidden or elsewhere)
