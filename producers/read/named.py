"""Which run and which factor the words behind a reading command name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from alphamill.jobs import RunKind

# A run's id begins with its kind and a dash, so that no number and no hash begins one.
_RUN = re.compile(rf"({'|'.join(RunKind)})(-.*)?")

run_option = click.option(
    "--run", metavar="RUN", help="The same as RUN: an id or its unique beginning."
)


def run_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """RUN as an argument, with `--run` beside it; see `one_run`."""
    return click.argument("word", metavar="[RUN]", required=False)(run_option(function))


def one_run(word: str | None, run: str | None) -> str | None:
    """The run that was named, either way; None: none was. Raises click.UsageError for two."""
    return _only("run", [one for one in (word, run) if one is not None])


def run_and_factor(words: Sequence[str], run: str | None) -> tuple[str | None, str | None]:
    """The run and the factor of `RUN FACTOR`, in either order; None of what was not named.

    run: of `--run`. Raises click.UsageError for two runs or two factors.
    """
    runs = [word for word in words if _RUN.fullmatch(word)]
    factors = [word for word in words if word not in runs]
    return one_run(_only("run", runs), run), _only("factor", factors)


def _only(what: str, named: Sequence[str]) -> str | None:
    if len(named) > 1:
        raise click.UsageError(f"one {what}, please: {' and '.join(named)} were named")
    return named[0] if named else None
