"""`am.submit`: the commands that submit, called from Python.

Each call is the command itself, with its checks and its messages (on stderr), so that neither can
have an option that the other lacks: `budget_usd=2` is `--budget-usd 2`, `again=True` is `--again`.
What is a `Usage:` error there, and what ends a command, is raised here.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from alphamill.errors import GiveUp
from alphamill.notebook.names import Moment, epoch_ms, listed, unknown
from alphamill.notebook.run import Run, run
from producers import options
from producers.evaluate import evaluate as _evaluate
from producers.fetch import fetch as _fetch
from producers.mine import mine as _mine

_OURS = ("as_json", "wait")  # a call always gives the run; run.wait() waits for it


def mine(
    symbols: str | Sequence[str],
    interval: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    **option: Any,
) -> Run:
    """Submit a mining run; workers do it: `alphamill up`.

    option: as those of `alphamill mine --help`: market, rounds, candidates, budget_usd, strategy,
    top, groups (a file), priority, again, ...

        run = am.submit.mine(["BTCUSDT", "ETHUSDT", "BNBUSDT"], "1h", "2022-01-01", rounds=3,
                             budget_usd=2).wait()
        run.factors()

    Raises GiveUp or Misconfigured, as the command says it: an unlisted symbol, a missing key, a
    range too short, a budget that no call could keep.
    """
    named = () if not symbols and option.get("top") else listed(symbols)
    return _submitted(_mine, _bars(interval, start, end) | option, named)


def evaluate(
    expressions: str | Sequence[str],
    symbols: str | Sequence[str],
    interval: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    **option: Any,
) -> Run:
    """Submit the scoring of expressions, or with zoo="alpha101" and () that of a collection.

    option: as those of `alphamill evaluate --help`. Here, on bars that are in the lake,
    `am.factor(text).evaluate(panel)` gives the same figures without a worker.
    """
    given = (expressions,) if isinstance(expressions, str) else tuple(expressions)
    asked = {"symbols": ",".join(listed(symbols))} | _bars(interval, start, end)
    return _submitted(_evaluate, asked | option, given)


def fetch(
    symbols: str | Sequence[str],
    interval: str | Sequence[str],
    start: Moment,
    end: Moment | None = None,
    **option: Any,
) -> Run:
    """Submit the download of bars into the lake. option: as those of `alphamill fetch --help`."""
    named = () if not symbols and option.get("top") else listed(symbols)
    return _submitted(_fetch, _bars(interval, start, end) | option, named)


def _bars(interval: str | Sequence[str], start: Moment, end: Moment | None) -> dict[str, Any]:
    intervals = interval if isinstance(interval, str) else ",".join(interval)
    return {"interval": intervals, "start": _day(start), "end": None if end is None else _day(end)}


def _day(moment: Moment) -> str:
    return datetime.fromtimestamp(epoch_ms(moment) / 1000, UTC).isoformat()


def _submitted(command: click.Command, given: dict[str, Any], positional: Sequence[str]) -> Run:
    """The run that the command submits with these options."""
    args = [*_arguments(command, given), "--json", "--", *positional]
    written = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(written),
            command.make_context(command.name, args, obj=options.RAISES) as context,
        ):
            command.invoke(context)
    except click.UsageError as error:
        raise GiveUp(error.format_message()) from error
    return run(json.loads(written.getvalue())["run_id"])


def _arguments(command: click.Command, given: dict[str, Any]) -> list[str]:
    """The options as a shell would give them. Raises GiveUp for one that the command lacks."""
    known = {
        word.removeprefix("--").replace("-", "_"): (word, one)
        for one in command.params
        if isinstance(one, click.Option) and one.name not in _OURS
        for word in one.opts
        if word.startswith("--")
    }
    args: list[str] = []
    for name, value in given.items():
        if name not in known:
            raise unknown("option", name, known, f" of alphamill {command.name}")
        word, one = known[name]
        if value is None or value is False:
            continue
        if one.is_flag:
            args.append(word)
        else:
            text = value if isinstance(value, str) or not isinstance(value, Sequence) else None
            args += [word, str(text) if text is not None else ",".join(map(str, value))]
    return args
