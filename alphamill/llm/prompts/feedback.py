"""What earlier rounds taught, as a prompt words it: bounded in tokens, the most useful first.

A tried factor is one line:
`1. EXPRESSION | ic +0.0312, t +2.4, turnover 0.12, breaks even at 2.3 bps | HYPOTHESIS`.
Only discovery numbers have a place in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alphamill.llm.prompts.sanitise import safe_expression, safe_prose
from alphamill.llm.prompts.sections import Title, section
from alphamill.llm.tokens import text_tokens

_EXPRESSION_CHARS = 500
_REASON_CHARS = 120
_EXAMPLE_CHARS = 100


@dataclass(frozen=True, slots=True)
class Tried:
    """A factor and its numbers on discovery; None where it could not be measured.

    in_time: `ic` is no IC but the rank correlation in time: the run has no cross-section.
    turnover_frac: part of the book traded at each bar, 0 to 2. break_even_bps: one-way cost of
    trading at which nothing is left.
    """

    expression: str
    ic: float | None = None
    ic_t: float | None = None
    turnover_frac: float | None = None
    hypothesis: str = ""
    in_time: bool = False
    break_even_bps: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """How many candidates failed for one reason, and the latest; "" if none can be shown."""

    reason: str
    count: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class TooFast:
    """Of the `best` factors, how many break even on discovery below what trading costs."""

    count: int
    best: int
    cost_bps: float  # one way

    @property
    def lines(self) -> tuple[str, ...]:
        """What a model is asked for in view of it."""
        return (
            f"{self.count} of the {self.best} best break even below the {self.cost_bps:g} bps that "
            "trading costs here.",
            "At least half of your candidates: slower ones. Longer windows, or what worked "
            "smoothed by ema, ts_mean or decay_linear, until it trades a few times less.",
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """What earlier rounds taught, best first. Discovery only: nothing else has a field here."""

    worked: tuple[Tried, ...] = ()
    failed: tuple[Failed, ...] = ()
    shared: tuple[str, ...] = ()  # parts that the best have in common
    fruitless: tuple[str, ...] = ()  # parts that only failures have
    known: tuple[str, ...] = ()  # tried expressions not among the above
    taken: tuple[str, ...] = ()  # expressions that earlier runs admitted, in no telling order
    too_fast: TooFast | None = None  # None: most of the best pay for their trading, or none is


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """How many tokens (`text_tokens`) each part may take; one line is always kept.

    hypothesis_chars: of each that worked; 0: left out, and so is ic.
    """

    worked: int
    failed: int
    parts: int
    known: int
    taken: int
    hypothesis_chars: int = 0


BRIEF = TokenLimits(worked=240, failed=130, parts=50, known=120, taken=80)
FULL = TokenLimits(worked=850, failed=180, parts=80, known=200, taken=120, hypothesis_chars=160)


def feedback_sections(feedback: Feedback, limits: TokenLimits) -> list[str]:
    """The sections that have something to say. What worked and does not fit is told as known."""
    lines = [tried_line(number, one, limits) for number, one in enumerate(feedback.worked, 1)]
    shown = _fitting(lines, limits.worked)
    worked = zip(feedback.worked, lines, strict=True)
    rest = [one.expression for one, line in worked if line not in shown]
    failed = [_failed_line(one) for one in feedback.failed]
    found = [
        _listed(Title.TAKEN, feedback.taken, limits.taken),
        section(Title.WORKED, shown),
        section(Title.TOO_FAST, feedback.too_fast.lines if feedback.too_fast else ()),
        section(Title.FAILED, _fitting(failed, limits.failed)),
        _listed(Title.SHARED, feedback.shared, limits.parts),
        _listed(Title.FRUITLESS, feedback.fruitless, limits.parts),
        _listed(Title.TRIED, (*rest, *feedback.known), limits.known),
    ]
    return [one for one in found if one]


def tried_line(number: int, tried: Tried, limits: TokenLimits = FULL) -> str:
    """One tried factor, numbered."""
    label = "corr in time {:+.4f}" if tried.in_time else "ic {:+.4f}"
    numbers = [
        form.format(value)
        for form, value in (
            (label, tried.ic if limits.hypothesis_chars else None),
            ("t {:+.1f}", tried.ic_t),
            ("turnover {:.2f}", tried.turnover_frac),
            ("breaks even at {:.1f} bps", tried.break_even_bps),
        )
        if value is not None
    ]
    words = safe_prose(tried.hypothesis, limits.hypothesis_chars) if limits.hypothesis_chars else ""
    parts = [f"{number}. {_plain(tried.expression)}", ", ".join(numbers), words]
    return " | ".join(part for part in parts if part)


def _failed_line(one: Failed) -> str:
    line = f"- {one.count} x {safe_prose(one.reason, _REASON_CHARS)}"
    return f"{line} | {safe_expression(one.example, _EXAMPLE_CHARS)}" if one.example else line


def _plain(text: str) -> str:
    return safe_expression(text, _EXPRESSION_CHARS)


def _listed(title: Title, expressions: Iterable[str], most_tokens: int) -> str:
    return section(title, _fitting(map(_plain, expressions), most_tokens))


def _fitting(lines: Iterable[str], most_tokens: int) -> Sequence[str]:
    """The lines that fit, in their order; one too long is passed over, but the first is kept."""
    kept: list[str] = []
    left = most_tokens
    for text in lines:
        tokens = text_tokens(text) + 1
        if tokens <= left or not kept:
            kept.append(text)
            left -= tokens
    return kept
