"""The language of universes: `top:25 by median_30d(quote_volume), listed:90d, monthly`.

    rule    = clause { "," clause }
    clause  = "top:" COUNT "by" measure      the COUNT symbols that have most of it
            | "listed:" DAYS "d"             with a bar so long ago, or longer
            | "quote:" ASSET                 quoted in it
            | "include:" KIND { "+" KIND }   what is left out otherwise: tradfi, dated, ...
            | "without:" ASSET { "+" ASSET } never these coins
            | "monthly"                      judged anew at the start of each month
    measure = STATISTIC "_" DAYS "d" "(" FIELD ")"

Clauses come in any order, each once; "top" must be there. The canonical text has them in this
order, with what was left to the defaults spelt out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from alphamill.errors import FactorError
from alphamill.market.kinds import Kind

STATISTICS = ("median", "mean", "min", "max")
MEASURED = ("quote_volume", "volume", "trades", "taker_buy_quote")  # daily bars have them
EXAMPLE = "top:25 by median_30d(quote_volume), listed:90d, monthly"

# Days before the one at which a coin must have been listed in which a bar is looked for. So what a
# rule looks back on is fixed, whatever the lake has. FTT was halted for 310 days, CVC for 154, and
# came back; who was away for longer begins anew.
LISTED_WITHIN_DAYS = 365
_MOST_SYMBOLS, _MOST_DAYS = 2000, 1500
_CLAUSES = ("top", "listed", "quote", "include", "without", "monthly")
_NAME = re.compile(r"\s*([A-Za-z_]*)\s*")
_MEASURE = re.compile(r"(?P<how>[A-Za-z]+)_(?P<days>\d+)d\s*\(\s*(?P<field>\w*)\s*\)")
_ASSET = re.compile(r"[^\s,+:()]{1,28}")


@dataclass(frozen=True, slots=True)
class Rule:
    """Who belongs, judged at the start of each month (UTC) by daily bars that had closed by then.

    count: how many. statistic, window_days, field: the measure; all days of the window must have a
    bar. listed_days: how long ago there must have been one. include: kinds of symbols that are
    taken besides coins. without: base assets that never belong.
    """

    count: int
    statistic: str
    window_days: int
    field: str
    listed_days: int
    quote: str
    include: tuple[Kind, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """As written: "median_30d(quote_volume)"."""
        return f"{self.statistic}_{self.window_days}d({self.field})"

    @property
    def text(self) -> str:
        """The canonical text; equal rules have equal ones, and it parses to the same rule."""
        clauses = [f"top:{self.count} by {self.measure}", f"listed:{self.listed_days}d"]
        clauses.append(f"quote:{self.quote}")
        if self.include:
            clauses.append(f"include:{'+'.join(self.include)}")
        if self.without:
            clauses.append(f"without:{'+'.join(self.without)}")
        return ", ".join([*clauses, "monthly"])

    @property
    def history_days(self) -> int:
        """Days before a month's start that membership looks back on, at most."""
        return max(self.window_days, self.listed_days + LISTED_WITHIN_DAYS)

    @property
    def excluded(self) -> tuple[Kind, ...]:
        """Kinds of symbols that never belong."""
        return tuple(kind for kind in Kind if kind not in self.include)


def parse_rule(text: str, quote: str = "USDT") -> Rule:
    """The rule. quote: where the text names none.

    Raises FactorError with the position of what is wrong, what is expected there, and the nearest
    name.
    """
    found: dict[str, Callable[[Rule], Rule]] = {}
    for name, value, at, value_at in _clauses(text):
        if name not in _CLAUSES:
            expected = "one of " + ", ".join(_CLAUSES)
            raise FactorError(f"no clause {name!r}", at, expected, _nearest(name, _CLAUSES))
        if name in found:
            raise FactorError(f"{name!r} is said twice", at, "each clause once")
        found[name] = _READERS[name](value, value_at)
    if "top" not in found:
        raise FactorError("the rule does not say how many", len(text), f"as in {EXAMPLE!r}")
    rule = Rule(0, "", 0, "", -1, quote)
    for name in _CLAUSES:
        rule = found[name](rule) if name in found else rule
    # Without a word about it a coin is listed long enough whose window is full.
    return rule if rule.listed_days >= 0 else replace(rule, listed_days=rule.window_days)


def _clauses(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Name, value and where each begins; the value of a clause without ":" is ""."""
    at = 0
    for part in text.split(","):
        match = _NAME.match(part)
        name = match[1] if match else ""
        end = match.end() if match else 0
        begins = at + (match.start(1) if match else 0)
        if not name:
            raise FactorError("a clause is missing", begins, "one of " + ", ".join(_CLAUSES))
        rest = part[end:]
        if rest and not rest.startswith(":"):
            raise FactorError(f"{rest[:1]!r} does not fit here", at + end, "':' or ','")
        value = rest[1:]
        blank = len(value) - len(value.lstrip())
        yield name, value.strip(), begins, at + end + bool(rest) + blank
        at += len(part) + 1


def _top(value: str, at: int) -> Callable[[Rule], Rule]:
    match = re.fullmatch(r"(\S+)(?:\s+(\S+)(?:\s+(.*))?)?", value)
    if match is None:
        raise FactorError("'top' needs a number", at, f"as in {EXAMPLE!r}")
    count = _whole(match[1], at, 1, _MOST_SYMBOLS)
    if match[2] != "by" or not match[3]:
        place = at + (match.start(2) if match[2] else len(value))
        raise FactorError("'top' does not say by what", place, "by median_30d(quote_volume)")
    measure, place = match[3], at + match.start(3)
    parts = _MEASURE.fullmatch(measure)
    if parts is None:
        raise FactorError(f"{measure!r} is no measure", place, "such as median_30d(quote_volume)")
    how, field = parts["how"], parts["field"]
    if how not in STATISTICS:
        expected = "one of " + ", ".join(STATISTICS)
        raise FactorError(f"no statistic {how!r}", place, expected, _nearest(how, STATISTICS))
    if field not in MEASURED:
        where, expected = place + parts.start("field"), "one of " + ", ".join(MEASURED)
        raise FactorError(f"no measure of {field!r}", where, expected, _nearest(field, MEASURED))
    days = _whole(parts["days"], place + parts.start("days"), 1, _MOST_DAYS)
    return lambda rule: replace(rule, count=count, statistic=how, window_days=days, field=field)


def _listed(value: str, at: int) -> Callable[[Rule], Rule]:
    if not value.endswith("d"):
        raise FactorError(f"'listed' needs days, not {value!r}", at, "as in listed:90d")
    days = _whole(value[:-1], at, 0, _MOST_DAYS)
    return lambda rule: replace(rule, listed_days=days)


def _quote(value: str, at: int) -> Callable[[Rule], Rule]:
    (asset,) = _assets(value, at, 1)
    return lambda rule: replace(rule, quote=asset)


def _include(value: str, at: int) -> Callable[[Rule], Rule]:
    known = tuple(kind.value for kind in Kind)
    names = _parts(value, at)
    for name, place in names:
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise FactorError(f"no kind {name!r}", place, expected, _nearest(name, known))
    kinds = tuple(kind for kind in Kind if kind in {name for name, _ in names})
    return lambda rule: replace(rule, include=kinds)


def _without(value: str, at: int) -> Callable[[Rule], Rule]:
    assets = tuple(sorted(set(_assets(value, at, _MOST_SYMBOLS))))
    return lambda rule: replace(rule, without=assets)


def _monthly(value: str, at: int) -> Callable[[Rule], Rule]:
    if value:
        raise FactorError("'monthly' has nothing after it", at, "',' or the end")
    return lambda rule: rule


_READERS: dict[str, Callable[[str, int], Callable[[Rule], Rule]]] = {
    "top": _top,
    "listed": _listed,
    "quote": _quote,
    "include": _include,
    "without": _without,
    "monthly": _monthly,
}


def _assets(value: str, at: int, most: int) -> list[str]:
    found = _parts(value, at)
    if len(found) > most:
        raise FactorError(f"{value!r} names {len(found)} assets", found[most][1], f"{most}")
    for name, place in found:
        if not _ASSET.fullmatch(name) or name != name.upper():
            raise FactorError(f"{name!r} is no asset", place, "such as USDT", name.upper() or None)
    return [name for name, _ in found]


def _parts(value: str, at: int) -> list[tuple[str, int]]:
    """Names between "+" and where they begin."""
    found = []
    for part in value.split("+"):
        found.append((part.strip(), at + len(part) - len(part.lstrip())))
        at += len(part) + 1
    return found


def _whole(text: str, at: int, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not low <= int(text[:9]) <= high:
        raise FactorError(f"{text!r} does not fit here", at, f"a whole number, {low} to {high}")
    return int(text)


def _nearest(name: str, known: Collection[str]) -> str | None:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return close[0] if close else None
