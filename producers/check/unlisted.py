"""Whether a model answers that its endpoint does not list: one question for one token, paid for.

Gateways serve more than they list, so only an answer tells. The question goes the way of all calls:
priced, paced, within the day's budget, and counted under the run `doctor`. Within an hour it is
asked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.call import Call, PaidReply
from alphamill.llm.endpoint.dialects import RedisDialects
from alphamill.llm.endpoint.failures import KeyRefused, ModelNotFound
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint, open_chat
from alphamill.report.values import plain
from alphamill.settings import Endpoint, ModelSettings, Settings, Tier, TierSettings
from alphamill.usage import RedisUsage
from producers.check.local import Check, fail, quick_client, warn

RUN = "doctor"
_ASK_S = 4.0  # for the answer; its turn and the books take moments
_TURN_S = 3.0
_HOUR_MS = 3_600_000
_CHOOSE = "choose from `alphamill models` and set llm.tiers.TIER.model"
_LOOK = "see that its name is right"


def unlisted_check(
    settings: Settings, endpoint: Endpoint, model: str, tiers: Sequence[Tier]
) -> Check:
    """What one tiny question to a model that is not listed brings, and what it cost."""
    name = f"{', '.join(tiers)}: {model}"
    try:
        paid = _ask(settings, endpoint, model, tiers[0])
    except (ModelNotFound, KeyRefused) as error:
        return fail("models", f"not offered there: {name} ({plain(error.problem, 120)})", _CHOOSE)
    except AlphamillError as error:
        why = plain(error, 160)
        unknown = f"{name} is not listed there, and whether it answers is not known: {why}"
        return warn("models", unknown, _LOOK)
    served, cost = paid.reply.model, f"asking cost ${paid.cost_usd_micros / 1e6:f}"
    if not paid.reply.served_as_asked:
        told = f"not offered there: {name}; {plain(served, 60)} answers in its place ({cost})"
        return fail("models", told, _CHOOSE)
    return warn("models", f"{name} is not listed there, but answers ({cost})", _LOOK)


def _ask(settings: Settings, endpoint: Endpoint, model: str, tier: Tier) -> PaidReply:
    llm, clock = settings.llm, SystemClock()
    prices, host = PriceTable.shipped(llm.prices), urlsplit(endpoint.url).hostname
    chosen = next(
        one
        for one in llm.tiers[tier].models
        if one.model == model and llm.endpoint(one) == endpoint
    )
    client = quick_client(settings.redis_url)  # without it there is neither budget nor pace
    chat = open_chat(llm, endpoint, _ASK_S, RedisDialects(client, endpoint.url, clock))
    pool = tier_pool(tier.value, endpoint.url, llm.tiers[tier])
    gate = TierGate(RedisLimiter(client), pool, _TURN_S)
    routes = OneEndpoint(chat, prices, {tier.value: gate})  # no circuit of the workers is touched
    gateway = Gateway(routes, prices, RedisJournal(client), RedisUsage(client), clock)
    day_usd_micros = round(settings.budget.day_usd * 1_000_000)
    call = Call(
        run=RUN,
        call_id=f"{host}|{model}|{clock.now_ms() // _HOUR_MS}",
        tier=tier.value,
        tier_settings=_for_one_token(chosen),
        messages=(Message("user", "Say ok."),),
        caps=Caps(day_usd_micros, day_usd_micros),
    )
    try:
        return gateway.ask(call)
    finally:
        chat.close()
        client.close()


def _for_one_token(chosen: ModelSettings) -> TierSettings:
    fields = {name: getattr(chosen, name) for name in ModelSettings.model_fields}
    return TierSettings.model_validate({**fields, "max_tokens": 1, "temperature": 0.0})
