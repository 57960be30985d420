"""Markdown of what records say: tables, code, headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ITEM = re.compile(r"<(?=[A-Za-z/!])")


def code(text: str) -> str:
    """Inline code; "" of nothing."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if text else ""


def words(text: str) -> str:
    """Prose on one line, with nothing that a browser would take for a tag."""
    return _ITEM.sub("&lt;", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column in which no row says anything is left out. Cells are Markdown."""
    body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in body)]
    lines = [
        [head[at] for at in kept],
        ["---"] * len(kept),
        *([row[at] for at in kept] for row in body),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(title: str, about: str, *parts: str) -> str:
    """A page, which says at its head that nobody wrote it by hand."""
    made = "*Written from the program's own records when this site was built.*"
    return "\n\n".join([f"# {title}", about, made, *(part for part in parts if part)]) + "\n"
