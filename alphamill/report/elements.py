"""HTML elements from Python values. Whatever is not an element is text, and text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = {"meta", "br"}


class Element(str):
    """Finished HTML. Only `element` and constants of the program make one."""

    __slots__ = ()


Child = Element | str | None | Iterable["Child"]


def element(tag: str, *children: Child, **attributes: str) -> Element:
    """`<tag ...>children</tag>`; an attribute `class_` is `class`, `data_x` is `data-x`."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    if tag in _VOID:
        return Element(f"<{tag}{named}>")
    return Element(f"<{tag}{named}>{_inner(children)}</{tag}>")


def _inner(children: Child) -> str:
    if children is None:
        return ""
    if isinstance(children, Element):
        return children
    if isinstance(children, str):
        return html.escape(children)
    return "".join(_inner(child) for child in children)
