"""What closes a bar, as text: 15s, 7m, 4h, 1000t, 500v, 1e6$, 200ti, 500vi, 1e6$i."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from alphamill.errors import NotParsed

_SPELLINGS = "15s, 7m, 4h, 1000t, 500v, 1e6$, 200ti, 500vi, 1e6$i or imbalance"
_DAY_S = 86_400
_MOST = Decimal(10) ** 18  # of any threshold; its sums fit 128 bits
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": _DAY_S}
_RULE = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e\+?\d{1,2})?)(?P<unit>[a-z$]+)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e\+?\d{1,2})?")
# What people write -> the unit it means; for suggestions only.
_MEANT = MappingProxyType(
    {
        **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
        **dict.fromkeys(("hr", "hour", "hours"), "h"),
        **dict.fromkeys(("day", "days"), "d"),
        **dict.fromkeys(("tick", "ticks", "trade", "trades"), "t"),
        **dict.fromkeys(("vol", "volume", "base"), "v"),
        **dict.fromkeys(("q", "usd", "usdt", "dollar", "dollars", "quote", "value"), "$"),
        **dict.fromkeys(("it", "imbalance"), "ti"),
        "iv": "vi",
        "i$": "$i",
    }
)
_MULTIPLES = {"k": "e3", "mio": "e6", "mn": "e6"}


class RuleError(NotParsed):
    """A rule that does not parse; its suggestion is a rule that does."""


class Measure(StrEnum):
    """What a rule counts."""

    TIME = "time"  # seconds
    TRADES = "trades"
    VOLUME = "volume"  # base units; contracts on COIN-M
    QUOTE = "quote"  # quote units; base units on COIN-M


_UNITS = {"t": Measure.TRADES, "v": Measure.VOLUME, "$": Measure.QUOTE}


@dataclass(frozen=True, slots=True)
class Rule:
    """When a bar closes.

    measure, threshold: the bar closes with the trade that brings its sum to the threshold, and that
        trade is in it whole; of TIME the threshold is its length in seconds.
    imbalance: the sum is of takers' buying (+) less selling (-), and its magnitude counts.
    text: the one spelling of this rule, fit to be a folder's name.

    Every rule starts anew at midnight UTC: a day's bars depend on that day's trades alone. Where a
    length does not divide the day its last bar is short.
    """

    measure: Measure
    threshold: Decimal
    imbalance: bool
    text: str

    @property
    def is_time(self) -> bool:
        """Whether bars close by the clock."""
        return self.measure is Measure.TIME

    @property
    def length_us(self) -> int:
        """Of a time bar, in microseconds. ValueError for a rule of another kind."""
        if not self.is_time:
            raise ValueError(f"{self.text} bars have no length in time")
        return int(self.threshold) * 1_000_000

    def __str__(self) -> str:
        return self.text


DEFAULT_IMBALANCE = "100ti"
"""What `imbalance` alone means: a hundred trades more on one side; it suits any coin's price."""


def parse_rule(text: str) -> Rule:
    """The rule that `text` spells; upper and lower case differ.

    NUMBERs, m, h or d: time bars, up to a day. NUMBERt: so many trades. NUMBERv: so much base
    volume. NUMBER$: so much quote volume. An `i` behind t, v or $: takers' buying less selling.
    `imbalance` is 100ti. A number may have a point and an exponent (1e6). Equal rules have one
    text: 60s is 1m. Raises RuleError.
    """
    asked = text.strip()
    if asked == "imbalance":
        asked = DEFAULT_IMBALANCE
    match = _RULE.fullmatch(asked)
    unit = match["unit"] if match else ""
    if match is None or (unit not in _SECONDS and unit.removesuffix("i") not in _UNITS):
        raise _unknown(asked)
    number = Decimal(match["number"])
    if unit in _SECONDS:
        return _time_rule(asked, number, unit)
    return _event_rule(asked, number, unit)


def _time_rule(asked: str, number: Decimal, unit: str) -> Rule:
    seconds = number * _SECONDS[unit]
    if seconds != seconds.to_integral_value() or seconds < 1:
        raise RuleError(f"{asked!r} is not a whole number of seconds", 0, "a length from 1s to 1d")
    if seconds > _DAY_S:
        raise RuleError(f"{asked!r} is longer than a day", 0, "a length from 1s to 1d")
    whole = int(seconds)
    unit = next(name for name in reversed(_SECONDS) if whole % _SECONDS[name] == 0)
    return Rule(Measure.TIME, Decimal(whole), False, f"{whole // _SECONDS[unit]}{unit}")


def _event_rule(asked: str, number: Decimal, unit: str) -> Rule:
    measure = _UNITS[unit.removesuffix("i")]
    if not 0 < number <= _MOST:
        raise RuleError(f"{asked!r} is out of range", 0, "more than 0 and at most 1e18")
    if measure is Measure.TRADES and number != number.to_integral_value():
        raise RuleError(f"{asked!r}: trades are whole", 0, "a whole number")
    if number * 10**8 != (number * 10**8).to_integral_value():
        raise RuleError(f"{asked!r} has more than 8 decimals", 0, "at most 8 decimals")
    return Rule(measure, number, unit.endswith("i"), f"{_number_text(number)}{unit}")


def _number_text(number: Decimal) -> str:
    """Plain below a million; from there on with an exponent where that is shorter."""
    plain = f"{number.normalize():f}"
    if number < 10**6:
        return plain
    sign_digits_exponent = number.normalize().as_tuple()
    digits = "".join(map(str, sign_digits_exponent.digits))
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    short = f"{mantissa}e{number.adjusted()}"
    return short if len(short) < len(plain) else plain


def _unknown(asked: str) -> RuleError:
    number = _NUMBER.match(asked)
    position = number.end() if number else 0
    what = f"{asked[position:]!r} is no unit" if number else f"{asked!r} does not begin as a rule"
    if not asked:
        what = "no rule is given"
    elif number and position == len(asked):
        what = f"{asked!r} has no unit"
    suggestion = _meant(asked)
    return RuleError(what, position, _SPELLINGS, suggestion)


def _meant(asked: str) -> str | None:
    """The rule that is meant by the usual other spellings."""
    plain = re.sub(r"[\s_,]", "", asked.lower())
    if plain.startswith("$"):
        plain = f"{plain[1:]}$"
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d{1,2})?)(k|mio|mn)?([a-z$]*)", plain)
    if found is None:
        return "imbalance" if plain.startswith("imb") else None
    number, multiple, unit = found.groups(default="")
    written = f"{number}{_MULTIPLES.get(multiple, '')}{_MEANT.get(unit, unit)}"
    try:
        return parse_rule(written).text if written != asked and unit else None
    except RuleError:
        return None
