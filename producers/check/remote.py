"""What `doctor` asks of the other side: the exchange, the LLM endpoint, and the models' prices."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import redis

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.frames import Market
from alphamill.limits import OpenGate, RedisLimiter, binance_pool
from alphamill.llm.endpoint.failures import EndpointNotFound, KeyRefused
from alphamill.llm.prices import ListedPrice, PriceTable
from alphamill.llm.routes import open_chat
from alphamill.market import Binance
from alphamill.market.venues import VENUES
from alphamill.report.values import moment, plain, whole
from alphamill.settings import KEY_VARIABLE, BinanceSettings, Endpoint, Settings, Tier
from producers.check.local import Check, fail, failed, ok, quick_client, warn
from producers.check.models import offers

_TIMEOUT_S = 5.0
_SKEW_MS = 1000.0
_RETIRES_SOON = timedelta(days=60)


def exchange_checks(settings: Settings, market: Market) -> Iterator[Check]:
    """The exchange's clock and limits. Asks nothing while the workers keep a ban's pause."""
    binance = settings.binance
    url = binance.url(market)
    if paused := _pause(settings, market):
        yield paused
        return
    exchange = Binance(market, url, OpenGate(), SystemClock(), _TIMEOUT_S, tries=1)
    try:
        before_s = time.time()
        theirs_ms = exchange.server_time_ms()
        after_s = time.time()
        yield ok("exchange", f"{_place(url)} answers in {(after_s - before_s) * 1000:.0f} ms")
        if binance.clock_speed == 1:
            yield clock_check(theirs_ms - (before_s + after_s) * 500, (after_s - before_s) * 500)
        else:
            yield simulated_clock_check(theirs_ms, binance.clock_speed)
        try:
            yield limit_check(exchange.weight_limit(), binance, market)
        except AlphamillError as error:  # it has answered above: another question, another name
            yield failed("limits", error)
    finally:
        exchange.close()


def _place(url: str) -> str:
    """Host and, where it is written, port: several servers may stand on one machine."""
    parts = urlsplit(url)
    return f"{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}"


def _pause(settings: Settings, market: Market) -> Check | None:
    try:
        pool = binance_pool(settings.binance, market, 1200)
        state = RedisLimiter(quick_client(settings.redis_url, 1.0)).state(pool)
    except (RetryLater, redis.RedisError, ValueError):  # no Redis, no pause that is known
        return None
    if state.paused_until_ms is None:
        return None
    until = moment(state.paused_until_ms)
    return warn(
        "exchange",
        f"not asked: paused until {until} UTC ({state.pause_reason})",
        "wait; asking during a ban makes it longer",
    )


def clock_check(skew_ms: float, error_ms: float) -> Check:
    """This machine's clock against the exchange's; `error_ms` is how far off that may be."""
    if abs(skew_ms) - error_ms <= _SKEW_MS:
        return ok("clock", f"within {(abs(skew_ms) + error_ms) / 1000:.1f} s of the exchange's")
    side = "behind" if skew_ms > 0 else "ahead of"
    return warn(
        "clock",
        f"{abs(skew_ms) / 1000:.1f} s {side} the exchange's",
        "synchronise this machine's clock (NTP)",
    )


def simulated_clock_check(theirs_ms: int, speed: float) -> Check:
    """Beside an exchange whose clock goes at another pace than this machine's."""
    text = f"the exchange's goes {speed:g} times as fast and says {moment(theirs_ms)} UTC"
    return ok("clock", f"{text} (binance.clock_speed)")


def limit_check(weight_limit: int, binance: BinanceSettings, market: Market) -> Check:
    """What the exchange allows against what the settings use, in kline requests a minute."""
    page = VENUES[market].pages[-1]
    allowed = int(weight_limit * binance.weight_frac / page.weight)
    used = binance.requests_per_minute
    shared = ", USD-M and COIN-M together" if _is_shared(binance, market) else ""
    stated = f"exchange allows weight {whole(weight_limit)}/min{shared}, {whole(allowed)} kline "
    stated += "requests"
    if used < allowed:
        return ok(
            "limits",
            f"{stated}; binance.requests_per_minute uses {whole(used)}",
            "raise it to use more",
        )
    return ok("limits", f"{stated}; the weight binds before your {whole(used)}/min")


def _is_shared(binance: BinanceSettings, market: Market) -> bool:
    both = [binance_pool(binance, one, 1).name for one in Market if one.has_funding]
    return market.has_funding and len({*both}) == 1


def llm_checks(settings: Settings) -> Iterator[Check]:
    """Each endpoint with its key, and whether it offers the models that tiers ask there."""
    llm = settings.llm
    with ThreadPoolExecutor(len(llm.endpoints)) as pool:  # one that hangs must not hold the rest
        found = pool.map(
            lambda item: list(_endpoint_checks(settings, *item)), llm.endpoints.items()
        )
        for checks in found:
            yield from checks


def _endpoint_checks(
    settings: Settings, endpoint: Endpoint, models: Mapping[str, Sequence[Tier]]
) -> Iterator[Check]:
    llm = settings.llm
    host = _place(endpoint.url)
    variable = endpoint.key_env or endpoint.key_file or KEY_VARIABLE
    common = endpoint.url == llm.common.url
    url_setting = "ALPHAMILL_LLM_URL" if common else f"the url of {host}"
    try:
        has_key = llm.key(endpoint) is not None
        client = open_chat(llm, endpoint, _TIMEOUT_S)
    except Misconfigured as error:
        yield failed("llm", error)
        return
    try:
        offered = client.models()
    except KeyRefused as error:
        yield _key_problem(error, has_key=has_key, host=host, variable=variable)
        return
    except EndpointNotFound:
        yield warn(
            "llm",
            f"{host} answers, but lists no models at {_path(endpoint.url)}/models",
            f"{url_setting} must end in the API's version, such as /v1",
        )
        return
    except RetryLater as error:
        yield fail("llm", f"{host}: {plain(error, 160)}", f"correct {url_setting} or the network")
        return
    except AlphamillError as error:  # what one refuses must not hide the others
        yield failed("llm", error)
        return
    finally:
        client.close()
    key = "accepts the key" if has_key else "asks for no key"
    yield ok("llm", f"{host} {key} and offers {len(offered)} models")
    missing = [model for model in models if not offers(offered, model)]
    if not missing:
        yield ok("models", "each tier's model is offered there")
        return
    from producers.check.unlisted import unlisted_check  # a gateway, which few need

    with ThreadPoolExecutor(len(missing)) as pool:
        yield from pool.map(
            lambda model: unlisted_check(settings, endpoint, model, models[model]), missing
        )


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


def _key_problem(
    error: KeyRefused, has_key: bool, host: str, variable: str = KEY_VARIABLE
) -> Check:
    # The provider's own sentence may repeat a part of the key: only the status is taken from it.
    found = re.search(r"HTTP (\d{3})", error.problem)
    status = f"HTTP {found[1]}" if found else "refused"
    if not has_key:
        return fail("llm", f"{host} asks for a key ({status}) and none is set", f"set {variable}")
    return fail(
        "llm", f"{host} refuses the key ({status})", f"set {variable} to a key that is valid there"
    )


def _end(listed: ListedPrice, today: date) -> str:
    verb = "retired" if date.fromisoformat(listed.retires) <= today else "retires"
    return f"{verb} on {listed.retires} ({listed.retires_source})"


def prices_check(settings: Settings, today: date | None = None) -> Check:
    """Whether each tier's model has a price, and how long it will be served."""
    prices = PriceTable.shipped(settings.llm.prices)
    today = today or datetime.now(UTC).date()
    chosen = {model.model: model for tier in settings.llm.tiers.values() for model in tier.models}
    listed = []
    for model in sorted(chosen):
        try:
            listed.append(prices.of(chosen[model]))
        except Misconfigured:
            name = chosen[model].price or model
            return fail(
                "prices",
                f"no price for {name}: it cannot be budgeted",
                f'add [llm.prices."{name}"] to the file of ALPHAMILL_CONFIG',
            )
    ending = [
        one
        for one in listed
        if one.retires and date.fromisoformat(one.retires) <= today + _RETIRES_SOON
    ]
    if ending:
        said = "; ".join(f"{one.model} {_end(one, today)}" for one in ending)
        return warn("prices", said, "; ".join(dict.fromkeys(one.cure for one in ending)))
    dates = sorted({one.price.as_of or "no date" for one in listed})
    return ok("prices", f"each tier's model has one, as of {', '.join(dates)}")
