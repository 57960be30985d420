"""The newest row is what batch gives over the whole history, to the bit."""

import numpy as np
import pandas as pd
import pytest

from alphamill.evaluation.weights import portfolio_weights
from alphamill.factors import compute
from alphamill.frames import KLINE_FIELDS, Interval, Market, Panel
from alphamill.indicators import compute_indicators
from alphamill.language import read_given
from alphamill.live import Cause, Followed, LiveSpec, Release, State, indicator_window
from alphamill.live.engine import Engine
from alphamill.live.window import Window, panel_digest

BAR = 60_000
START = 29_000_000 * BAR
SYMBOLS = tuple(f"{name}USDT" for name in ("A", "B", "C", "D", "E", "F"))
TEXTS = ("rank(delay(close, 5) / close)", "rank(ts_max(high, 10) / close)", "-ts_min(volume, 20)")


def market(bars, seed=7):
    """Recorded-like bars: field -> (bars, symbols)."""
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(draw.normal(0, 0.01, (bars, len(SYMBOLS))).cumsum(axis=0))
    spread = np.abs(draw.normal(0, 0.002, close.shape))
    volume = draw.lognormal(3, 1, close.shape)
    taker = volume * draw.uniform(0.2, 0.8, close.shape)
    fields = {
        "open": close * (1 - spread / 3),
        "high": close * (1 + spread),
        "low": close * (1 - spread),
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
        "trades": np.floor(volume) + 1,
        "taker_buy_base": taker,
        "taker_buy_quote": taker * close,
    }
    times = START + BAR * np.arange(bars, dtype=np.int64)
    return Panel(Interval.M1, times, SYMBOLS, fields)


def spec(texts=TEXTS, **changed):
    followed = tuple(Followed(str(one), one.hash) for one in map(read_given, texts))
    return LiveSpec(Market.SPOT, Interval.M1, SYMBOLS, followed, **changed)


def values_at(panel, row, column):
    return [panel[name][row, column] for name in KLINE_FIELDS]


def feed(engine, panel, row, absent=(), expected=False):
    for column, symbol in enumerate(SYMBOLS):
        if symbol not in absent:
            bar_ms = int(panel.times_ms[row])
            engine.put(symbol, bar_ms, values_at(panel, row, column))
            if expected:
                engine.expect(symbol, bar_ms)


def release(panel, row, absent=(), revision=0, signal=True):
    present = frozenset(SYMBOLS) - frozenset(absent)
    at = int(panel.times_ms[row])
    return Release(at, revision, Cause.WHOLE, present, frozenset(absent), signal)


def test_every_row_equals_batch():
    panel = market(90)
    engine = Engine(spec())
    batch = [compute(factor, panel) for factor in engine.factors]
    for row in range(panel.n_bars):
        feed(engine, panel, row)
        if row + 1 < engine.bars:
            continue
        signals = engine.signals(release(panel, row), 5)
        for signal, values in zip(signals, batch, strict=True):
            assert signal.state is State.SIGNAL
            assert np.array(signal.values).tobytes() == values[row].tobytes()
            weights = portfolio_weights(values[row : row + 1])[0]
            assert np.array(signal.weights).tobytes() == weights.tobytes()


def test_absent_symbols_have_no_value_and_are_named():
    panel = market(60)
    engine = Engine(spec())
    for row in range(59):
        feed(engine, panel, row)
    feed(engine, panel, 59, absent=("CUSDT",))
    for signal in engine.signals(release(panel, 59, absent=("CUSDT",)), 5):
        assert signal.absent == ("CUSDT",)
        assert "CUSDT" not in signal.symbols
        assert len(signal.values) == len(signal.ranks) == len(signal.weights) == 5
        assert sum(signal.weights) == pytest.approx(0.0)
    [first, *_] = engine.signals(release(panel, 59, absent=("CUSDT",)), 5)
    assert sorted(first.ranks) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_late_bar_gives_the_value_that_batch_has_for_earlier_bars_too():
    panel = market(60)
    engine = Engine(spec(), later_bars=3)
    for row in range(58):
        feed(engine, panel, row)
    feed(engine, panel, 58, absent=("CUSDT",))
    feed(engine, panel, 59)
    column = SYMBOLS.index("CUSDT")
    engine.put("CUSDT", int(panel.times_ms[58]), values_at(panel, 58, column))
    batch = compute(engine.factors[0], panel)
    for row in (58, 59):
        signal = engine.signals(release(panel, row, revision=1), 5)[0]
        assert np.array(signal.values).tobytes() == batch[row].tobytes()


def test_without_a_quorum_there_are_no_values_and_a_reason():
    panel = market(40)
    engine = Engine(spec())
    for row in range(40):
        feed(engine, panel, row)
    absent = SYMBOLS[2:]
    for signal in engine.signals(release(panel, 39, absent=absent, signal=False), 5):
        assert signal.state is State.NO_SIGNAL
        assert signal.reason == "2 of 6 symbols at the release; the quorum is 0.8"
        assert signal.values == ()


def test_what_cannot_be_computed_is_no_signal_with_its_reason():
    panel = market(40)
    engine = Engine(spec())
    for row in range(40):
        feed(engine, panel, row)
    long_ago = int(panel.times_ms[0]) - 100 * BAR
    old = Release(long_ago, 1, Cause.LATE, frozenset(SYMBOLS), frozenset(), signal=True)
    [signal, *_] = engine.signals(old, 5)
    assert signal.state is State.NO_SIGNAL
    assert "are not held" in signal.reason
    assert signal.data == ""


@pytest.mark.parametrize("at_once", [1, 4, 32])
def test_indicators_are_those_of_the_whole_history(monkeypatch, at_once):
    monkeypatch.setattr(indicator_window, "_AT_ONCE", at_once)
    panel = market(1_200)
    engine = Engine(spec(("rank(rsi_14)", "-ts_mean(natr_14, 5)")), later_bars=3)
    frames = [frame_of(panel, column) for column in range(len(SYMBOLS))]
    names = ("rsi_14", "natr_14")
    whole = [compute_indicators(frame, names, Interval.M1) for frame in frames]
    fields = {name: np.stack([one[name].to_numpy() for one in whole], axis=1) for name in names}
    full = Panel(panel.interval, panel.times_ms, SYMBOLS, {**panel.fields, **fields})
    batch = [compute(factor, full) for factor in engine.factors]
    for row in range(1_150):
        feed(engine, panel, row)
    column = SYMBOLS.index("CUSDT")
    for row in range(1_150, 1_160):
        feed(engine, panel, row, absent=("CUSDT",) if row == 1_155 else (), expected=True)
        if row == 1_157:  # comes late
            late = int(panel.times_ms[1_155])
            engine.put("CUSDT", late, values_at(panel, 1_155, column))
        for signal, values in zip(engine.signals(release(panel, row), 5), batch, strict=True):
            if row not in (1_155, 1_156):
                assert np.array(signal.values).tobytes() == values[row].tobytes()


def test_indicators_of_who_is_here_are_computed_while_others_are_waited_for(monkeypatch):
    monkeypatch.setattr(indicator_window, "_AT_ONCE", 4)
    panel = market(800)
    engine = Engine(spec(("rank(rsi_14)",)))
    for row in range(798):
        feed(engine, panel, row)
    engine.signals(release(panel, 797), 5)
    computed = []
    of_symbol = indicator_window.IndicatorWindow._of_symbol

    def counted(*args):
        computed.append(args)
        return of_symbol(*args)

    monkeypatch.setattr(indicator_window.IndicatorWindow, "_of_symbol", counted)
    feed(engine, panel, 798, expected=True)
    assert len(computed) == 4
    engine.signals(release(panel, 798), 5)
    assert len(computed) == len(SYMBOLS)


def frame_of(panel, column):
    fields = {name: panel[name][:, column] for name in KLINE_FIELDS}
    return pd.DataFrame({"open_time": panel.times_ms, **fields})


def test_the_data_of_a_row_is_the_hash_of_its_bars():
    panel = market(60)
    engine = Engine(spec())
    for row in range(60):
        feed(engine, panel, row)
    [signal, *_] = engine.signals(release(panel, 59), 5)
    rows = slice(60 - engine.bars, 60)
    tail = Panel(
        Interval.M1, panel.times_ms[rows], SYMBOLS, {name: panel[name][rows] for name in panel}
    )
    assert signal.data == panel_digest(tail)
    engine.put("AUSDT", int(panel.times_ms[50]), [1.0] * len(KLINE_FIELDS))
    assert engine.signals(release(panel, 59), 5)[0].data != signal.data


def test_a_window_forgets_the_oldest_and_knows_what_it_holds():
    window = Window(Interval.M1, ("AUSDT",), 4)
    for number in range(30):
        assert window.put("AUSDT", number * BAR, [float(number)] * len(KLINE_FIELDS))
        assert not window.put("AUSDT", number * BAR, [float(number)] * len(KLINE_FIELDS))
        assert window.panel(number * BAR, 4)["close"][-1, 0] == number
    assert list(window.panel(29 * BAR, 4)["close"][:, 0]) == [26.0, 27.0, 28.0, 29.0]
    assert not window.put("AUSDT", 0, [1.0] * len(KLINE_FIELDS))
    with pytest.raises(ValueError, match="not held"):
        window.panel(0, 4)
    with pytest.raises(ValueError, match="not held"):
        window.panel(29 * BAR, 5)


def test_a_jump_over_many_bars_leaves_holes():
    window = Window(Interval.M1, ("AUSDT",), 4)
    window.put("AUSDT", 0, [1.0] * len(KLINE_FIELDS))
    window.put("AUSDT", 100 * BAR, [2.0] * len(KLINE_FIELDS))
    close = window.panel(100 * BAR, 4)["close"][:, 0]
    assert np.isnan(close[:3]).all()
    assert close[3] == 2.0
