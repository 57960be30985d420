"""Bars of the simulated exchange taken apart into trades that give them back exactly."""

from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import Interval, Market
from alphamill.sim.exchange.tape import Tape
from alphamill.sim.market import ReplaySource, SyntheticMarket, SyntheticSource
from alphamill.sim.market.fills import WholeBar, aggregates_of, fills_of


def summed(fills):
    """What a bar of these trades says."""
    paid = fills.price.astype(object) * fills.lots
    return WholeBar(
        *(int(p) for p in (fills.price[0], fills.price.max(), fills.price.min(), fills.price[-1])),
        volume=int(fills.lots.sum()),
        quote=int(paid.sum()),
        trades=len(fills.lots),
        buy=int(fills.lots[~fills.sell].sum()),
        buy_quote=int(paid[~fills.sell].sum()),
    )


def test_a_bar_taken_apart_by_hand():
    # 10 at open and low, 13 at high, 12 at close; bought 5 lots for 59, sold 3 for 32.
    bar = WholeBar(10, 13, 10, 12, volume=8, quote=91, trades=6, buy=5, buy_quote=59)
    fills = fills_of(bar)
    assert fills.exact
    assert summed(fills) == bar
    assert fills.aggregate.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "bar",
    [
        WholeBar(7, 7, 7, 7, volume=4, quote=28, trades=1, buy=4, buy_quote=28),
        WholeBar(7, 9, 7, 9, volume=4, quote=34, trades=2, buy=1, buy_quote=7),
        WholeBar(7, 9, 7, 9, volume=4, quote=34, trades=2, buy=4, buy_quote=34),
        WholeBar(8, 9, 7, 8, volume=9, quote=73, trades=4, buy=0, buy_quote=0),
    ],
    ids=["one trade", "two", "two of one side", "four"],
)
def test_bars_of_few_trades(bar):
    fills = fills_of(bar)
    assert fills.exact
    assert summed(fills) == bar


def test_a_busy_bar_is_told_as_few_aggregates_of_many_trades():
    bar = WholeBar(
        *(2_314_157, 2_315_470, 2_313_000, 2_314_064),
        volume=9_000_000,
        quote=20_827_413_000_000,
        trades=20_000,
        buy=4_000_000,
        buy_quote=9_256_628_000_000,
    )
    fills = fills_of(bar)
    assert fills.exact
    assert summed(fills) == bar
    assert fills.lots.min() >= 1
    assert fills.aggregate[-1] + 1 == aggregates_of(20_000, 9_000_000) == 240


@pytest.mark.parametrize(
    ("bar", "kept"),
    [
        # One trade has one price.
        (WholeBar(7, 9, 7, 9, 4, 34, trades=1, buy=4, buy_quote=34), "volume buy trades close"),
        # Three lots cannot be five trades.
        (WholeBar(7, 8, 7, 8, 3, 22, trades=5, buy=3, buy_quote=22), "volume buy high low"),
        # The average paid lies outside the prices.
        (
            WholeBar(7, 8, 7, 8, 9, 99, trades=5, buy=2, buy_quote=20),
            "volume buy trades open close high low",
        ),
    ],
    ids=["one trade", "few lots", "a quote volume of no price"],
)
def test_a_bar_that_cannot_be_hit_says_so_and_keeps_the_rest(bar, kept):
    fills = fills_of(bar)
    assert not fills.exact
    assert fills.lots.min() >= 1
    found = summed(fills)
    for name in kept.split():
        assert getattr(found, name) == getattr(bar, name), name


def test_no_volume_is_no_trade():
    assert not len(fills_of(WholeBar(7, 7, 7, 7, 0, 0, 0, 0, 0)).lots)


@st.composite
def traded_bars(draw):
    """Bars that some trades made: of each side some lots at prices of a range."""
    low = draw(st.integers(1, 10**6))
    trades = draw(
        st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10**7), st.booleans()), min_size=12)
    )
    prices = [low + up for up, _, _ in trades]
    sides = {
        side: [(low + up, lots) for up, lots, sell in trades if sell is side]
        for side in (False, True)
    }
    bought = sides[False]
    return WholeBar(
        *(prices[0], max(prices), min(prices), prices[-1]),
        volume=sum(lots for _, lots, _ in trades),
        quote=sum(p * lots for both in sides.values() for p, lots in both),
        trades=draw(st.integers(12, 400)),
        buy=sum(lots for _, lots in bought),
        buy_quote=sum(p * lots for p, lots in bought),
    )


@given(traded_bars())
def test_what_comes_out_is_the_bar_or_says_that_it_is_not(bar):
    fills = fills_of(bar)
    assert fills.exact == (summed(fills) == bar)
    assert fills.lots.min() >= 1
    lots = np.array(bar.volume)
    trades = np.minimum(bar.trades, lots)
    assert fills.aggregate[-1] + 1 == aggregates_of(trades, lots)
    assert (np.diff(fills.aggregate) <= 1).all()
    together = np.flatnonzero(np.diff(fills.aggregate) == 0)
    assert (fills.price[together] == fills.price[together + 1]).all()
    assert (fills.sell[together] == fills.sell[together + 1]).all()


def bars_of_trades(tape, rows):
    """The tape's bars as its trades sum to them, and how many are equal in every field."""
    equal = Counter()
    for at in rows:
        traded, bar = tape.trades(at), tape.bars
        if not len(traded):
            assert bar.volume[at] == 0
            continue

        def number(units, decimals):
            return float(Decimal(int(units)).scaleb(-decimals))

        said = SimpleNamespace(
            open=number(traded.price[0], traded.price_decimals),
            high=number(traded.price.max(), traded.price_decimals),
            low=number(traded.price.min(), traded.price_decimals),
            close=number(traded.price[-1], traded.price_decimals),
            volume=number(traded.lots.sum(), traded.lot_decimals),
            taker_buy_base=number(traded.lots[~traded.sell].sum(), traded.lot_decimals),
            quote_volume=number(sum(traded.quote), traded.quote_decimals),
            taker_buy_quote=number(
                sum(q for q, s in zip(traded.quote, traded.sell, strict=True) if not s),
                traded.quote_decimals,
            ),
            trades=len(traded),
        )
        equal["bars"] += 1
        equal["equal"] += all(getattr(bar, name)[at] == value for name, value in vars(said).items())
        assert (np.diff(traded.time_ms) >= 0).all()
        assert (np.diff(traded.id) > 0).all()
    return equal


@pytest.mark.parametrize("market", list(Market))
def test_synthetic_bars_are_hit_exactly(market):
    source = SyntheticSource(
        SyntheticMarket(planted=(), end_ms=1_672_531_200_000 + 400 * 3_600_000)
    )
    for symbol in source.symbols(market)[4:12]:
        tape = Tape.of(source, market, symbol, 0.0037)
        assert bars_of_trades(tape, range(0, 400, 40)) == {"bars": 10, "equal": 10}


def test_recorded_bars_are_hit_exactly(shared_data):
    source = ReplaySource(shared_data / "klines")
    tape = Tape.of(source, Market.SPOT, "BTCUSDT")
    rows = range(0, len(tape.bars), len(tape.bars) // 100)
    found = bars_of_trades(tape, rows)
    assert found["equal"] == found["bars"] > 90
    assert source.intervals(Market.SPOT, "BTCUSDT")[0] is Interval.M1
