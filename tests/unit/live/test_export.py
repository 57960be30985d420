"""An exported file computes what the engine computes, and holds nobody's text as code."""

import ast
import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import fakeredis
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Grade
from alphamill.evaluation.weights import portfolio_weights
from alphamill.factors import OPERATORS, compute, zoo
from alphamill.factors.operators import Family, Kind
from alphamill.frames import KLINE_FIELDS, Interval, Market
from alphamill.indicators import compute_indicators
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.live import Followed, LiveSpec, Register, Signal, State
from alphamill.live.export import (
    Exported,
    factor_in,
    from_expression,
    from_live,
    from_run,
    json_text,
    pandas_text,
    strategy_text,
    write_new,
)
from alphamill.live.export.json_record import FORMAT
from alphamill.live.export.pandas_module import function_name
from alphamill.live.export.source import definitions
from alphamill.live.signals import FIRST, Link
from alphamill.live.stream import SignalStream
from alphamill.runs.rows import as_traded
from alphamill.settings import PortfolioSettings
from producers.live import live

SHARED = Path(__file__).resolve().parents[4] / "shared/data/klines/spot"
HOUR = 3_600_000
FIRST_BAR = 438_291
SYMBOLS = [f"S{n:02d}USDT" for n in range(12)]
GROUPS = dict(
    zip(SYMBOLS, ["a", "b", "c", "a", "b", "c", "a", "b", "c", "a", None, "b"], strict=True)
)
TABLES = ("sector", "industry", "subindustry")
LAST_BAR = (FIRST_BAR + 219) * HOUR
RELATIVE, ROUNDING = 1e-9, 1e-13


def market(n_bars=220):
    """Bars with holes, bars without trades, a late listing, a delisting and a coin at rest."""
    draw = np.random.default_rng(3)
    shape = n_bars, len(SYMBOLS)
    close = np.round(100 * np.exp(np.cumsum(draw.normal(0, 0.01, shape), 0)), 2)
    opened = np.round(close * np.exp(draw.normal(0, 0.004, shape)), 2)
    volume = np.round(draw.lognormal(6, 1, shape), 3)
    volume[draw.random(shape) < 0.05] = 0.0
    close[volume == 0] = opened[volume == 0]
    high = np.maximum(opened, close) + np.round(draw.exponential(0.1, shape), 2)
    low = np.minimum(opened, close) - np.round(draw.exponential(0.1, shape), 2)
    quote = volume * (high + low + close) / 3
    made = {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "quote_volume": quote,
        "trades": np.ceil(volume),
        "taker_buy_base": volume * 0.4,
        "taker_buy_quote": quote * 0.4,
        "cap": quote * 1e4,
    }
    gone = draw.random(shape) < 0.003
    gone[: n_bars // 2, 1] = True
    gone[3 * n_bars // 4 :, 2] = True
    for name, values in made.items():
        values[gone] = np.nan
        if name in ("open", "high", "low", "close"):
            values[:, 3] = 0.125
    return made


@pytest.fixture(scope="module")
def panel():
    return market()


def times(n_bars):
    return pd.Index((FIRST_BAR + np.arange(n_bars)) * HOUR, name="open_time")


def wide(panel, symbols=SYMBOLS):
    index = times(len(panel["close"]))
    return {name: pd.DataFrame(values, index, symbols) for name, values in panel.items()}


def long(panel, symbols=SYMBOLS):
    """Rows of bars that are there, in no order."""
    frames = [
        pd.DataFrame({name: values[:, n] for name, values in panel.items()})
        .assign(open_time=times(len(panel["close"])), symbol=symbol)
        .dropna(subset=["close"])
        for n, symbol in enumerate(symbols)
    ]
    return pd.concat(frames).sample(frac=1, random_state=1)


def loaded(text):
    module = types.ModuleType("exported")
    exec(compile(text, "exported", "exec"), module.__dict__)  # noqa: S102  what we made
    return module


def both(factor, panel, symbols=SYMBOLS):
    """(exported values, the engine's)."""
    labels = {name: [GROUPS[symbol] for symbol in SYMBOLS] for name in TABLES}
    grouped = dict.fromkeys(TABLES, GROUPS)
    needed = {k: v for k, v in labels.items() if len(symbols) == len(SYMBOLS)}
    got = loaded(pandas_text(Exported(factor))).factor(wide(panel, symbols), grouped)
    return got.to_numpy(), compute(factor, panel, needed, FIRST_BAR)


def differing(got, want):
    """Values that are NaN in one alone, or differ by more than rounding.

    A value that is 0 but for rounding has no digits to agree in: it is held to the largest one.
    """
    unlike = np.isnan(got) != np.isnan(want)
    largest = np.nanmax(np.abs(want)) if np.isfinite(want).any() else 0.0
    near = np.abs(got - want) <= RELATIVE * np.abs(want) + ROUNDING * largest
    return unlike | (np.isfinite(want) & ~near)


def call_of(operator, window):
    series, texts = iter(("close", "volume")), []
    for param in operator.params:
        if param.kind is Kind.SERIES:
            texts.append("(returns > 0)" if param.name == "cond" else next(series))
        elif param.kind is Kind.BARS:
            texts.append(str(3 if param.name == "lag" else max(window, int(param.low))))
        elif param.kind is Kind.GROUP:
            texts.append("sector")
        else:
            texts.append({"low": "-2", "high": "2", "weight": "0.9"}.get(param.name, "0.3"))
    if operator.symbol:
        return (
            f"{texts[-2]} {operator.symbol} {texts[-1]}"
            if len(texts) == 2
            else (f"{operator.symbol} {texts[0]}")
        )
    return f"{operator.name}({', '.join(texts)})"


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_is_as_in_the_engine(name, panel):
    is_window = OPERATORS[name].family is Family.WINDOW
    computed = "rank(returns)" if is_window else "(returns * volume)"
    for window in (1, 5, 8, 21) if is_window else (5,):
        text = call_of(OPERATORS[name], window)
        for written in (text, text.replace("volume", "returns").replace("close", computed)):
            factor = read_given(written)
            got, want = both(factor, panel)
            assert not differing(got, want).any(), factor.text
            assert np.isfinite(want).any(), factor.text


# Here a comparison or a tie between values that are equal but for rounding decides.
BY_ROUNDING = {"alpha101_021": 0.01, "alpha101_098": 0.02}


@pytest.mark.parametrize("entry", zoo("alpha101"), ids=lambda entry: entry.name)
def test_every_formula_of_the_zoo_is_as_in_the_engine(entry, panel):
    got, want = both(entry.factor(), panel)
    assert differing(got, want).mean() <= BY_ROUNDING.get(entry.name, 0.0)


RECORDED = (
    "rank(ts_corr(close, volume, 24)) - ts_zscore((high + low + close) / 3, 48)",
    "zscore(ts_skew(returns, 72)) * ts_rank(volume / ts_mean(volume, 24), 24)",
    "neutralize(ts_ir(returns, 48), log(volume)) + ema(returns, 12) / ts_std(returns, 24)",
    "-rank(decay_linear(ts_rank_corr(high, volume, 12), 5))",
    "ts_resid(log(close), 30) + ts_regress_resid(returns, cs_mean(returns), 48)",
)


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded bars are not here")
@pytest.mark.parametrize("text", RECORDED)
def test_on_recorded_bars_as_in_the_engine(text):
    import pyarrow.parquet as pq

    symbols = ["BNBUSDT", "BTCUSDT", "DOGEUSDT", "ETHUSDT", "LTCUSDT", "XRPUSDT"]
    frames = []
    for symbol in symbols:
        table = pq.read_table(SHARED / f"{symbol}-1h.parquet").to_pandas()
        frames.append(table[-1500:].assign(symbol=symbol))
    frame = pd.concat(frames)
    factor = read_given(text)
    got = loaded(pandas_text(Exported(factor))).factor(frame)
    tables = {
        name: frame.pivot(index="open_time", columns="symbol", values=name).reindex(got.index)
        for name in ("open", "high", "low", "close", "volume")
    }
    arrays = {name: table.to_numpy(dtype=np.float64) for name, table in tables.items()}
    want = compute(factor, arrays, None, 0)
    assert np.isfinite(want).mean() > 0.7
    assert not differing(got.to_numpy(), want).any()


def test_a_frame_of_rows_gives_what_frames_of_columns_give(panel):
    """Rows in any order, bars that are missing for all symbols put in."""
    made = {name: values.copy() for name, values in panel.items()}
    for values in made.values():
        values[[30, 31, 90]] = np.nan
    exported = loaded(pandas_text(from_expression("ts_mean(close, 3) / delay(rank(volume), 2)")))
    rows, columns = exported.factor(long(made)), exported.factor(wide(made))
    assert set(times(220)[[30, 31, 90]]) <= set(rows.index)
    assert rows.equals(columns)
    dated = long(made)
    dated["open_time"] = pd.to_datetime(dated["open_time"], unit="ms", utc=True)
    assert np.array_equal(exported.factor(dated), columns, equal_nan=True)


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (lambda frame: frame.drop(columns="close"), "no column close"),
        (lambda frame: pd.concat([frame, frame[:1]]), "twice"),
        (
            lambda frame: frame.assign(
                open_time=frame["open_time"].replace(LAST_BAR, LAST_BAR + 7)
            ),
            "not on one grid",
        ),
    ],
)
def test_a_frame_that_is_none(panel, spoilt, says):
    exported = loaded(pandas_text(from_expression("close / open")))
    with pytest.raises(ValueError, match=says):
        exported.factor(spoilt(long(panel)))


def test_a_group_table_that_is_absent(panel):
    exported = loaded(pandas_text(from_expression("group_rank(close, sector)")))
    with pytest.raises(ValueError, match="needs a group table"):
        exported.factor(wide(panel))


def test_indicators_are_columns_of_the_frame(panel):
    factor = read_given("rank(rsi_14) * ts_zscore(close, 10)")
    text = pandas_text(Exported(factor))
    assert "GIVEN_COLUMNS = ('rsi_14',)" in text
    columns = []
    for n in range(len(SYMBOLS)):
        klines = pd.DataFrame({name: panel[name][:, n] for name in KLINE_FIELDS})
        klines["open_time"] = times(220)
        columns.append(compute_indicators(klines, ["rsi_14"], Interval.H1)["rsi_14"].to_numpy())
    given = {**panel, "rsi_14": np.column_stack(columns)}
    got, want = both(factor, given)
    assert np.isfinite(want).any()
    assert not differing(got, want).any()
    with pytest.raises(ValueError, match="rsi_14"):
        loaded(text).factor(wide(panel))


def test_a_file_carries_no_other_operator_and_needs_no_alphamill(tmp_path):
    text = pandas_text(from_expression("rank(ts_mean(close, 5) / close) + ts_rank(vwap, 3)"))
    functions = {one.name for one in ast.parse(text).body if isinstance(one, ast.FunctionDef)}
    names = {function_name(name) for name in OPERATORS}
    assert functions & names == {"rank", "ts_mean", "div", "add", "ts_rank"}
    (tmp_path / "factor.py").write_text(text)
    code = "import sys, factor; print(sorted({'alphamill', 'numba'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_an_operator_that_is_not_written_plainly_is_refused_by_name(monkeypatch):
    known = {name: one for name, one in definitions("plain").items() if name != "ts_skew"}
    monkeypatch.setattr("alphamill.live.export.pandas_module.definitions", lambda _: known)
    with pytest.raises(FactorError, match="'ts_skew' cannot be exported"):
        pandas_text(from_expression("ts_skew(close, 5)"))


HOSTILE = "x'\"\"\"\n__import__('os').abort()\n# {0} \\"


@pytest.mark.parametrize("form", [pandas_text, strategy_text, json_text])
def test_hostile_names_stay_text(form):
    factor = read_given("close / open")
    plain = Exported(factor, "live-1", "mine-1", "predictive", Market.SPOT, Interval.H1)
    hostile = Exported(factor, HOSTILE, HOSTILE, HOSTILE, Market.SPOT, Interval.H1)
    if form is json_text:
        assert json.loads(form(hostile))["run"] == HOSTILE
        return
    assert form(hostile).isascii()
    shapes = [
        [type(node).__name__ for node in ast.walk(ast.parse(form(one)))] for one in (plain, hostile)
    ]
    assert shapes[0] == shapes[1]
    with pytest.raises(FactorError):
        from_expression(HOSTILE)


@pytest.mark.parametrize("text", ["-rank(ts_rank_corr(close, volume, 5))", "scale(returns, 2)"])
def test_json_read_back_is_the_same_factor(text):
    factor = read_given(text)
    said = json_text(Exported(factor, "", "mine-1", "tradable", Market.USD_M, Interval.H4, 6))
    record = json.loads(said)
    assert set(record) == set(FORMAT)
    assert (record["horizon_bars"], record["market"], record["live"]) == (6, "um", None)
    again = factor_in(said)
    assert (again.tree, again.hash, again.text) == (factor.tree, factor.hash, factor.text)
    assert again.lookback_bars == record["lookback_bars"]


def test_the_page_names_every_key():
    page = Path(__file__).resolve().parents[3] / "docs/how-to/export-a-factor.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    named = {word for row in rows for word in row.split("|")[1].split("`")[1::2]}
    assert set(FORMAT) <= named


@pytest.mark.parametrize("entry", zoo("alpha101")[::10], ids=lambda entry: entry.name)
def test_json_of_published_factors(entry):
    assert factor_in(json_text(Exported(entry.factor()))).tree == entry.factor().tree


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hash": "0" * 16}, "the hash says"),
        ({"schema": "else"}, "schema"),
        ({"tree": {"operator": "eval", "arguments": []}}, "unknown operator"),
        ({"tree": {}}, "no exported factor"),
    ],
)
def test_json_that_is_not_whole(change, says):
    record = json.loads(json_text(from_expression("close / open"))) | change
    with pytest.raises(FactorError, match=says):
        factor_in(json.dumps(record))


SPEC = LiveSpec(
    Market.USD_M,
    Interval.H1,
    ("BTCUSDT", "ETHUSDT", "XRPUSDT"),
    tuple(
        Followed(one.text, one.hash, 4, "mine-1", "predictive")
        for one in map(read_given, ("close / open", "-ts_zscore(volume, 9)"))
    ),
)


def signal(bar, weights, seq=0, revision=0, late_ms=2000, factor=0, state=State.SIGNAL):
    return Signal(
        live=SPEC.id,
        factor=SPEC.factors[factor].factor,
        bar_time=bar * HOUR,
        close_time=(bar + 1) * HOUR,
        revision=revision,
        published_at=(bar + 1) * HOUR + late_ms,
        state=state,
        reason="",
        expected=3,
        symbols=SPEC.symbols,
        values=weights,
        ranks=(0.0, 0.5, 1.0),
        weights=weights,
        absent=(),
        data="",
        code="",
    )


def chain(rows):
    links, previous = [], FIRST
    for seq, row in enumerate(rows):
        links.append(Link.of(row, seq, previous))
        previous = links[-1].hash
    return links


class Pairs:
    """What freqtrade gives a strategy to read candles by."""

    def __init__(self, frames):
        self.frames = frames

    def current_whitelist(self):
        return list(self.frames)

    def get_pair_dataframe(self, pair, timeframe):
        return self.frames[pair].copy()

    def get_analyzed_dataframe(self, pair, timeframe):
        return self.frames[pair], None


@pytest.fixture
def strategy_of(monkeypatch):
    """Load a strategy over as much of freqtrade's interface as it names."""
    package, module = types.ModuleType("freqtrade"), types.ModuleType("freqtrade.strategy")
    module.IStrategy = type("IStrategy", (), {"dp": None, "wallets": None})
    monkeypatch.setitem(sys.modules, "freqtrade", package)
    monkeypatch.setitem(sys.modules, "freqtrade.strategy", module)

    def load(text, exported):
        return getattr(loaded(text), f"Alphamill_{exported.factor.hash}")()

    return load


def candles(first, count):
    opened = pd.to_datetime((first + np.arange(count)) * HOUR, unit="ms", utc=True)
    return pd.DataFrame({"date": opened, "close": 1.0})


def follow(strategy_of, monkeypatch, stream, frame, pair="ETH/USDT:USDT"):
    import redis

    monkeypatch.setattr(redis.Redis, "from_url", lambda address, **_: stream)
    exported = from_live(SPEC.id, SPEC, "1")
    strategy = strategy_of(strategy_text(exported), exported)
    for step in ("indicators", "entry_trend", "exit_trend"):
        frame = getattr(strategy, f"populate_{step}")(frame, {"pair": pair})
    return strategy, frame


def test_a_strategy_follows_the_signals(strategy_of, monkeypatch):
    rows = [
        signal(100, (0.5, -0.25, -0.25)),
        signal(100, (-0.5, 0.5, 0.0), factor=1),  # another factor's
        signal(101, (-0.5, 0.5, 0.0)),
        signal(102, (-0.5, 0.5, 0.0)),
        signal(102, (0.25, -0.5, 0.25), revision=1),
        signal(103, (0.0, 0.5, -0.5), late_ms=HOUR),  # of no use at the next open
        signal(104, (), state=State.NO_SIGNAL),
    ]
    client = fakeredis.FakeRedis()
    SignalStream(client, SPEC.id).push(chain(rows))
    strategy, frame = follow(strategy_of, monkeypatch, client, candles(99, 7))
    assert frame["target_weight"].fillna(9).tolist() == [9, -0.25, 0.5, -0.5, 9, 9, 9]
    assert frame["enter_long"].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert frame["enter_short"].tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert frame["exit_long"].tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert frame["exit_short"].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert (strategy.timeframe, strategy.can_short, strategy.INTERFACE_VERSION) == ("1h", True, 3)
    assert strategy._reader.refused == 0


def test_a_weight_of_zero_leaves_either_side(strategy_of, monkeypatch):
    client = fakeredis.FakeRedis()
    SignalStream(client, SPEC.id).push(chain([signal(100, (-0.5, 0.5, 0.0))]))
    _, frame = follow(strategy_of, monkeypatch, client, candles(100, 1), "XRP/USDT:USDT")
    steps = ["enter_long", "enter_short", "exit_long", "exit_short"]
    assert frame[steps].iloc[0].tolist() == [0, 0, 1, 1]


def test_what_is_added_to_the_stream_is_read(strategy_of, monkeypatch):
    links = chain([signal(100, (0.5, -0.25, -0.25)), signal(101, (-0.5, 0.5, 0.0))])
    client = fakeredis.FakeRedis(decode_responses=True)
    stream = SignalStream(client, SPEC.id)
    stream.push(links[:1])
    strategy, _ = follow(strategy_of, monkeypatch, client, candles(100, 1))
    stream.push(links[1:])
    frame = strategy.populate_indicators(candles(100, 2), {"pair": "BTC/USDT:USDT"})
    assert frame["target_weight"].tolist() == [0.5, -0.5]


def forged(link):
    """The row with its weights turned, under the hash that it had."""
    payload = link.payload.replace('"weights":[-0.5,0.5', '"weights":[0.5,-0.5')
    assert json.loads(payload)["weights"] == [0.5, -0.5, 0.0]
    return {"payload": payload, "hash": link.hash}


def inserted(link):
    """A row that hashes well and does not name the one before."""
    payload = Link.of(link.row, link.row.seq, "f" * 64).payload
    return {"payload": payload, "hash": hashlib.sha256(payload.encode()).hexdigest()}


@pytest.mark.parametrize(
    "spoil", [forged, inserted, lambda link: {"payload": "{}"}, lambda link: {"x": "y"}]
)
def test_a_row_that_is_not_what_was_published_is_not_traded(spoil, strategy_of, monkeypatch):
    links = chain([signal(100, (0.5, -0.25, -0.25)), signal(101, (-0.5, 0.5, 0.0))])
    client = fakeredis.FakeRedis()
    stream = SignalStream(client, SPEC.id)
    stream.push(links[:1])
    client.xadd(stream.key, spoil(links[1]), id="2-0")
    strategy, frame = follow(strategy_of, monkeypatch, client, candles(100, 2))
    assert frame["target_weight"].fillna(9).tolist() == [-0.25, 9]
    assert strategy._reader.refused == 1


def test_without_redis_nothing_is_entered_and_nothing_is_left(strategy_of, monkeypatch):
    server = fakeredis.FakeServer()
    server.connected = False
    client = fakeredis.FakeRedis(server=server)
    _, frame = follow(strategy_of, monkeypatch, client, candles(100, 3))
    assert frame["target_weight"].isna().all()
    assert not frame[["enter_long", "enter_short", "exit_long", "exit_short"]].any(axis=None)


def test_a_stake_is_the_weights_share(strategy_of, monkeypatch):
    client = fakeredis.FakeRedis()
    SignalStream(client, SPEC.id).push(chain([signal(100, (0.5, -0.25, -0.25))]))
    pair = "ETH/USDT:USDT"
    strategy, frame = follow(strategy_of, monkeypatch, client, candles(100, 1), pair)
    strategy.dp = Pairs({pair: frame})
    strategy.wallets = types.SimpleNamespace(get_total_stake_amount=lambda: 1000.0)

    def stake(side, most=5000.0):
        return strategy.custom_stake_amount(pair, None, 1.0, 10.0, 5.0, most, 1.0, None, side)

    assert (stake("short"), stake("short", 100.0), stake("long")) == (250.0, 100.0, 0.0)


def test_a_strategy_computes_by_itself(strategy_of, panel):
    text = "rank(ts_corr(close, volume, 10)) - ts_zscore(close, 20)"
    exported = from_expression(text)
    strategy = strategy_of(strategy_text(exported), exported)
    dates = pd.to_datetime(times(220), unit="ms", utc=True)
    pairs = [symbol.replace("USDT", "/USDT") for symbol in SYMBOLS]
    columns = ("open", "high", "low", "close", "volume")
    frames = {
        pair: pd.DataFrame({"date": dates, **{name: panel[name][:, n] for name in columns}})
        for n, pair in enumerate(pairs)
    }
    strategy.dp = Pairs(frames)
    assert set(strategy.informative_pairs()) == {(pair, "1h") for pair in pairs}
    assert strategy.startup_candle_count == exported.factor.lookback_bars + 1
    want = portfolio_weights(compute(exported.factor, panel, None, FIRST_BAR))
    for n, pair in enumerate(pairs):
        frame = strategy.populate_indicators(frames[pair].copy(), {"pair": pair})
        assert frame["target_weight"].to_numpy() == pytest.approx(want[:, n], abs=1e-12)
    assert np.abs(want).sum() > 100
    for step in ("entry_trend", "exit_trend"):
        frame = getattr(strategy, f"populate_{step}")(frame, {"pair": pair})
    assert (frame["enter_long"] == (want[:, -1] > 0)).all()
    assert "enter_short" not in frame  # spot


def test_what_candles_do_not_hold_is_followed_or_refused(strategy_of):
    with pytest.raises(GiveUp, match="candles have no quote_volume; follow it with"):
        strategy_text(from_expression("rank(adv20)"))
    factor = read_given("rank(adv20)")
    exported = Exported(factor, "live-1", market=Market.SPOT, interval=Interval.H1)
    strategy = strategy_of(strategy_text(exported), exported)
    strategy.source = "compute"
    with pytest.raises(ValueError, match="no quote_volume"):
        strategy.populate_indicators(candles(0, 1), {"pair": "A/B"})


@pytest.mark.parametrize("text", ["3", "0", "ffff", "", "close"])
def test_an_unknown_factor_names_those_that_are(text):
    with pytest.raises(GiveUp, match=f"there are: 1 {SPEC.factors[0].factor}, 2 "):
        from_live(SPEC.id, SPEC, text)


def test_what_a_run_sold_is_exported_turned():
    """As a live follows it: a high value is to be held."""
    judged = types.SimpleNamespace(
        traded=as_traded("close / open", -1), verdict=Grade.PREDICTIVE, interval=Interval.H4
    )
    spec = types.SimpleNamespace(
        market=Market.USD_M,
        segments=types.SimpleNamespace(horizon_bars=6),
        portfolio=PortfolioSettings(weighting="zscore"),
    )
    found = types.SimpleNamespace(id="mine-1", spec=spec, factor={"1": judged}.__getitem__)
    exported = from_run(found, "1")
    assert exported.factor == read_given("-(close / open)")
    said = json.loads(json_text(exported))
    assert (said["run"], said["verdict"], said["interval"]) == ("mine-1", "predictive", "4h")
    assert (said["orientation"], said["horizon_bars"]) == ("high", 6)
    with pytest.raises(GiveUp, match="by rank, not by zscore"):
        strategy_text(exported)


def run(*words):
    return CliRunner().invoke(live, ["export", *map(str, words)])


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", str(tmp_path / "lake"))
    Register(Lake(str(tmp_path / "lake"))).start(SPEC, 0)
    out = tmp_path / "factor.py"
    done = run(SPEC.factors[1].factor[:6], "--to", "pandas", "--live", SPEC.id[:9], "--out", out)
    assert done.exit_code == 0, done.output
    made = loaded(out.read_text())
    assert (SPEC.id, "mine-1", "predictive") == (made.LIVE, made.RUN, made.VERDICT)
    assert (SPEC.factors[1].factor, 4) == (made.HASH, made.HORIZON_BARS)
    out.write_text("mine")
    refused = run("1", "--to", "json", "--out", out)
    assert (refused.exit_code, out.read_text()) == (2, "mine")
    assert "--force" in refused.output
    assert run("1", "--to", "json", "--out", out, "--force").exit_code == 0
    assert json.loads(out.read_text())["hash"] == SPEC.factors[0].factor
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    unknown = run("7", "--to", "json")
    assert unknown.exit_code == 1
    assert "there are: 1 " in unknown.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--to", "json"), "which FACTOR"),
        (("--to", "json", "--expr", "close +"), "--expr"),
        (("1", "--to", "json", "--expr", "close"), "FACTOR names another"),
        (("1", "--to", "json", "--run", "a", "--live", "b"), "give one of them"),
    ],
)
def test_words_that_do_not_go_together(words, says):
    done = run(*words)
    assert done.exit_code == 2
    assert says in done.output


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    def breaks(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", breaks)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "factor.py", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_band_travels_with_the_factor_and_a_strategy_that_has_none_is_refused():
    text = read_given("rank(ts_zscore(close, 24))")
    followed = (Followed(text.text, text.hash, 4),)
    spec = LiveSpec(Market.SPOT, Interval.H1, tuple(SYMBOLS), followed, band=0.5, hold_bars=48)
    exported = from_live("live-1", spec, "1")
    said = json.loads(json_text(exported))
    assert (said["band"], said["horizon_bars"]) == (0.5, 48)
    assert "\nBAND = 0.5\n" in pandas_text(exported)
    assert "BAND" not in pandas_text(from_expression(text.text))
    with pytest.raises(GiveUp, match=r"a band of 0\.5: .* --to json"):
        strategy_text(exported)
