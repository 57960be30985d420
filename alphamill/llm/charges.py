"""What is charged for a paid reply: the dearest of all that is known of its cost."""

from __future__ import annotations

from dataclasses import dataclass

from alphamill.llm.messages import ChatReply, same_model
from alphamill.llm.prices import ListedPrice, PriceTable


@dataclass(frozen=True, slots=True)
class Charge:
    """Micro-dollars: `micros` for the budget, `table_micros` by the price of the model asked for.

    doubt: why `micros` is no more than an estimate although the tokens are known; mostly "".
    """

    micros: int
    table_micros: int
    doubt: str = ""


def charge(
    reply: ChatReply,
    price: ListedPrice,
    prices: PriceTable,
    reserved_micros: int,
    during_ms: tuple[int, int],
) -> Charge:
    """The dearest of our price, the served model's price and the provider's figure.

    Not less than what was reserved without usable usage, or where nobody knows the price of the
    model that was served. price: that of the model asked for.
    """
    ours = price.cost_micros(reply.usage, during_ms)
    known = [ours, reply.provider_cost_usd_micros or 0]
    if reply.usage.estimated:
        known.append(reserved_micros)
    listed = prices.served(reply.model) if reply.model != reply.asked_model else []
    if reply.served_as_asked:  # at the price of what was asked, unless that dated name has its own
        listed = [one for one in listed if one.model == reply.model]
    elif not listed and not same_model(price.model, reply.model):
        doubt = f"{reply.model[:100]} was served, of which no price is known"
        return Charge(max(*known, reserved_micros), ours, doubt)
    known += [one.cost_micros(reply.usage) for one in listed]
    return Charge(max(known), ours)
