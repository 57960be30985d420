"""How a synthetic market moves: bars like a coin exchange's, with factors planted in them.

Returns have a common factor, clustered volatility and fat tails; volume follows its own past and
the size of the return. The direction of a return is unpredictable but for the planted lean. One
seed gives the same bits on every platform: normal draws are sums of uniforms, exponentials are
products, and no library function whose last bit differs between machines reaches a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alphamill.frames import FloatArray, IntArray
from alphamill.sim.market.bars import Bars
from alphamill.sim.market.coins import SyntheticMarket
from alphamill.sim.market.planted import FORMULAS, WARMUP_BARS, scores

_HOUR_MS = 3_600_000
_TRIAL_BARS = 3000  # more bars change the measured gains by about 5 %


def generate(market: SyntheticMarket) -> dict[str, Bars]:
    """Bars of every symbol, by name.

    Two trial paths over the first bars measure how strongly a lean shows in the rank correlation:
    one without a lean, one with, since a lean changes the formulas; the third path is the market.
    """
    draws = _draw(market)
    strengths = np.zeros(len(market.planted))
    if market.planted:
        for _ in range(2):
            trial = _path(market, draws, strengths, min(market.n_bars, _TRIAL_BARS))
            strengths = _calibrated(market, draws, trial)
    path = _path(market, draws, strengths, market.n_bars)
    _add_extremes(path.fields, draws, _units(market))
    times = market.start_ms + np.arange(market.n_bars, dtype=np.int64) * market.interval.ms
    return {coin.symbol: _column(path.fields, times, i) for i, coin in enumerate(market.coins)}


@dataclass(frozen=True, slots=True)
class _Draws:
    """The chance in a market, each (bars, symbols): the same in every path."""

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


def _path(market: SyntheticMarket, draws: _Draws, strengths: FloatArray, bars: int) -> _Path:
    """The first `bars` bars, one by one, since a return changes the formula that leans the next."""
    shape, unit = (bars, len(market.coins)), _units(market)
    names = ("open", "close", "volume", "taker_buy_base")
    path = _Path({name: np.empty(shape) for name in names}, np.zeros((len(strengths), *shape)))
    opens, closes, volumes, takers = path.fields.values()
    formulas = [FORMULAS[planted.expression] for planted in market.planted]
    close, lean = _of_coins(market, "price"), np.zeros(shape[1])
    for bar in range(bars):
        opens[bar] = _to_tick(close * (1 + draws.gap[bar]), unit)
        change = np.maximum(draws.noise[bar] + draws.scale[bar] * lean, -0.5)
        close = closes[bar] = _to_tick(opens[bar] * (1 + change), unit)
        volumes[bar] = np.maximum(np.rint(draws.quote_volume[bar] / close * 1e5), 1.0) / 1e5
        takers[bar] = np.rint(volumes[bar] * draws.taker_frac[bar] * 1e5) / 1e5
        if formulas and bar + 1 >= WARMUP_BARS:
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
        used = slice(WARMUP_BARS, len(opens) - horizon - 1)
        forward = (opens[1 + horizon :] / opens[1:-horizon] - 1)[used]
        without = path.scores[k, used] * scores(forward)
        for m in range(count):
            effect = np.zeros_like(opens)
            effect[1:] = draws.scale[1 : len(opens)] * path.scores[m, :-1]
            summed = np.cumsum(effect, axis=0)
            added = (summed[horizon:] - summed[:-horizon])[used]
            leaning = path.scores[k, used] * scores(forward + trial * added)
            gain[k, m] = np.mean(leaning - without) / trial
    targets = np.array([planted.target_ic for planted in market.planted])
    # Rounded, so that a last bit of the linear algebra library does not reach the prices.
    return np.asarray(np.round(np.linalg.solve(gain, targets), 6), dtype=np.float64)


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
