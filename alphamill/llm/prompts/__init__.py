"""What the tiers are asked.

Each prompt is two messages: a system message that is the same for every call of a tier (role,
manual, form of the reply), because providers discount a repeated prefix, and a user message with
the data, the most constant part first: what the rounds taught is the same for all symbols. Times
and price levels are left out: a model that knows the date may remember the market.

Sections of a user message start with "## "; a tried factor is one line, the best first:
`1. EXPRESSION | ic +0.0312, t +2.41, turnover 0.12` and, where one is known, ` | HYPOTHESIS` or
` | failed: REASON` at the end. Only discovery numbers have a place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from alphamill.llm.messages import Message

PROMPT_VERSION = "3"  # raise it with any change of wording: it is stored beside every reply

_BAR_COLUMNS_LEFT_OUT = frozenset({"open_time", "close_time", "time"})


@dataclass(frozen=True, slots=True)
class Tried:
    """A factor and its numbers on discovery; None where it could not be measured.

    in_time: `ic` is no IC but the rank correlation in time: the run has no cross-section.
    turnover_frac: part of the book traded at each bar, 0 to 2. problem: why it failed, "" if not.
    """

    expression: str
    ic: float | None = None
    ic_t: float | None = None
    turnover_frac: float | None = None
    hypothesis: str = ""
    problem: str = ""
    in_time: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """What earlier rounds taught, best first. Discovery only: nothing else has a field here."""

    worked: tuple[Tried, ...] = ()
    failed: tuple[Tried, ...] = ()
    shared: tuple[str, ...] = ()  # parts that the best have in common
    fruitless: tuple[str, ...] = ()  # parts that only failures have
    known: tuple[str, ...] = ()  # tried expressions not among the above
    taken: tuple[str, ...] = ()  # expressions that earlier runs admitted, in no telling order


@dataclass(frozen=True, slots=True)
class Broken:
    """An expression that does not parse, and the parser's word on it."""

    expression: str
    problem: str


def quick_scan_prompt(
    manual: str,
    symbol: str,
    interval: str,
    last_bars: Sequence[Mapping[str, object]],
    indicators: Mapping[str, float],
    feedback: Feedback,
    strategy: str,
    n_candidates: int,
    theme: str = "",
) -> tuple[Message, ...]:
    """Ask for new candidates with one symbol's last bars (oldest first) in view.

    last_bars, indicators: prices in hundredths of the last close, volumes in the bars' mean.
    theme: a direction in which this call shall look, so that calls side by side differ.
    """
    return _messages(
        "quick_scan",
        manual,
        _strategy(strategy),
        *_feedback(feedback),
        _section(f"Market: {symbol}, bars of {interval}", ""),
        _section("Theme of this call", f"At least half of your candidates: {theme}.")
        if theme
        else "",
        _section("Last bars, oldest first", _table(last_bars)),
        _section("Indicators at the last bar", _pairs(indicators)),
        _section("Task", f"Propose {n_candidates} candidates that are not listed above."),
    )


def detailed_analysis_prompt(
    manual: str, interval: str, feedback: Feedback, strategy: str, n_candidates: int
) -> tuple[Message, ...]:
    """Ask for refinements of the best, with their discovery numbers in hand."""
    return _messages(
        "detailed_analysis",
        manual,
        _strategy(strategy),
        _section("Market", f"Bars of {interval}, all coins of the run together."),
        *_feedback(feedback),
        _section("Task", f"Propose {n_candidates} improved candidates."),
    )


def final_verification_prompt(
    manual: str, interval: str, finalists: Sequence[Tried], strategy: str
) -> tuple[Message, ...]:
    """Ask which finalists to keep or to veto; they are numbered from 1 in the order given."""
    lines = "\n".join(_line(number, tried) for number, tried in enumerate(finalists, 1))
    return _messages(
        "final_verification",
        manual,
        _strategy(strategy),
        _section("Market", f"Bars of {interval}, all coins of the run together."),
        _section("Factors", lines),
        _section("Task", "Keep at most three; veto what should not go on."),
    )


def repair_prompt(manual: str, broken: Sequence[Broken]) -> tuple[Message, ...]:
    """Ask for expressions to be mended; they are numbered from 1 in the order given."""
    lines = [
        f"{number}. {_plain(one.expression)} | {_plain(one.problem)}"
        for number, one in enumerate(broken, 1)
    ]
    return _messages(
        "repair",
        manual,
        _section("Expressions that do not parse, with the parser's word", "\n".join(lines)),
        _section("Task", "Mend each, or give null for one that cannot be said in the language."),
    )


@cache
def _template(tier: str) -> Template:
    path = files("alphamill.llm.prompts").joinpath(f"{tier}.txt")
    return Template(path.read_text(encoding="utf-8"))


def _messages(tier: str, manual: str, *sections: str) -> tuple[Message, ...]:
    system = _template(tier).substitute(manual=manual.strip())
    user = "\n\n".join(section for section in sections if section)
    return Message("system", system), Message("user", user)


def _section(title: str, body: str) -> str:
    return f"## {title}\n{body}".rstrip()


def _strategy(strategy: str) -> str:
    return _section("The researcher's strategy", _plain(strategy)) if strategy.strip() else ""


def _feedback(feedback: Feedback) -> list[str]:
    sections = []
    if feedback.taken:
        title = "Taken: another window of these is worth nothing"
        sections.append(_section(title, "\n".join(map(_plain, feedback.taken))))
    for title, tried in (
        ("What worked so far, best first", feedback.worked),
        ("What failed so far", feedback.failed),
    ):
        if tried:
            lines = [_line(number, one) for number, one in enumerate(tried, 1)]
            sections.append(_section(title, "\n".join(lines)))
    for title, parts in (
        ("Parts that the best have in common", feedback.shared),
        ("Parts that only failures have", feedback.fruitless),
        ("Tried as well: a repetition is worth nothing", feedback.known),
    ):
        if parts:
            sections.append(_section(title, "\n".join(map(_plain, parts))))
    return sections


def _line(number: int, tried: Tried) -> str:
    numbers = [
        form.format(value)
        for form, value in (
            ("corr in time {:+.4f}" if tried.in_time else "ic {:+.4f}", tried.ic),
            ("t {:+.2f}", tried.ic_t),
            ("turnover {:.2f}", tried.turnover_frac),
        )
        if value is not None
    ]
    parts = [f"{number}. {_plain(tried.expression)}", ", ".join(numbers), _plain(tried.hypothesis)]
    if tried.problem:
        parts.append(f"failed: {_plain(tried.problem)}")
    return " | ".join(part for part in parts if part)


def _plain(text: str) -> str:
    return " ".join(text.split())  # one line: a model's words cannot start a section


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return "none"
    columns = [name for name in rows[0] if name not in _BAR_COLUMNS_LEFT_OUT]
    lines = [",".join(columns)]
    lines += [
        ",".join(_number(row.get(name), 3 if name == "volume" else 5) for name in columns)
        for row in rows
    ]
    return "\n".join(lines)


def _pairs(values: Mapping[str, float]) -> str:
    return " ".join(f"{name}={_number(value, 3)}" for name, value in values.items()) or "none"


def _number(value: object, digits: int) -> str:
    """Rounded: what is beyond a few digits costs tokens and teaches nothing."""
    return f"{value:.{digits}g}" if isinstance(value, int | float) else str(value)
