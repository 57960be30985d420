"""Names and times as people write them, and what to say of one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market

Moment = str | int | date  # a datetime and a pandas.Timestamp are dates too
_TOLD = 12  # names that an error lists


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> GiveUp:
    """The error for a name that is not there: the nearest that is, and what there is.

    where: " in the lake at /data", or "".
    """
    names = list(known)
    near = [one for one in names if one.lower() == name.lower()]
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    there = f"there are: {', '.join(names[:_TOLD])}{more}" if names else "there is none at all"
    return GiveUp(f"no {what} {str(name)!r}{where}; {hint}{there}")


def interval_named(text: str | Interval) -> Interval:
    """A bar's length as Binance spells it: "1h". Raises GiveUp, naming the nearest."""
    known = [interval.value for interval in Interval]
    if text not in known:
        raise unknown("interval", str(text), known)
    return Interval(text)


def market_named(text: str | Market) -> Market:
    """One of spot, um and cm. Raises GiveUp, naming the nearest."""
    known = [market.value for market in Market]
    if text not in known:
        raise unknown("market", str(text), known)
    return Market(text)


def listed(symbols: str | Sequence[str]) -> tuple[str, ...]:
    """One symbol or several, each once, in order. Raises GiveUp for none."""
    names = (symbols,) if isinstance(symbols, str) else tuple(dict.fromkeys(symbols))
    if not names:
        raise GiveUp("name at least one symbol, as ['BTCUSDT']")
    return names


def epoch_ms(moment: Moment) -> int:
    """UTC epoch milliseconds of "2024-01-31", a date, a datetime or Timestamp; of an int, itself.

    What has no time zone is UTC. Raises GiveUp for a text that is no date.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise GiveUp(
                f"{moment!r} is not a date; write '2024-01-31' or '2024-01-31T12:00'"
            ) from error
    if isinstance(moment, int):
        return moment
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
