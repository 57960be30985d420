"""How numbers, money, times and foreign text are shown; one rule each, for terminal and page."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from alphamill.evaluation import Grade

VERDICT_STYLES = {
    Grade.TRADABLE: "bold green",
    Grade.PREDICTIVE: "cyan",
    Grade.UNDECIDABLE: "yellow",
    Grade.REJECTED: "dim",
}
NOTHING = "–"  # what is not known, not measured, or not a number
_PLAIN = re.compile(r"(?:[!-~]+(?: [!-~]+)*)?")  # visible ASCII, single spaces between
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, direction overrides, surrogates


def graded(verdicts: Iterable[Grade]) -> dict[Grade, int]:
    """How many have each verdict, the best first; undecidable is said where there is any."""
    found = Counter(verdicts)
    return {
        grade: found[grade]
        for grade in reversed(Grade)
        if found[grade] or grade is not Grade.UNDECIDABLE
    }


def plain(text: object, limit: int = 400) -> str:
    """Foreign text on one line: white space is a space, what a screen would obey is "�", cut."""
    if text is None:
        return NOTHING
    if isinstance(text, str) and len(text) <= limit and _PLAIN.fullmatch(text):
        return text  # most of what a page shows, by far
    shown = " ".join(str(text)[: 4 * limit].split())
    shown = "".join("�" if unicodedata.category(c) in _HIDDEN else c for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def number(value: object, digits: int = 2, signed: bool = False) -> str:
    """With `digits` decimals; "–" for anything that is not a finite number."""
    known = real(value)
    if known is None:
        return NOTHING
    if abs(known) >= 10**9:
        return f"{known:.{digits}e}"
    return f"{known:{'+' if signed else ''},.{digits}f}"


def probability(value: object) -> str:
    """A p-value; one too small for four decimals is said to be so, never 0.0000."""
    known = real(value)
    if known is None:
        return NOTHING
    return f"{known:.4f}" if known >= 0.0001 else "<0.0001"


def whole(value: object) -> str:
    """A count with thousands separators."""
    known = real(value)
    return NOTHING if known is None else f"{round(known):,}"


def counted(count: int, noun: str) -> str:
    """As in "1 factor" and "2,000 factors"."""
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def percent(frac: object, digits: int = 1) -> str:
    """A fraction as a percentage."""
    known = real(frac)
    return NOTHING if known is None else f"{100 * known:,.{digits}f} %"


def usd(micros: object) -> str:
    """Micro-dollars as dollars, to the last one: $0.001234."""
    known = real(micros)
    if known is None:
        return NOTHING
    dollars, rest = divmod(abs(round(known)), 1_000_000)
    return f"{'-' if known < 0 else ''}${dollars:,}.{rest:06d}"


def dollars(micros: object) -> str:
    """Micro-dollars for a narrow column: three digits that count, $0.000279, $1.24, $1,240."""
    known = real(micros)
    if known is None:
        return NOTHING
    amount = abs(known) / 1e6
    small = 6 if 0 < amount < 0.001 else 4 if 0 < amount < 0.1 else 2
    digits = 0 if amount >= 100 else small
    return f"{'-' if known < 0 else ''}${amount:,.{digits}f}"


def amount(value: object) -> str:
    """A large amount of money in three digits: 950, 1.25k, 34.0M, 2.10B."""
    known = real(value)
    if known is None:
        return NOTHING
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(known) >= 0.9995 * size:
            scaled = known / size
            return f"{scaled:,.{max(0, 2 - len(str(int(abs(scaled)))) + 1)}f}{letter}"
    return f"{known:,.0f}"


def times_over(ratio: object) -> str:
    """How many times over, three digits that count: 20,000, 2.5, 0.001."""
    known = real(ratio)
    if known is None:
        return NOTHING
    return f"{known:,.0f}" if abs(known) >= 100 else f"{known:.3g}"


def milliseconds(value: object) -> str:
    """A latency; seconds from ten seconds on."""
    known = real(value)
    if known is None:
        return NOTHING
    return f"{known:,.0f} ms" if known < 10_000 else f"{known / 1000:,.1f} s"


def elapsed(seconds: object) -> str:
    """A duration: 7 s, 3:07 min, 2:05 h."""
    known = real(seconds)
    if known is None:
        return NOTHING
    total = max(0, int(known))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60}:{total % 60:02d} min"
    return f"{total // 3600}:{total % 3600 // 60:02d} h"


def moment(time_ms: object) -> str:
    """UTC to the minute; "–" for what is no time."""
    known = real(time_ms)
    if known is None or not 0 <= known < 253_402_300_800_000:
        return NOTHING
    return f"{datetime.fromtimestamp(known / 1000, UTC):%Y-%m-%d %H:%M}"


def day(time_ms: object) -> str:
    """UTC to the day; "–" for what is no time."""
    return moment(time_ms).partition(" ")[0]


def real(value: object) -> float | None:
    """The finite number, or None; a bool is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def errors_text(errors: object) -> str:
    """3 (timeout 2, http_500 1); 0 without any."""
    if not isinstance(errors, Mapping):
        return NOTHING
    total = sum(errors.values())
    kinds = ", ".join(f"{plain(kind, 40)} {whole(count)}" for kind, count in errors.items())
    return f"{whole(total)} ({kinds})" if total else "0"


def turned(figure: float | None, direction: int) -> float | None:
    """A figure of the factor as written, in the direction that it is traded."""
    return None if figure is None else direction * figure
