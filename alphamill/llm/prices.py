"""What a call costs, in integer micro-dollars, from dated list prices.

USD per million tokens is micro-dollars per token, so a cost is tokens times price, rounded up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.llm.messages import TokenUsage, same_model
from alphamill.settings import ModelSettings, PeakPrice, Price

_FRIDAY = 4
_CALL_MS = 3_600_000  # no call, waits included, lasts longer than this after it was priced


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A model's prices by the day from which they hold, and where they come from.

    retires: the day on which its maker ends it, "" if none is known; retires_source: where that
    was read, and when; successor: the one that its maker names.
    """

    model: str
    prices: tuple[Price, ...]
    source: str
    retires: str = ""
    note: str = ""
    retires_source: str = ""
    successor: str = ""

    @property
    def price(self) -> Price:
        """The one in force now, for people to read."""
        return self.at(SystemClock().now_ms())

    def at(self, now_ms: int) -> Price:
        """The latest that holds at `now_ms`; the earliest if none does yet."""
        today = _moment(now_ms).date().isoformat()
        begun = [price for price in self.prices if price.effective_from <= today]
        return begun[-1] if begun else self.prices[0]

    def ended(self, now_ms: int) -> str:
        """That the model was to end by now, in words; "" if not."""
        if not self.retires or self.retires > _moment(now_ms).date().isoformat():
            return ""
        return f"{self.model} retired on {self.retires} ({self.retires_source})"

    @property
    def cure(self) -> str:
        """What to do about a model that ends."""
        named = f", such as {self.successor}," if self.successor else ""
        return f"set a successor{named} in llm.tiers"

    def worst_case_micros(self, prompt_tokens: int, max_tokens: int, now_ms: int) -> int:
        """The most that a call made now can cost, at any hour: nothing cached, every token written.

        now_ms: UTC.
        """
        prices = [self.at(now_ms), self.at(now_ms + _CALL_MS)]
        return max(
            rates.most_micros(prompt_tokens, max_tokens)
            for price in prices
            for rates in _all_rates(price)
        )

    def cost_micros(self, usage: TokenUsage, during_ms: tuple[int, int] | None = None) -> int:
        """What a call with this usage costs; cached and written tokens are part of the prompt's.

        during_ms: when it began and ended, UTC; it is charged the dearer of the two moments' rates,
        since providers do not say which they take. None: the dearest rates in force today.
        """
        if during_ms is None:
            rates = _all_rates(self.price)
        else:
            rates = [_rates_at(self.at(moment), moment) for moment in during_ms]
        return max(one.micros(usage) for one in rates)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Micro-dollars a token."""

    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal

    def micros(self, usage: TokenUsage) -> int:
        cached = min(usage.cached, usage.prompt)
        written = min(usage.cache_write, usage.prompt - cached)
        return _round_up(
            (usage.prompt - cached - written) * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + usage.completion * self.output
        )

    def most_micros(self, prompt_tokens: int, completion_tokens: int) -> int:
        dearest_input = max(self.input, self.cached_input, self.cache_write)
        return _round_up(prompt_tokens * dearest_input + completion_tokens * self.output)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by exact model name: a dated variant may cost something else, so it needs its own."""

    listed: Mapping[str, ListedPrice]

    @classmethod
    def shipped(cls, extra: Mapping[str, Price | Sequence[Price]] | None = None) -> PriceTable:
        """The table of `prices.toml`; `extra` (settings.llm.prices) is added and wins."""
        text = files("alphamill.llm").joinpath("prices.toml").read_text(encoding="utf-8")
        listed = {name: _listed(name, row) for name, row in tomllib.loads(text)["models"].items()}
        shipped = cls(dict(listed))
        for name, given in (extra or {}).items():
            prices = [given] if isinstance(given, Price) else given
            listed[name] = shipped.until(_given(name, prices))
        return cls(listed)

    def __iter__(self) -> Iterator[ListedPrice]:
        return iter(self.listed.values())

    def __contains__(self, model: object) -> bool:
        return model in self.listed

    def __getitem__(self, model: str) -> ListedPrice:
        """Raises Misconfigured, because an unpriced call cannot be budgeted."""
        try:
            return self.listed[model]
        except KeyError:
            raise Misconfigured(
                "llm.prices",
                f"no price for model {model!r}",
                f'add [llm.prices."{model}"] with input and output (USD per million tokens) '
                "to the TOML file named by ALPHAMILL_CONFIG",
            ) from None

    def served(self, model: str) -> list[ListedPrice]:
        """Prices that a served model may have: of its very name, else of the names it dates."""
        if model in self.listed:
            return [self.listed[model]]
        return [row for name, row in self.listed.items() if same_model(name, model)]

    def of(self, chosen: ModelSettings) -> ListedPrice:
        """The price of a tier's model: its own, the named entry's, or that of its name.

        Raises Misconfigured for one that has none.
        """
        if not isinstance(chosen.price, str):
            return self.until(_given(chosen.model, chosen.price))
        return self[chosen.price or chosen.model]

    def until(self, priced: ListedPrice) -> ListedPrice:
        """With the end of the model that its name dates, whoever gave its price."""
        for row in self.served(priced.model):
            if row.retires:
                return replace(
                    priced,
                    retires=row.retires,
                    retires_source=row.retires_source,
                    successor=row.successor,
                )
        return priced


def _listed(name: str, row: Mapping[str, Any]) -> ListedPrice:
    fields = {key: value for key, value in row.items() if key in Price.model_fields}
    price = Price.model_validate(fields)
    words = ("retires", "note", "retires_source", "successor")
    return ListedPrice(name, (price,), str(row["source"]), *(row.get(word, "") for word in words))


def _given(name: str, prices: Sequence[Price]) -> ListedPrice:
    return ListedPrice(name, tuple(sorted(prices, key=_day)), source="settings")


def _day(price: Price) -> str:
    return price.effective_from


@lru_cache(maxsize=256)
def _rates(price: Price | PeakPrice) -> _Rates:
    def exact(usd_per_million: float | None) -> Decimal:
        known = price.input if usd_per_million is None else usd_per_million
        return Decimal(str(known))  # 0.1 as it is written, not as binary stores it

    return _Rates(
        exact(price.input), exact(price.cached_input), exact(price.cache_write), exact(price.output)
    )


def _all_rates(price: Price) -> list[_Rates]:
    return [_rates(price)] + ([_rates(price.peak)] if price.peak else [])


def _rates_at(price: Price, moment_ms: int) -> _Rates:
    peak, moment = price.peak, _moment(moment_ms)
    if peak is None or (peak.weekdays_only and moment.weekday() > _FRIDAY):
        return _rates(price)
    spans = (span.split("-") for span in peak.hours_utc)
    dear = any(int(first) <= moment.hour < int(last) for first, last in spans)
    return _rates(peak if dear else price)


def _moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def _round_up(micros: Decimal) -> int:
    return int(micros.to_integral_value(rounding=ROUND_CEILING))
