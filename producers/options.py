"""What the commands have in common: symbols, intervals, dates, and how they fail."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import click

from alphamill.errors import AlphamillError, Misconfigured
from alphamill.frames import SYMBOL_SPELLING, Interval, Market, is_symbol, symbol_meant
from alphamill.settings import Settings, load_settings

EXIT_FAILED, EXIT_USAGE, EXIT_MISCONFIGURED, EXIT_INTERRUPTED = 1, 2, 3, 130

Function = TypeVar("Function", bound=Callable[..., Any])


class Day(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """A UTC date or time, as epoch milliseconds."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write 2024-01-31 or 2024-01-31T12:00", param, ctx)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return int(moment.timestamp() * 1000)


class Intervals(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """One or more bar lengths, separated by commas."""

    name = "interval"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Interval, ...]:
        if isinstance(value, tuple):
            return value
        known = [interval.value for interval in Interval]
        for text in value.split(","):
            if text not in known:
                hint = f"; did you mean {text.lower()}?" if text.lower() in known else ""
                self.fail(f"{text!r} is not one of {' '.join(known)}{hint}", param, ctx)
        return tuple(dict.fromkeys(Interval(text) for text in value.split(",")))


class Symbols(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """A symbol as the exchange spells it, or several separated by commas."""

    name = "symbol"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        for text in value.split(","):
            if not is_symbol(text):
                self.fail(misspelt(text), param, ctx)
        return tuple(value.split(","))


def misspelt(text: str) -> str:
    """What is wrong with a text that is no symbol."""
    meant = symbol_meant(text)
    hint = f"; did you mean {meant}?" if meant else f" ({SYMBOL_SPELLING})"
    return f"{text!r} is not spelled as the exchange does{hint}"


def flat(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """All symbols, each once, in order."""
    return tuple(dict.fromkeys(symbol for group in groups for symbol in group))


def gathered(
    name: str, kind: type[Any], *options: Callable[[Function], Function]
) -> Callable[[Function], Function]:
    """A decorator: the options' values arrive as one argument, a dataclass with their names."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **values: Any) -> Any:
            part = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            return function(*args, **{name: part}, **values)

        wrapped: Any = call
        for option in reversed(options):
            wrapped = option(wrapped)
        return cast("Function", wrapped)

    return decorate


@dataclass(frozen=True, slots=True)
class BarRange:
    """Which bars: as asked for; `submission.checked_range` cuts the range to closed ones."""

    market: Market
    intervals: tuple[Interval, ...]
    start_ms: int
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Submission:
    """How to submit a run."""

    priority: int  # 0 to 9, the higher first
    again: bool
    wait: bool
    as_json: bool
    unlisted: bool = False


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
symbols_option = click.option(
    "--symbols", type=Symbols(), help="Separated by commas: BTCUSDT,ETHUSDT."
)
range_options = gathered(
    "bars",
    BarRange,
    click.option(
        "--interval",
        "intervals",
        required=True,
        type=Intervals(),
        metavar="1h[,4h,...]",
        help="Bar length, as Binance spells it (1m is a minute, 1M a month).",
    ),
    click.option(
        "--start", "start_ms", required=True, type=Day(), metavar="DATE", help="First day, UTC."
    ),
    click.option(
        "--end",
        "end_ms",
        type=Day(),
        metavar="DATE",
        help="Day after the last, UTC; default: up to the last closed bar.",
    ),
    click.option(
        "--market",
        type=click.Choice([market.value for market in Market]),
        default=Market.SPOT.value,
        show_default=True,
        callback=lambda _ctx, _param, value: Market(value),
    ),
)
submit_options = gathered(
    "how",
    Submission,
    click.option(
        "--priority",
        type=click.IntRange(0, 9),
        default=0,
        show_default=True,
        help="Higher goes first.",
    ),
    click.option("--again", is_flag=True, help="A new run even if the same was asked for before."),
    click.option("--wait", is_flag=True, help="Show progress until the run has ended."),
    json_option,
    click.option(
        "--unlisted",
        is_flag=True,
        help="Also take symbols that the exchange does not list, as it does those once delisted.",
    ),
)


def micros(budget_usd: float) -> int:
    """A budget in micro-dollars. Raises click.UsageError for next to nothing and for NaN."""
    if not budget_usd * 1_000_000 >= 1:
        raise click.UsageError("--budget-usd must be at least a millionth of a dollar")
    return round(budget_usd * 1_000_000)


def print_json(value: Any) -> None:
    """Plain JSON on stdout; times and numbers stay what they are."""
    click.echo(json.dumps(value, indent=2, default=str))


def settings() -> Settings:
    """The settings of this process; Misconfigured names what is wrong."""
    return load_settings()


_BREAKING = {"strict", "surrogateescape"}  # ways to write text that end in an exception


def _print_what_can_be_printed() -> None:
    """A terminal that is not UTF-8 gets ? for what it cannot show, rather than a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _BREAKING:
            stream.reconfigure(errors="replace")


RAISES = object()  # as a context's `obj`: a command called from Python, which wants the errors


def _raises() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.obj is RAISES


def exits(function: Function) -> Function:
    """Errors as one line on stderr, with the exit codes that README.md states."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _raises():
            return function(*args, **kwargs)
        _print_what_can_be_printed()
        try:
            return function(*args, **kwargs)
        except click.UsageError as error:  # an argument that was read well and cannot be
            click.secho(f"Error: {error.format_message()}", fg="red", err=True)
            sys.exit(EXIT_USAGE)
        except Misconfigured as error:
            click.secho(str(error), fg="red", err=True)
            sys.exit(EXIT_MISCONFIGURED)
        except AlphamillError as error:
            click.secho(str(error), fg="red", err=True)
            sys.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            click.secho("interrupted", fg="red", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(EXIT_FAILED)

    return wrapped  # type: ignore[return-value]
