"""Which pages there are, and what each is written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reference.commands import commands_page
from reference.errors import errors_page
from reference.language import indicators_page, language_page
from reference.metrics import metrics_page
from reference.python import python_page
from reference.settings import settings_page
from reference.tables import tables_page

_PAGES: Mapping[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "language.md": language_page,
    "indicators.md": indicators_page,
    "tables.md": tables_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
    "python.md": python_page,
}


def pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {name: write() for name, write in _PAGES.items()}
