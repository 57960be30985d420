"""The limits as the exchange client and the model client see them, and the pools from settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.limits.protocol import Concurrent, FixedWindow, Limiter, Pool, Slot, SteadyRate
from alphamill.redis_store import ScriptCall
from alphamill.settings import BinanceSettings, TierSettings

MINUTE_MS = 60_000
_FUTURES_HOST = "fapi.binance.com"
MAX_WAIT_S = 30.0
LEASE_S = 300.0
FUNDING_REQUESTS = 500  # of fundingRate and fundingInfo together, an address
FUNDING_WINDOWS = 5  # of the exchange's windows, that is, minutes
DATA_REQUESTS = 1000  # of all endpoints under /futures/data together, an address
DATA_WINDOWS = 5
_BURST_FRAC = 0.25  # at once after idling; the rest of the limit is the steady rate


class ExchangeGate:
    """One exchange host's limits: weight, and requests of each kind that the pool counts.

    weight_frac: how much of a limit that the exchange states is to be used.
    max_wait_s: a longer wait goes back to the queue as RetryLater.
    """

    def __init__(
        self,
        limiter: Limiter,
        pool: Pool,
        weight_frac: float = 0.98,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self._limiter = limiter
        self._pool = pool
        self._weight_frac = weight_frac
        self._max_wait_s = max_wait_s

    def reserve(self, weight: float) -> Slot:
        """Leave to send one request of `weight`; see `Limiter.reserve`."""
        costs = {d.name: 1.0 for d in self._pool.dimensions} | {"weight": weight}
        return self._limiter.reserve(self._pool, costs, self._max_wait_s)

    def observe(
        self,
        slot: object,
        used_weight: float | None,
        server_time_ms: int | None = None,
        resolution_ms: int = 1,
    ) -> None:
        """Report a reply's used weight and clock; see `Limiter.observe`.

        slot: as `reserve` gave it; a client carries it without knowing what it is.
        """
        if not isinstance(slot, Slot):
            raise TypeError(f"not a slot of this gate: {slot!r}")
        self._limiter.observe(slot, used_weight, server_time_ms, resolution_ms)

    def pause(self, for_s: float, reason: str) -> None:
        """After a 429 or 418: nobody sends for `for_s`."""
        self._limiter.pause(self._pool, for_s, reason)

    def configure(self, weight_limit: int) -> None:
        """Take over the weight per window that the exchange states."""
        self._pool = self._pool.with_limit("weight", weight_limit * self._weight_frac)


class TierGate:
    """One model tier's limits: requests, tokens and calls at a time."""

    def __init__(self, limiter: Limiter, pool: Pool, max_wait_s: float = MAX_WAIT_S) -> None:
        self._limiter = limiter
        self._pool = pool
        self._max_wait_s = max_wait_s

    def reserve(self, tokens: float) -> Slot:
        """Leave to make one call of at most `tokens`, prompt and completion."""
        costs = {"requests": 1.0, "tokens": tokens}
        return self._limiter.reserve(self._pool, costs, self._max_wait_s)

    def at_once(self, tokens: float) -> ScriptCall[Slot | None] | None:
        """`reserve` where it need not wait, as a script; see `Limiter.at_once`."""
        return self._limiter.at_once(self._pool, {"requests": 1.0, "tokens": tokens})

    def settle(self, slot: Slot, tokens: float | None) -> None:
        """End the call: replace the estimate by what was used; None: it stands."""
        self._limiter.settle(slot, {} if tokens is None else {"tokens": tokens})

    def pause(self, for_s: float, reason: str) -> None:
        """After a 429 or 503: nobody calls this tier for `for_s`."""
        self._limiter.pause(self._pool, for_s, reason)


class OpenGate:
    """In the place of either gate where nothing limits: a check's few requests, a model in this
    process, tests.
    """

    def reserve(self, *_: object, **__: object) -> object:
        """Always, at once."""
        return None

    def at_once(self, *_: object) -> None:
        """There is nothing to book."""

    def observe(self, *_: object, **__: object) -> None:
        """Nothing is learned."""

    def settle(self, *_: object, **__: object) -> None:
        """Nothing is owed."""

    def pause(self, *_: object, **__: object) -> None:
        """Nobody else is there to wait."""

    def configure(self, *_: object, **__: object) -> None:
        """Nothing to set."""


def binance_pool(settings: BinanceSettings, market: Market, weight_limit: int) -> Pool:
    """The limits of a market's host as seen from this egress.

    USD-M and COIN-M have one: since 2026-06-30 fapi and dapi count an address's weight together.
    Behind other hosts (a simulator, a proxy) they do where both have one host; two hosts are taken
    for two addresses, and spot counts for itself everywhere.
    weight_limit: per window, as `exchangeInfo` states it.
    Misconfigured if the guard leaves too little of the window.
    """
    window_ms = round(settings.window_s * 1000)
    if window_ms < 4 * settings.guard_ms:
        raise Misconfigured(
            "binance.guard_ms",
            f"{settings.guard_ms} ms on both sides leave too little of a {window_ms} ms window",
            "at most a quarter of binance.window_s",
        )
    weight = weight_limit * settings.weight_frac
    return Pool(
        f"binance:{settings.egress}:{_counted_at(settings.url(market), market)}",
        (
            FixedWindow("weight", weight, window_ms, settings.guard_ms),
            FixedWindow("requests", settings.requests_per_minute, window_ms, settings.guard_ms),
        ),
    )


def _counted_at(url: str, market: Market) -> str:
    """Where the exchange counts what is sent to `url`, however that is spelled."""
    parts = urlsplit(url.lower())
    usual_port = ":80" if parts.scheme == "http" else ":443"
    host = parts.netloc.rpartition("@")[2].removesuffix(usual_port)
    if not market.has_funding:
        return host
    # One name for both, the one that workers of older versions know for USD-M.
    return _FUTURES_HOST if host in (_FUTURES_HOST, "dapi.binance.com") else f"{host}/futures"


def funding_pool(settings: BinanceSettings, market: Market, weight_limit: int) -> Pool:
    """A market's pool with the limit of fundingRate beside the others, whose state it shares.

    500 requests in five minutes by the documentation, which does not say where five minutes begin:
    rate and burst together stay within the margin over any five. Requests of other kinds book
    `binance_pool` and never wait for this.
    """
    limit = FUNDING_REQUESTS, FUNDING_WINDOWS
    return _with_own(binance_pool(settings, market, weight_limit), settings, "funding", *limit)


def data_pool(settings: BinanceSettings, market: Market, weight_limit: int) -> Pool:
    """A market's pool with the limit of the /futures/data endpoints beside the others.

    1000 requests in five minutes by the documentation, of weight 0 on USD-M and 1 on COIN-M; else
    as `funding_pool`.
    """
    limit = DATA_REQUESTS, DATA_WINDOWS
    return _with_own(binance_pool(settings, market, weight_limit), settings, "data", *limit)


def shown_pool(settings: BinanceSettings, market: Market, weight_limit: int) -> Pool:
    """Every limit of a market's host, to be looked at: those of some endpoints alone are last."""
    pool = binance_pool(settings, market, weight_limit)
    if not market.has_funding:
        return pool
    own = (kind(settings, market, weight_limit) for kind in (funding_pool, data_pool))
    return Pool(pool.name, (*pool.dimensions, *(one.dimensions[-1] for one in own)))


def _with_own(
    pool: Pool, settings: BinanceSettings, name: str, requests: int, windows: int
) -> Pool:
    most = requests * settings.weight_frac
    burst = most * _BURST_FRAC
    window_ms = round(settings.window_s * 1000) * windows
    own = SteadyRate(name, most - burst, window_ms, burst)
    return Pool(pool.name, (*pool.dimensions, own))


def tier_pool(tier_name: str, base_url: str, tier: TierSettings, lease_s: float = LEASE_S) -> Pool:
    """A tier's requests and tokens a minute and calls at a time, at one endpoint.

    lease_s: how long a call may last; a worker that dies leaves its place taken for so long.

    Rate and burst together stay within the cap over any minute, for calls up to the burst: 2 % of
    the tokens, or room for a few answers where that is more, but no more than a tenth.
    """
    tokens = float(tier.tokens_per_minute)
    burst = max(0.02 * tokens, min(0.1 * tokens, 4.0 * tier.max_tokens))
    requests = 0.98 * tier.requests_per_minute
    return Pool(
        f"llm:{tier_name}:{urlsplit(base_url).netloc}",
        (
            SteadyRate("requests", max(requests, 1.0), MINUTE_MS, max(1.0, requests / 98)),
            SteadyRate("tokens", tokens - burst, MINUTE_MS, burst),
            Concurrent("calls", tier.concurrency, round(lease_s * 1000)),
        ),
    )
