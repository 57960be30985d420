"""What a call costs, in integer micro-dollars, from dated list prices.

USD per million tokens is micro-dollars per token, so a cost is tokens times price, rounded up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from importlib.resources import files

from alphamill.errors import Misconfigured
from alphamill.llm.messages import TokenUsage
from alphamill.settings import Price


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A model's price and where it comes from. `retires` is a date, "" if none is known."""

    model: str
    price: Price
    source: str
    retires: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by exact model name: a dated variant may cost something else, so it needs its own."""

    listed: Mapping[str, ListedPrice]

    @classmethod
    def shipped(cls, extra: Mapping[str, Price] | None = None) -> PriceTable:
        """The table of `prices.toml`; `extra` (settings.llm.prices) is added and wins."""
        text = files("alphamill.llm").joinpath("prices.toml").read_text(encoding="utf-8")
        listed = {name: _listed(name, row) for name, row in tomllib.loads(text)["models"].items()}
        for name, price in (extra or {}).items():
            listed[name] = ListedPrice(name, price, source="settings")
        return cls(listed)

    def __iter__(self) -> Iterator[ListedPrice]:
        return iter(self.listed.values())

    def __contains__(self, model: object) -> bool:
        return model in self.listed

    def price(self, model: str) -> Price:
        """The model's price; raises Misconfigured, because an unpriced call cannot be budgeted."""
        try:
            return self.listed[model].price
        except KeyError:
            raise Misconfigured(
                "llm.prices",
                f"no price for model {model!r}",
                f'add [llm.prices."{model}"] with input and output (USD per million tokens) '
                "to the TOML file named by ALPHAMILL_CONFIG",
            ) from None

    def worst_case_micros(self, model: str, prompt_tokens: int, max_tokens: int) -> int:
        """The most that a call can cost: nothing cached, every allowed token written."""
        price = self.price(model)
        dearest_input = max(_exact(price.input), _cached(price))
        return _round_up(prompt_tokens * dearest_input + max_tokens * _exact(price.output))

    def cost_micros(self, model: str, usage: TokenUsage) -> int:
        """What a call with this usage costs; cached tokens are part of the prompt's."""
        price = self.price(model)
        cached = min(usage.cached, usage.prompt)
        fresh = usage.prompt - cached
        return _round_up(
            fresh * _exact(price.input)
            + cached * _cached(price)
            + usage.completion * _exact(price.output)
        )


def _listed(name: str, row: Mapping[str, str | float]) -> ListedPrice:
    price = Price.model_validate(
        {key: row[key] for key in ("input", "output", "cached_input", "as_of") if key in row}
    )
    return ListedPrice(
        name, price, str(row["source"]), str(row.get("retires", "")), str(row.get("note", ""))
    )


def _cached(price: Price) -> Decimal:
    return _exact(price.input if price.cached_input is None else price.cached_input)


def _exact(usd_per_million: float) -> Decimal:
    return Decimal(str(usd_per_million))  # 0.1 as it is written, not as binary stores it


def _round_up(micros: Decimal) -> int:
    return int(micros.to_integral_value(rounding=ROUND_CEILING))
