"""A seeded synthetic market: bars like a coin exchange's, with factors planted in them.

Returns have a common factor, clustered volatility and fat tails; volume follows its own past and
the size of the return. The direction of a return is unpredictable but for the planted lean. One
seed gives the same bits on every platform: normal draws are sums of uniforms, exponentials are
products, and no library function whose last bit differs between machines reaches a price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from alphamill.frames import FloatArray, IntArray, Interval, Market
from alphamill.sim.bars import Bars, resample
from alphamill.sim.planted import DEFAULT_PLANTED, FORMULAS, WARMUP_BARS, PlantedFactor, scores

DEFAULT_START_MS = 1_672_531_200_000  # 2023-01-01
DEFAULT_END_MS = 1_706_745_600_000  # 2024-02-01
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Coin:
    """The character of one synthetic symbol."""

    symbol: str
    price: float  # at the start
    price_decimals: int
    hour_volatility: float  # usual standard deviation of an hour's return of its own
    beta: float  # to the common factor
    hour_quote_volume: float  # usual quote units an hour


COINS = (
    Coin("BTCUSDT", 16_540.0, 2, 0.0030, 0.8, 60e6),
    Coin("ETHUSDT", 1_196.0, 2, 0.0036, 1.0, 30e6),
    Coin("BNBUSDT", 246.0, 1, 0.0036, 0.9, 8e6),
    Coin("SOLUSDT", 9.96, 3, 0.0060, 1.3, 9e6),
    Coin("XRPUSDT", 0.339, 5, 0.0048, 1.0, 10e6),
    Coin("ADAUSDT", 0.246, 5, 0.0048, 1.1, 4e6),
    Coin("DOGEUSDT", 0.0702, 6, 0.0052, 1.1, 6e6),
    Coin("LTCUSDT", 70.1, 3, 0.0045, 1.0, 4e6),
    Coin("LINKUSDT", 5.57, 4, 0.0052, 1.1, 2e6),
    Coin("DOTUSDT", 4.32, 4, 0.0048, 1.1, 2e6),
    Coin("AVAXUSDT", 10.9, 4, 0.0056, 1.2, 2e6),
    Coin("TRXUSDT", 0.0546, 6, 0.0034, 0.7, 2e6),
)


@dataclass(frozen=True, slots=True)
class SyntheticMarket:
    """What to generate. `planted` empty gives a market in which nothing predicts anything."""

    seed: int = 7
    coins: Sequence[Coin] = COINS
    interval: Interval = Interval.H1
    start_ms: int = DEFAULT_START_MS
    end_ms: int = DEFAULT_END_MS
    planted: Sequence[PlantedFactor] = DEFAULT_PLANTED

    def __post_init__(self) -> None:
        if self.interval is Interval.MO1:
            raise ValueError("bars of a month are not generated")
        longest = max((planted.horizon_bars for planted in self.planted), default=0)
        needed = 4 * (WARMUP_BARS + longest)
        if self.planted and (len(self.coins) < 3 or self.n_bars < needed):
            raise ValueError(f"planted factors need 3 symbols and {needed} bars")

    @property
    def n_bars(self) -> int:
        """Bars whose open lies in [start_ms, end_ms)."""
        return max(0, -(-(self.end_ms - self.start_ms) // self.interval.ms))


def coins_named(symbols: Sequence[str], seed: int = 7) -> tuple[Coin, ...]:
    """The default coins by name; another name gets a character drawn from seed and place."""
    known = {coin.symbol: coin for coin in COINS}
    draws = np.random.Generator(np.random.PCG64([seed, 1])).random((len(symbols), 4))
    return tuple(
        known.get(symbol)
        or Coin(
            symbol,
            price=float(np.round(0.5 + 20 * a * a, 4)),
            price_decimals=4,
            hour_volatility=0.003 + 0.003 * b,
            beta=0.7 + 0.6 * c,
            hour_quote_volume=1e6 + 5e6 * d,
        )
        for symbol, (a, b, c, d) in zip(symbols, draws.tolist(), strict=True)
    )


def generate(market: SyntheticMarket) -> dict[str, Bars]:
    """Bars of every symbol, by name.

    The same draws are walked three times: without planted factors, to measure how strongly a lean
    shows in the rank correlation; with that lean, which changes the formulas, to measure again; and
    for good.
    """
    draws = _draw(market)
    path = _walk(market, draws, np.zeros(len(market.planted)))
    if market.planted:
        for _ in range(2):
            path = _walk(market, draws, _calibrated(market, draws, path))
    _add_extremes(path.fields, draws, _units(market))
    times = market.start_ms + np.arange(market.n_bars, dtype=np.int64) * market.interval.ms
    return {coin.symbol: _column(path.fields, times, i) for i, coin in enumerate(market.coins)}


@dataclass(frozen=True, slots=True)
class _Draws:
    """The chance in a market, each (bars, symbols): the same in both walks."""

    scale: FloatArray  # standard deviation of the bar's own return
    noise: FloatArray  # the bar's return without any lean
    gap: FloatArray  # open over the previous close, less 1
    quote_volume: FloatArray
    taker_frac: FloatArray
    up: FloatArray  # high over the larger of open and close, less 1
    down: FloatArray  # 1 less low over the smaller of open and close


@dataclass(frozen=True, slots=True)
class _Path:
    fields: dict[str, FloatArray]  # (bars, symbols)
    scores: FloatArray  # (planted, bars, symbols): 0 during the warm-up


def _draw(market: SyntheticMarket) -> _Draws:
    shape = market.n_bars, len(market.coins)
    rng = np.random.Generator(np.random.PCG64(market.seed))
    hours = market.interval.ms / _HOUR_MS
    calm = np.sqrt(hours) * _of_coins(market, "hour_volatility")
    log_vol = _autoregression(0.5 * _normal(rng, shape) + 0.8 * _normal(rng, (shape[0], 1)), 0.985)
    scale = calm * _exp(0.5 * log_vol - 0.1)
    jumps = np.where(rng.random(shape) < 0.005, 5.0, 1.0)
    own = scale * jumps * _normal(rng, shape)
    tide = np.sqrt(hours) * 0.003 * _exp(0.5 * log_vol) * _normal(rng, (shape[0], 1))
    noise = own + _of_coins(market, "beta") * tide
    surprise = np.minimum(np.abs(noise) / scale, 5.0)
    log_volume = _autoregression(_normal(rng, shape), 0.93)
    busy = _exp(0.6 * log_volume + 0.3 * surprise - 0.4)
    return _Draws(
        scale=scale,
        noise=noise,
        gap=np.where(rng.random(shape) < 0.2, 0.02 * scale * _normal(rng, shape), 0.0),
        quote_volume=hours * _of_coins(market, "hour_quote_volume") * busy,
        taker_frac=np.clip(0.5 + 0.05 * _autoregression(_normal(rng, shape), 0.85), 0.05, 0.95),
        up=scale * rng.random(shape) * rng.random(shape),
        down=np.minimum(scale * rng.random(shape) * rng.random(shape), 0.5),
    )


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Standard normal but for the tails beyond six: twelve uniforms less six."""
    total = np.full(shape, -6.0)
    for _ in range(12):
        total += rng.random(shape)
    return total


def _autoregression(shocks: FloatArray, persistence: float) -> FloatArray:
    """First order, along the bars; the variance of the shocks is kept."""
    values = np.empty_like(shocks)
    gain = np.sqrt(1 - persistence * persistence)
    state = np.zeros(shocks.shape[1])
    for bar, shock in enumerate(shocks):
        state = persistence * state + (gain * shock if bar else shock)
        values[bar] = state
    return values


def _exp(exponent: FloatArray) -> FloatArray:
    """(1 + x/1024)^1024: e to the x within 1 % for |x| < 4, and the same bits everywhere."""
    power: FloatArray = 1 + np.clip(exponent, -8, 8) / 1024
    for _ in range(10):
        power = power * power
    return power


def _of_coins(market: SyntheticMarket, name: str) -> FloatArray:
    return np.array([getattr(coin, name) for coin in market.coins], dtype=np.float64)


def _units(market: SyntheticMarket) -> FloatArray:
    """Ticks in one quote unit."""
    return np.array([float(10**coin.price_decimals) for coin in market.coins])


def _to_tick(price: FloatArray, unit: FloatArray) -> FloatArray:
    ticks: FloatArray = np.maximum(np.rint(price * unit), 1.0) / unit
    return ticks


def _walk(market: SyntheticMarket, draws: _Draws, strengths: FloatArray) -> _Path:
    """Bar by bar, since a return changes the formula that leans the next one."""
    shape, unit = draws.noise.shape, _units(market)
    names = ("open", "close", "volume", "taker_buy_base")
    path = _Path({name: np.empty(shape) for name in names}, np.zeros((len(strengths), *shape)))
    formulas = [FORMULAS[planted.expression] for planted in market.planted]
    close, lean = _of_coins(market, "price"), np.zeros(shape[1])
    for bar in range(shape[0]):
        start = _to_tick(close * (1 + draws.gap[bar]), unit)
        change = np.maximum(draws.noise[bar] + draws.scale[bar] * lean, -0.5)
        close = _to_tick(start * (1 + change), unit)
        volume = np.maximum(np.round(draws.quote_volume[bar] / close, 5), 1e-5)
        taker = np.round(volume * draws.taker_frac[bar], 5)
        for name, values in zip(names, (start, close, volume, taker), strict=True):
            path.fields[name][bar] = values
        if bar + 1 >= WARMUP_BARS:
            recent = slice(bar + 1 - WARMUP_BARS, bar + 1)
            past = {name: values[recent] for name, values in path.fields.items()}
            for k, formula in enumerate(formulas):
                path.scores[k, bar] = scores(formula(past))
            lean = (strengths[:, None] * path.scores[:, bar]).sum(axis=0)
    return path


def _calibrated(market: SyntheticMarket, draws: _Draws, path: _Path) -> FloatArray:
    """Lean, in the bar's standard deviations a unit of score, that gives each factor its target.

    gain[k, m]: the mean rank correlation with factor k over its horizon that a unit lean of factor
    m adds, measured on `path` by adding a small lean to the forward returns.
    """
    opens, count, trial = path.fields["open"], len(market.planted), 0.1
    gain = np.empty((count, count))
    for k, planted in enumerate(market.planted):
        horizon = planted.horizon_bars
        used = slice(WARMUP_BARS, market.n_bars - horizon - 1)
        forward = (opens[1 + horizon :] / opens[1:-horizon] - 1)[used]
        without = path.scores[k, used] * _ranks(forward)
        for m in range(count):
            effect = np.zeros_like(opens)
            effect[1:] = draws.scale[1:] * path.scores[m, :-1]
            summed = np.cumsum(effect, axis=0)
            added = (summed[horizon:] - summed[:-horizon])[used]
            leaning = path.scores[k, used] * _ranks(forward + trial * added)
            gain[k, m] = np.mean(leaning - without) / trial
    targets = np.array([planted.target_ic for planted in market.planted])
    # Rounded, so that a last bit of the linear algebra library does not reach the prices.
    return np.asarray(np.round(np.linalg.solve(gain, targets), 6), dtype=np.float64)


def _ranks(values: FloatArray) -> FloatArray:
    """`scores` of every row."""
    n = values.shape[1]
    ranks = np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1, kind="stable")
    centred: FloatArray = (ranks - (n - 1) / 2) / np.sqrt((n * n - 1) / 12)
    return centred


def _add_extremes(fields: dict[str, FloatArray], draws: _Draws, unit: FloatArray) -> None:
    """High, low, quote columns and trades; the average price lies inside the bar's range."""
    top = np.maximum(fields["open"], fields["close"])
    bottom = np.minimum(fields["open"], fields["close"])
    fields["high"] = np.maximum(_to_tick(top * (1 + draws.up), unit), top)
    fields["low"] = np.minimum(_to_tick(bottom * (1 - draws.down), unit), bottom)
    average = (fields["open"] + fields["high"] + fields["low"] + fields["close"]) / 4
    fields["quote_volume"] = np.round(fields["volume"] * average, 8)
    fields["taker_buy_quote"] = np.round(fields["taker_buy_base"] * average, 8)
    fields["trades"] = np.maximum(np.rint(fields["quote_volume"] / 1500), 1)


def _column(fields: Mapping[str, FloatArray], times_ms: IntArray, column: int) -> Bars:
    values = {name: np.ascontiguousarray(table[:, column]) for name, table in fields.items()}
    trades = values.pop("trades").astype(np.int64)
    return Bars(open_ms=times_ms, trades=trades, **values)


class SyntheticSource:
    """The market served as spot, as USD-M and, under names like BTCUSD_PERP, as COIN-M.

    Longer intervals than the market's own are summed from it (not 1M); shorter ones do not exist.
    """

    def __init__(self, market: SyntheticMarket) -> None:
        self.market = market
        self._bars = generate(market)
        self._derived: dict[tuple[bool, str, Interval], Bars] = {}

    def symbols(self, market: Market) -> Sequence[str]:
        """In the order of the coins."""
        if market is not Market.COIN_M:
            return list(self._bars)
        return [_coin_margined_name(name) for name in self._bars if name.endswith("USDT")]

    def intervals(self, market: Market, symbol: str) -> Sequence[Interval]:
        """The market's own interval and every longer one that it divides."""
        own = self.market.interval
        if symbol not in self.symbols(market) or own is Interval.MO1:
            return []
        longer = [other for other in Interval if other is not Interval.MO1]
        return [other for other in longer if other.ms >= own.ms and other.ms % own.ms == 0]

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """All bars of the symbol, or None."""
        if interval not in self.intervals(market, symbol):
            return None
        coin_margined = market is Market.COIN_M
        name = symbol.replace("USD_PERP", "USDT") if coin_margined else symbol
        key = (coin_margined, name, interval)
        if key not in self._derived:
            bars = self._bars[name]
            if interval is not self.market.interval:
                bars = resample(bars, interval)
            self._derived[key] = _coin_margined(name, bars) if coin_margined else bars
        return self._derived[key]

    def describe(self) -> Mapping[str, Any]:
        """Seed, range and the planted factors: what a search over this market should find."""
        market = self.market
        return {
            "kind": "synthetic",
            "seed": market.seed,
            "interval": str(market.interval),
            "symbols": list(self._bars),
            "start_ms": market.start_ms,
            "end_ms": market.start_ms + market.n_bars * market.interval.ms,
            "planted": [asdict(planted) for planted in market.planted],
        }


def _coin_margined_name(symbol: str) -> str:
    return symbol.removesuffix("USDT") + "USD_PERP"


def _coin_margined(symbol: str, bars: Bars) -> Bars:
    """Volumes in contracts (100 USD for BTC, 10 for others), quote columns in coins."""
    contract_usd = 100 if symbol == "BTCUSDT" else 10
    return replace(
        bars,
        volume=np.rint(bars.quote_volume / contract_usd),
        quote_volume=bars.volume,
        taker_buy_base=np.rint(bars.taker_buy_quote / contract_usd),
        taker_buy_quote=bars.taker_buy_base,
    )
