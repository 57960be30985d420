"""What the tiers are asked.

Each prompt is two messages. The system message begins with the language's manual, which is the same
for every tier, and goes on with the tier's task, because providers discount a repeated prefix. The
user message has the data, the most constant part first: what is the same for a whole run, what the
rounds taught, which is the same for all symbols, and then the symbol's own. Times and price levels
are left out: a model that knows the date may remember the market.

Sections of a user message start with "## "; nothing that a model or a user said can start one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from alphamill.llm.messages import Message
from alphamill.llm.prompts.feedback import (
    BRIEF,
    FULL,
    Failed,
    Feedback,
    TooFast,
    Tried,
    feedback_sections,
    tried_line,
)
from alphamill.llm.prompts.sanitise import safe_expression, safe_prose
from alphamill.llm.prompts.sections import Title, section

__all__ = [
    "PROMPT_VERSION",
    "Broken",
    "Failed",
    "Feedback",
    "Setting",
    "TooFast",
    "Tried",
    "detailed_analysis_prompt",
    "final_verification_prompt",
    "quick_scan_prompt",
    "repair_prompt",
]

PROMPT_VERSION = "6"  # raise it with any change of wording: it is stored beside every reply

_PRICES = ("open", "high", "low", "close")
_STRATEGY_CHARS = 2000
_WORD_CHARS = 300


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all prompts of a run and an interval; it ends their constant prefix.

    groups: names of the run's group tables.
    """

    interval: str
    strategy: str = ""
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """An expression that does not parse, and the parser's word on it."""

    expression: str
    problem: str


def quick_scan_prompt(
    manual: str,
    setting: Setting,
    feedback: Feedback,
    symbol: str,
    last_bars: Sequence[Mapping[str, float]],
    indicators: Mapping[str, float],
    n_candidates: int,
    theme: str = "",
) -> tuple[Message, ...]:
    """Ask for new candidates with one symbol's last bars (oldest first) in view.

    last_bars: open, high, low, close, volume at any level. theme: a direction in which this call
    shall look, so that calls side by side differ.
    """
    themed = [f"At least half of your candidates: {theme}."] if theme else []
    return _messages(
        "quick_scan",
        manual,
        _run(setting),
        *feedback_sections(feedback, BRIEF),
        section(Title.THEME, themed),
        section(f"Last bars of {safe_prose(symbol, 40)}, oldest first", _chart(last_bars)),
        section(Title.INDICATORS, [_pairs(indicators)]),
        section(Title.TASK, [f"Propose {n_candidates} candidates that are not listed above."]),
    )


def detailed_analysis_prompt(
    manual: str, setting: Setting, feedback: Feedback, n_candidates: int
) -> tuple[Message, ...]:
    """Ask for refinements of the best, with their discovery numbers in hand."""
    return _messages(
        "detailed_analysis",
        manual,
        _run(setting),
        *feedback_sections(feedback, FULL),
        section(Title.TASK, [f"Propose {n_candidates} improved candidates."]),
    )


def final_verification_prompt(
    manual: str, setting: Setting, finalists: Sequence[Tried]
) -> tuple[Message, ...]:
    """Ask which finalists to keep or to veto; they are numbered from 1 in the order given."""
    return _messages(
        "final_verification",
        manual,
        _run(setting),
        section(
            Title.FINALISTS,
            [tried_line(number, tried) for number, tried in enumerate(finalists, 1)],
        ),
        section(Title.TASK, ["Keep at most three; veto what should not go on."]),
    )


def repair_prompt(manual: str, setting: Setting, broken: Sequence[Broken]) -> tuple[Message, ...]:
    """Ask for expressions to be mended; they are numbered from 1 in the order given."""
    lines = [
        f"{number}. {json.dumps(safe_expression(one.expression, 500), ensure_ascii=False)} "
        f"| {safe_expression(one.problem, _WORD_CHARS)}"
        for number, one in enumerate(broken, 1)
    ]
    return _messages(
        "repair",
        manual,
        _run(setting),
        section(Title.BROKEN, lines),
        section(
            Title.TASK, ["Mend each, or give null for one that cannot be said in the language."]
        ),
    )


@cache
def _template(name: str) -> str:
    return files("alphamill.llm.prompts").joinpath(f"{name}.txt").read_text(encoding="utf-8")


def _messages(tier: str, manual: str, *parts: str) -> tuple[Message, ...]:
    shared = Template(_template("shared")).substitute(manual=manual.strip())
    user = "\n\n".join(part for part in parts if part)
    return Message("system", shared + _template(tier)), Message("user", user)


def _run(setting: Setting) -> str:
    lines = [f"Bars of {setting.interval}; all coins of the run together are the cross-section."]
    if tables := " ".join(safe_prose(name, 40) for name in setting.groups):
        lines.append(f"Group tables: {tables}.")
    else:
        lines.append("There are no group tables: operators over one group cannot be used.")
    if wish := safe_prose(setting.strategy, _STRATEGY_CHARS):
        lines.append(f"The researcher's wish: {wish}")
    return section(Title.RUN, lines)


def _chart(bars: Sequence[Mapping[str, float]]) -> list[str]:
    """A line a bar: prices from 0, the lowest, to 100, volume in hundredths of the largest."""
    if not bars:
        return ["none"]
    prices = [bar[name] for bar in bars for name in _PRICES if math.isfinite(bar[name])]
    volumes = [bar["volume"] for bar in bars if math.isfinite(bar["volume"])]
    low, range_ = min(prices, default=0.0), max(prices, default=0.0) - min(prices, default=0.0)
    most = max(volumes, default=0.0)
    return ["open high low close volume"] + [
        " ".join(
            [_hundredths(bar[name] - low, range_) for name in _PRICES]
            + [_hundredths(bar["volume"], most)]
        )
        for bar in bars
    ]


def _hundredths(part: float, whole: float) -> str:
    if not math.isfinite(part):
        return "-"
    return str(round(100 * part / whole)) if whole > 0 else "0"


def _pairs(values: Mapping[str, float]) -> str:
    """Rounded: what is beyond two digits costs tokens and teaches nothing."""
    return " ".join(f"{name}={_rounded(value)}" for name, value in values.items()) or "none"


def _rounded(value: float) -> str:
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2g}"
