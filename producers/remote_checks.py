"""What `doctor` asks of the other side: the exchange, the LLM endpoint, and the models' prices."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import redis

from alphamill.clock import SystemClock
from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.limits import RedisLimiter, binance_pool
from alphamill.llm.client import OpenAIChat
from alphamill.llm.failures import EndpointNotFound, KeyRefused
from alphamill.llm.prices import PriceTable
from alphamill.market import Binance
from alphamill.market.venues import VENUES
from alphamill.report.values import moment, plain, whole
from alphamill.settings import BinanceSettings, Settings
from producers.checking import offers
from producers.findings import Check
from producers.stack_checks import quick_client

_TIMEOUT_S = 5.0
_SKEW_MS = 1000.0
_RETIRES_SOON = timedelta(days=30)


def exchange_checks(settings: Settings, market: Market) -> Iterator[Check]:
    """The exchange's clock and limits. Asks nothing while the workers keep a ban's pause."""
    binance = settings.binance
    url = binance.url(market)
    if paused := _pause(settings, market):
        yield paused
        return
    exchange = Binance(market, url, _OpenGate(), SystemClock(), _TIMEOUT_S)
    try:
        before_s = time.time()
        theirs_ms = exchange.server_time_ms()
        after_s = time.time()
        yield Check(
            "exchange",
            "ok",
            f"{urlsplit(url).hostname} answers in {(after_s - before_s) * 1000:.0f} ms",
        )
        yield clock_check(theirs_ms - (before_s + after_s) * 500, (after_s - before_s) * 500)
        yield limit_check(exchange.weight_limit(), binance, market)
    finally:
        exchange.close()


def _pause(settings: Settings, market: Market) -> Check | None:
    try:
        pool = binance_pool(settings.binance, market, 1200)
        state = RedisLimiter(quick_client(settings.redis_url, 1.0)).state(pool)
    except (RetryLater, redis.RedisError, ValueError):  # no Redis, no pause that is known
        return None
    if state.paused_until_ms is None:
        return None
    until = moment(state.paused_until_ms)
    return Check(
        "exchange",
        "warn",
        f"not asked: paused until {until} UTC ({state.pause_reason})",
        "wait; asking during a ban makes it longer",
    )


class _OpenGate:
    """Lets a check's few requests through; the next reply tells the workers of their weight."""

    def reserve(self, weight: float) -> object:
        return weight

    def observe(self, *_: object, **__: object) -> None:
        pass

    def pause(self, for_s: float, reason: str) -> None:
        pass

    def configure(self, weight_limit: int) -> None:
        pass


def clock_check(skew_ms: float, error_ms: float) -> Check:
    """This machine's clock against the exchange's; `error_ms` is how far off that may be."""
    if abs(skew_ms) - error_ms <= _SKEW_MS:
        return Check(
            "clock", "ok", f"within {(abs(skew_ms) + error_ms) / 1000:.1f} s of the exchange's"
        )
    side = "behind" if skew_ms > 0 else "ahead of"
    return Check(
        "clock",
        "warn",
        f"{abs(skew_ms) / 1000:.1f} s {side} the exchange's",
        "synchronise this machine's clock (NTP)",
    )


def limit_check(weight_limit: int, binance: BinanceSettings, market: Market) -> Check:
    """What the exchange allows against what the settings use, in kline requests a minute."""
    page = VENUES[market].pages[-1]
    allowed = int(weight_limit * binance.weight_frac / page.weight)
    used = binance.requests_per_minute
    stated = f"exchange allows weight {whole(weight_limit)}/min, {whole(allowed)} kline requests"
    if used < allowed:
        return Check(
            "limits",
            "ok",
            f"{stated}; binance.requests_per_minute uses {whole(used)}; raise it to use more",
        )
    return Check("limits", "ok", f"{stated}; the weight binds before your {whole(used)}/min")


def llm_checks(settings: Settings) -> Iterator[Check]:
    """The endpoint, the key, and whether it offers the tiers' models."""
    llm = settings.llm
    host = urlsplit(llm.url).hostname or "?"
    client = OpenAIChat(llm.url, llm.api_key, _TIMEOUT_S)
    try:
        offered = client.models()
    except KeyRefused as error:
        yield _key_problem(error, has_key=llm.api_key is not None, host=host)
        return
    except EndpointNotFound:
        yield Check(
            "llm",
            "warn",
            f"{host} answers, but lists no models at {_path(llm.url)}/models",
            "ALPHAMILL_LLM_URL must end in the API's version, such as /v1",
        )
        return
    except RetryLater as error:
        yield Check(
            "llm",
            "fail",
            f"{host}: {plain(error, 160)}",
            "correct ALPHAMILL_LLM_URL or the network",
        )
        return
    finally:
        client.close()
    key = "accepts the key" if llm.api_key is not None else "asks for no key"
    yield Check("llm", "ok", f"{host} {key} and offers {len(offered)} models")
    missing = {
        f"{tier}: {of_tier.model}"
        for tier, of_tier in llm.tiers.items()
        if not offers(offered, of_tier.model)
    }
    if missing:
        yield Check(
            "models",
            "fail",
            f"not offered there: {', '.join(sorted(missing))}",
            "choose from `alphamill models` and set llm.tiers.TIER.model",
        )
    else:
        yield Check("models", "ok", "each tier's model is offered there")


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


def _key_problem(error: KeyRefused, has_key: bool, host: str) -> Check:
    # The provider's own sentence may repeat a part of the key: only the status is taken from it.
    found = re.search(r"HTTP (\d{3})", error.problem)
    status = f"HTTP {found[1]}" if found else "refused"
    if not has_key:
        return Check(
            "llm",
            "fail",
            f"{host} asks for a key ({status}) and none is set",
            "set ALPHAMILL_LLM_API_KEY",
        )
    return Check(
        "llm",
        "fail",
        f"{host} refuses the key ({status})",
        "set ALPHAMILL_LLM_API_KEY to a key that is valid there",
    )


def prices_check(settings: Settings, today: date | None = None) -> Check:
    """Whether each tier's model has a price, and how long it will be served."""
    prices = PriceTable.shipped(settings.llm.prices)
    today = today or datetime.now(UTC).date()
    used = sorted({tier.model for tier in settings.llm.tiers.values()})
    if unpriced := [model for model in used if model not in prices]:
        return Check(
            "prices",
            "fail",
            f"no price for {', '.join(unpriced)}: it cannot be budgeted",
            f'add [llm.prices."{unpriced[0]}"] to the file of ALPHAMILL_CONFIG',
        )
    for model in used:
        retires = prices.listed[model].retires
        if retires and date.fromisoformat(retires) <= today + _RETIRES_SOON:
            return Check(
                "prices",
                "warn",
                f"{model} retires on {retires}",
                "choose its successor in llm.tiers",
            )
    dates = sorted({prices.price(model).as_of or "no date" for model in used})
    return Check("prices", "ok", f"each tier's model has one, as of {', '.join(dates)}")
