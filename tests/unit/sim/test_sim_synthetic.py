"""The synthetic market: plausible, repeatable, and exactly as predictable as it says.

Correlations are measured here with pandas and scipy, apart from the generator's own arithmetic.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis, rankdata

from alphamill.frames import Interval, Market
from alphamill.sim.market import (
    COINS,
    DEFAULT_PLANTED,
    DEFAULT_START_MS,
    PlantedFactor,
    SyntheticMarket,
    SyntheticSource,
    coins_named,
    generate,
)

HORIZON = 4


@pytest.fixture(scope="module")
def default():
    return generate(SyntheticMarket())


@pytest.fixture(scope="module")
def noise():
    return generate(SyntheticMarket(planted=()))


def table(market, field):
    return pd.DataFrame({name: getattr(bars, field) for name, bars in market.items()})


def formulas(market):
    close, volume = table(market, "close"), table(market, "volume")
    returns = close.pct_change()
    return {
        "-ts_zscore(close, 24)": -(close - close.rolling(24).mean()) / close.rolling(24).std(),
        "ts_mean(taker_buy_base / volume, 12)": (table(market, "taker_buy_base") / volume)
        .rolling(12)
        .mean(),
        "volatility": returns.rolling(24).std(),
        "volume": volume.rolling(6).mean() / volume.rolling(72).mean(),
        "old momentum": close.shift(100) / close.shift(200),
        "range": (table(market, "high") / table(market, "low")).rolling(10).mean(),
        "amihud": (returns.abs() / table(market, "quote_volume")).rolling(24).mean(),
    }


def rank_ic(values, market):
    """One rank correlation a bar with the return from the next open over the horizon."""
    opens = table(market, "open")
    forward = (opens.shift(-1 - HORIZON) / opens.shift(-1) - 1).to_numpy()
    values = values.to_numpy()
    full = np.isfinite(values).all(axis=1) & np.isfinite(forward).all(axis=1)
    a, b = rankdata(values[full], axis=1), rankdata(forward[full], axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def t_statistic(ic, lags=2 * HORIZON):
    """Mean over its Newey-West standard error."""
    x = ic - ic.mean()
    variance = x @ x + 2 * sum((1 - k / (lags + 1)) * (x[k:] @ x[:-k]) for k in range(1, lags + 1))
    return ic.mean() / (np.sqrt(variance) / len(x))


@pytest.mark.parametrize("planted", DEFAULT_PLANTED, ids=lambda p: p.expression)
def test_planted_factors_predict_in_discovery_and_at_the_end(default, planted):
    ic = rank_ic(formulas(default)[planted.expression], default)
    cut, last = int(0.6 * len(ic)), int(0.8 * len(ic))
    assert 0.045 < ic.mean() < 0.085
    assert t_statistic(ic[:cut]) > 6
    assert ic[cut:last].mean() > 0.03
    assert ic[last:].mean() > 0.03
    assert t_statistic(ic[last:]) > 3


def test_the_target_is_met_on_average_over_seeds(default):
    markets = [default, *(generate(SyntheticMarket(seed=seed)) for seed in (1, 2))]
    for planted in DEFAULT_PLANTED:
        means = [rank_ic(formulas(m)[planted.expression], m).mean() for m in markets]
        # Standard error of one mean is about 0.005, of three 0.003.
        assert np.mean(means) == pytest.approx(planted.target_ic, abs=0.009)


def test_other_formulas_do_not_predict(default):
    found = formulas(default)
    for planted in DEFAULT_PLANTED:
        del found[planted.expression]
    scores = {name: t_statistic(rank_ic(values, default)) for name, values in found.items()}
    assert all(abs(t) < 3 for t in scores.values()), scores


def test_without_planted_factors_nothing_predicts(noise):
    scores = {name: t_statistic(rank_ic(v, noise)) for name, v in formulas(noise).items()}
    assert all(abs(t) < 3 for t in scores.values()), scores


def test_default_market_is_thirteen_whole_months_on_a_grid(default):
    assert len(default) == len(COINS) == 12
    for bars in default.values():
        assert len(bars) == 396 * 24
        assert bars.open_ms[0] == pd.Timestamp("2023-01-01", tz="UTC").value // 10**6
        assert set(np.diff(bars.open_ms)) == {3_600_000}


def test_bars_are_consistent(default):
    for bars in default.values():
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.low > 0).all()
        assert (bars.volume > 0).all()
        assert (bars.taker_buy_base >= 0).all()
        assert (bars.taker_buy_base <= bars.volume).all()
        assert (bars.taker_buy_quote <= bars.quote_volume).all()
        assert (bars.trades >= 1).all()
        vwap = bars.quote_volume / bars.volume
        assert (vwap >= bars.low * (1 - 1e-6)).all()
        assert (vwap <= bars.high * (1 + 1e-6)).all()


def test_returns_look_like_a_coin_markets(default):
    close = table(default, "close")
    returns = np.log(close).diff().dropna().to_numpy()
    assert (kurtosis(returns, axis=0) > 2).all()
    size = np.abs(returns)
    clustering = [np.corrcoef(size[1:, i], size[:-1, i])[0, 1] for i in range(12)]
    assert min(clustering) > 0.08
    together = np.corrcoef(returns.T)[np.triu_indices(12, 1)]
    assert 0.2 < together.mean() < 0.8
    volume = np.log(table(default, "volume")).to_numpy()
    assert np.mean([np.corrcoef(volume[1:, i], volume[:-1, i])[0, 1] for i in range(12)]) > 0.5
    assert np.mean([np.corrcoef(volume[1:, i], size[:, i])[0, 1] for i in range(12)]) > 0.05


def short_market(seed):
    return generate(SyntheticMarket(seed=seed, end_ms=DEFAULT_START_MS + 400 * 3_600_000))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    once, again, other = short_market(3), short_market(3), short_market(4)
    for name, bars in once.items():
        assert np.array_equal(bars.close, again[name].close)
        assert np.array_equal(bars.quote_volume, again[name].quote_volume)
        assert not np.array_equal(bars.close, other[name].close)


def test_a_seed_gives_the_bits_it_always_gave():
    """Guards the demo's market against another numpy or platform; figures from the first run."""
    bars = short_market(3)["ETHUSDT"]
    last = [bars.open[-1], bars.high[-1], bars.low[-1], bars.close[-1], bars.volume[-1]]
    assert last == [1231.64, 1233.15, 1231.51, 1233.11, 33598.56636]


@pytest.mark.parametrize("interval", [Interval.M1, Interval.M15, Interval.D1])
def test_other_intervals_scale_the_size_of_returns(interval):
    end_ms = DEFAULT_START_MS + 1200 * interval.ms
    market = SyntheticMarket(interval=interval, end_ms=end_ms)
    close = generate(market)["BTCUSDT"].close
    spread = np.diff(np.log(close)).std() / np.sqrt(interval.ms / 3_600_000)
    assert 0.002 < spread < 0.012


def test_more_symbols_and_unknown_names():
    names = [coin.symbol for coin in COINS] + [f"NEW{i}USDT" for i in range(18)]
    coins = coins_named(names)
    assert [coin.symbol for coin in coins] == names
    assert coins[0] is COINS[0]
    assert coins == coins_named(names)
    end_ms = DEFAULT_START_MS + 500 * 3_600_000
    assert len(generate(SyntheticMarket(coins=coins, end_ms=end_ms))) == 30


def test_wrong_markets_are_refused():
    with pytest.raises(ValueError, match="cannot be planted"):
        PlantedFactor("rank(open)", 0.05)
    with pytest.raises(ValueError, match="target_ic"):
        PlantedFactor("-ts_zscore(close, 24)", 0.9)
    with pytest.raises(ValueError, match="3 symbols"):
        SyntheticMarket(coins=COINS[:2])


def test_the_source_serves_three_markets_and_longer_intervals():
    end_ms = DEFAULT_START_MS + 480 * 3_600_000
    source = SyntheticSource(SyntheticMarket(end_ms=end_ms))
    assert source.bars(Market.SPOT, "BTCUSDT", Interval.M5) is None
    days = source.bars(Market.USD_M, "BTCUSDT", Interval.D1)
    assert days is not None
    assert len(days) == 20
    hours = source.bars(Market.SPOT, "BTCUSDT", Interval.H1)
    contracts = source.bars(Market.COIN_M, "BTCUSD_PERP", Interval.H1)
    assert hours is not None
    assert contracts is not None
    assert np.array_equal(contracts.quote_volume, hours.volume)
    assert np.allclose(contracts.volume, hours.quote_volume / 100, atol=0.5)
    described = source.describe()
    assert described["kind"] == "synthetic"
    assert [p["expression"] for p in described["planted"]] == [
        p.expression for p in DEFAULT_PLANTED
    ]
