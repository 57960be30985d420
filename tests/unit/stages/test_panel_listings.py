"""A name that was given to another coin, and bars of symbols that trade no more, from lake to book.

LUNAUSDT as the exchange has it: 80 at the beginning of May 2022, 0.00005 in its last hour on the
13th, no bar until the 31st, then another coin that opened at 1, closed its first hour near 9 and
fell to 2 in June.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from alphamill import testing
from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.evaluation import Scorer, Segment, forward_returns
from alphamill.evaluation.returns import holding_returns
from alphamill.frames import Interval, Market, Panel
from alphamill.indicators import compute_indicators, indicator_names
from alphamill.jobs import FeaturesJob, FundingJob, PanelJob, RunKind, RunSpec
from alphamill.lake import Lake, read_klines
from alphamill.language import read_expression
from alphamill.market import FakeFunding
from alphamill.market.funding.parse import funding_table
from alphamill.runs.panels import (
    NewListing,
    PanelManifest,
    load_last_bars,
    load_panel,
    read_manifest,
)
from alphamill.runs.reader import SegmentReader
from alphamill.settings import SegmentSettings
from alphamill.stages import features, funding, panel
from alphamill.stages.features import FeaturesDeps
from alphamill.stages.funding import FundingDeps
from alphamill.stages.panel import PanelDeps
from alphamill.testing import klines_at, put_klines

HOUR_MS, DAY_MS, WEEK_MS = 3_600_000, 86_400_000, 604_800_000
START_MS = 1_651_363_200_000  # 2022-05-01
ENDED, RELISTED, BARS = 289, 726, 1464  # 2022-05-13 01:00, 2022-05-31 06:00, 2022-07-01
RELISTED_MS = START_MS + RELISTED * HOUR_MS
SECOND = "LUNAUSDT@2022-05-31"
OTHERS = tuple(f"{letter}{letter}USDT" for letter in "ABCDEF")
CUT = SegmentSettings(discovery_frac=0.6, validation_frac=0.2, horizon_bars=4)
FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "trades")


def coin(close: np.ndarray, start: int, first_open: float) -> pa.Table:  # type: ignore[type-arg]
    """Hours in a row that open at the close before."""
    opened = np.concatenate([[first_open], close[:-1]])
    rng = np.random.default_rng(len(close))
    volume = rng.lognormal(9, 1, len(close))
    return klines_at(
        START_MS + HOUR_MS * (start + np.arange(len(close))),
        open=opened,
        high=np.maximum(opened, close) * 1.001,
        low=np.minimum(opened, close) * 0.999,
        close=close,
        volume=volume,
        quote_volume=volume * close,
        taker_buy_base=volume / 2,
        taker_buy_quote=volume * close / 2,
        trades=50,
    )


def walk(n_bars: int, first: float, last: float, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    noise = np.cumsum(np.random.default_rng(seed).normal(0, 0.004, n_bars))
    return np.exp(np.linspace(np.log(first), np.log(last), n_bars) + noise - noise[0])


FIRST_LUNA = coin(np.r_[walk(ENDED - 100, 80, 70, 1), np.geomspace(60, 0.00005, 100)], 0, 80)
SECOND_LUNA = coin(walk(BARS - RELISTED, 8.5558, 2, 2), RELISTED, 1.0)
LUNA = pa.concat_tables([FIRST_LUNA, SECOND_LUNA])


@pytest.fixture
def lake(lake: Lake) -> Lake:
    for seed, symbol in enumerate(OTHERS):
        put_klines(lake, symbol, coin(walk(BARS, 10, 10, 10 + seed), 0, 10))
    return lake


def spec_of(*symbols: str, **fields) -> RunSpec:  # type: ignore[no-untyped-def]
    whole = {"start_ms": START_MS, "end_ms": START_MS + BARS * HOUR_MS}
    return testing.spec_of(*symbols, **{"kind": RunKind.EVALUATE} | whole | fields)


def made(lake: Lake, spec: RunSpec, indicators: bool = False) -> PanelManifest:
    panel.run(PanelJob(Interval.H1), PanelDeps(lake, spec, indicators=indicators))
    manifest = read_manifest(lake, spec.run_id, Interval.H1)
    assert manifest is not None
    return manifest


def whole(lake: Lake, spec: RunSpec, *fields: str) -> Panel:
    names = fields or FIELDS
    return load_panel(lake, spec.run_id, Interval.H1, Segment.WHOLE, names).panel


def noise_score(bars: Panel, seed: int):  # type: ignore[no-untyped-def]
    """Of values that mean nothing, the same for the symbols that stand first."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.normal(size=bars.n_bars) for _ in bars.symbols], axis=1)
    values[~np.isfinite(bars["close"])] = np.nan
    scorer = Scorer(
        bars, horizon_bars=24, entry_lag_bars=1, skip_bars=0, fee_bps=0, bars_per_year=8760
    )
    return scorer.score(values, 1)


def spliced(bars: Panel) -> Panel:
    """The panel with both coins in one column, as it was before they were told apart."""
    one = {
        name: np.where(np.isnan(values[:, 7:]), values[:, 6:7], values[:, 7:])
        for name, values in bars.items()
    }
    fields = {name: np.hstack([values[:, :6], one[name]]) for name, values in bars.items()}
    return Panel(bars.interval, bars.times_ms, bars.symbols[:7], fields)


def test_noise_earns_nothing_from_the_jump_between_two_coins(lake: Lake) -> None:
    """With both coins in one column every book, whatever it holds, has the jump's Sharpe ratio."""
    put_klines(lake, "LUNAUSDT", FIRST_LUNA)
    dead = spec_of(*OTHERS, "LUNAUSDT")
    made(lake, dead)
    put_klines(lake, "LUNAUSDT", LUNA)
    both = replace(dead, salt="both")
    made(lake, both)
    alone, cut = whole(lake, dead), whole(lake, both)
    assert cut.symbols == (*OTHERS, "LUNAUSDT", SECOND)
    for name in FIELDS:
        np.testing.assert_array_equal(cut[name][:, :7], alone[name])
    returns = holding_returns(cut).returns
    assert returns[ENDED - 1 :, 6].tolist() == [0.0] * (len(returns) - ENDED + 1)
    assert np.abs(returns).max() < 10  # its first hour, of who bought at its opening price
    assert np.abs(returns[np.arange(len(returns)) != RELISTED - 1]).max() < 1
    of_the_jump = np.sqrt(8760 / BARS)  # the Sharpe ratio of one bar against which all else is 0
    for seed in range(20):
        told, without = noise_score(cut, seed), noise_score(alone, seed)
        assert told.net_sharpe == pytest.approx(without.net_sharpe, abs=1.0)
        assert told.rank_ic_mean == pytest.approx(without.rank_ic_mean, abs=0.02)
        assert abs(noise_score(spliced(cut), seed).net_sharpe) == pytest.approx(of_the_jump, 0.01)


def test_no_label_spans_two_coins(lake: Lake) -> None:
    put_klines(lake, "LUNAUSDT", LUNA)
    spec = spec_of(*OTHERS, "LUNAUSDT")
    made(lake, spec)
    bars = whole(lake, spec)
    labels = forward_returns(bars, 24)
    first, second = labels[:, 6], labels[:, 7]
    assert np.flatnonzero(np.isfinite(first))[-1] == ENDED - 2
    assert (first[ENDED - 90 : ENDED - 1] < 0).all()  # the collapse before the end counts
    assert first[ENDED - 2] == bars["close"][ENDED - 1, 6] / bars["open"][ENDED - 1, 6] - 1
    assert np.flatnonzero(np.isfinite(second))[0] == RELISTED - 1
    assert np.nanmax(np.abs(second[RELISTED:])) < 1


def test_the_run_says_since_when_it_is_another_coin(lake: Lake) -> None:
    put_klines(lake, "LUNAUSDT", LUNA)
    manifest = made(lake, spec_of(*OTHERS, "LUNAUSDT", "GONEUSDT"))
    assert manifest.new_listings == {SECOND: NewListing(RELISTED_MS, 1.0 / 0.00005)}
    assert manifest.ended == ("LUNAUSDT",)
    assert manifest.missing == ("GONEUSDT",)
    assert made(lake, spec_of(*OTHERS)).new_listings == {}


def test_a_range_of_one_of_the_coins_alone_has_the_plain_name(lake: Lake) -> None:
    put_klines(lake, "LUNAUSDT", LUNA)
    since = made(lake, spec_of(*OTHERS, "LUNAUSDT", start_ms=RELISTED_MS))
    until = made(lake, spec_of(*OTHERS, "LUNAUSDT", end_ms=RELISTED_MS))
    assert since.symbols == until.symbols == (*OTHERS, "LUNAUSDT")
    assert (since.ended, until.ended) == ((), ("LUNAUSDT",))
    assert since.new_listings == until.new_listings == {}


@pytest.mark.parametrize("kind", ["a hole", "flat bars"])
def test_no_indicator_and_no_window_mixes_two_coins(lake: Lake, kind: str) -> None:
    """Recursive ones start anew, as if the second coin had been alone."""
    flat_ms = START_MS + HOUR_MS * np.arange(ENDED, RELISTED)
    prices = dict.fromkeys(("open", "high", "low", "close"), 0.00005)
    amounts = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades")
    flat = klines_at(flat_ms, **prices, **dict.fromkeys(amounts, 0))
    between = [flat] if kind == "flat bars" else []
    put_klines(lake, "LUNAUSDT", pa.concat_tables([FIRST_LUNA, *between, SECOND_LUNA]))
    put_klines(lake, "ONLYUSDT", SECOND_LUNA)
    spec = spec_of(*OTHERS, "LUNAUSDT", "ONLYUSDT")
    for symbol in ("LUNAUSDT", "ONLYUSDT"):
        job = FeaturesJob(Market.SPOT, symbol, Interval.H1, spec.start_ms, spec.end_ms)
        features.run(job, FeaturesDeps(lake))
    manifest = made(lake, spec, indicators=True)
    assert manifest.symbols[6:] == ("LUNAUSDT", SECOND, "ONLYUSDT")
    names = indicator_names(Interval.H1)
    held = load_panel(lake, spec.run_id, Interval.H1, Segment.WHOLE, ("close", *names)).panel
    alone = compute_indicators(SECOND_LUNA.to_pandas(), interval=Interval.H1)
    for name in ("close", *names):
        np.testing.assert_array_equal(held[name][:, 7], held[name][:, 8], err_msg=name)
        assert np.isnan(held[name][ENDED:, 6]).all(), name
        if name in alone:
            np.testing.assert_array_equal(held[name][RELISTED:, 7], alone[name].to_numpy(), name)
    reader = SegmentReader(lake, spec.run_id, Interval.H1, Segment.WHOLE)
    for text in ("ts_mean(close, 500)", "delta(close, 480)", "ts_rank(volume, 450)"):
        values = reader.values(read_expression(text))
        np.testing.assert_array_equal(values[:, 7], values[:, 8], err_msg=text)
        assert np.isnan(values[:RELISTED, 7]).all()


def test_groups_and_prompts_know_a_coin_by_its_symbol(lake: Lake) -> None:
    put_klines(lake, "LUNAUSDT", LUNA)
    table = dict.fromkeys(OTHERS, "x") | {"LUNAUSDT": "terra"}
    spec = spec_of(*OTHERS, "LUNAUSDT", kind=RunKind.MINE, groups={"chain": table}, segments=CUT)
    manifest = made(lake, spec)
    groups = spec.groups
    reader = SegmentReader(lake, spec.run_id, Interval.H1, Segment.DISCOVERY, groups)
    assert reader.labels() == {"chain": ["x"] * 6 + ["terra"] * 2}
    discovery = manifest.segments[Segment.DISCOVERY]
    shown = load_last_bars(lake, spec.run_id, Interval.H1, "LUNAUSDT")
    assert set(shown["symbol"].to_pylist()) == {SECOND}
    assert discovery.bars > RELISTED + 10
    np.testing.assert_array_equal(
        shown["close"].to_numpy(),
        SECOND_LUNA["close"].to_numpy()[: discovery.bars - RELISTED][-10:],
    )
    assert load_last_bars(lake, spec.run_id, Interval.H1, "GONEUSDT").num_rows == 0


def test_two_symbols_of_which_one_was_two_coins_are_no_cross_section(lake: Lake) -> None:
    put_klines(lake, "LUNAUSDT", LUNA)
    spec = spec_of("AAUSDT", "LUNAUSDT")
    made(lake, spec)
    score = noise_score(whole(lake, spec), 1)
    assert (score.weighting, score.fault) == ("time_series", None)
    assert np.isfinite(score.time_series_rank_corr)


# --- bars without a trade -----------------------------------------------------------------------


def flat_after(n_bars: int, n_flat: int) -> pa.Table:
    """Hours that trade, then flat ones, as a settled contract is given them."""
    traded = coin(walk(n_bars, 5, 3, 7), 0, 5)
    last = float(traded["close"][-1].as_py())
    prices = dict.fromkeys(("open", "high", "low", "close"), last)
    amounts = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades")
    opens_ms = START_MS + HOUR_MS * np.arange(n_bars, n_bars + n_flat)
    return pa.concat_tables([traded, klines_at(opens_ms, **prices, **dict.fromkeys(amounts, 0))])


def test_a_symbol_ends_where_its_bars_become_flat(lake: Lake) -> None:
    put_klines(lake, "ZDEADUSDT", flat_after(600, BARS - 600))
    put_klines(lake, "ZQUIETUSDT", flat_after(BARS - 48, 48))
    spec = spec_of(*OTHERS, "ZDEADUSDT", "ZQUIETUSDT")
    manifest = made(lake, spec)
    assert manifest.ended == ("ZDEADUSDT",)
    bars = whole(lake, spec)
    for name in FIELDS:
        assert np.isnan(bars[name][600:, 6]).all(), name
        assert np.isfinite(bars[name][:, 7]).all(), name
    reader = SegmentReader(lake, spec.run_id, Interval.H1, Segment.WHOLE)
    ranks = reader.values(read_expression("rank(close)"))
    assert np.isnan(ranks[600:, 6]).all()
    np.testing.assert_array_equal(np.nanmax(ranks[600:], axis=1), 1.0)
    held = holding_returns(bars)
    assert held.listed[:599, 6].all()
    assert not held.listed[599:, 6].any()
    assert not held.tradable[599:, 6].any()
    last = bars["close"][599, 6] / bars["open"][599, 6] - 1
    assert held.returns[598, 6] == pytest.approx(last)  # out at the last close that was traded
    assert forward_returns(bars, 24)[598, 6] == pytest.approx(last)
    assert np.isnan(forward_returns(bars, 24)[599:, 6]).all()


def test_a_week_without_a_trade_ends_a_symbol(lake: Lake) -> None:
    """Absent, one bar of a week may be one that was not fetched yet."""
    mondays_ms = 1_620_000_000_000 // WEEK_MS * WEEK_MS + 4 * DAY_MS + WEEK_MS * np.arange(60)
    traded = klines_at(mondays_ms[:59], Interval.W1, volume=3.0)
    last = float(traded["close"][-1].as_py())
    prices = dict.fromkeys(("open", "high", "low", "close"), last)
    flat = klines_at(mondays_ms[59:], Interval.W1, **prices, volume=0, trades=0)
    for symbol, bars in {
        "AUSDT": klines_at(mondays_ms, Interval.W1, volume=3.0),
        "DEADUSDT": pa.concat_tables([traded, flat]),
        "LATEUSDT": traded,
    }.items():
        put_klines(lake, symbol, bars, interval=Interval.W1)
    span = {"start_ms": int(mondays_ms[0]), "end_ms": int(mondays_ms[-1]) + WEEK_MS}
    spec = spec_of("AUSDT", "DEADUSDT", "LATEUSDT", intervals=(Interval.W1,), **span)
    panel.run(PanelJob(Interval.W1), PanelDeps(lake, spec, indicators=False))
    manifest = read_manifest(lake, spec.run_id, Interval.W1)
    assert manifest is not None
    assert manifest.ended == ("DEADUSDT",)


def test_each_coin_under_a_name_has_the_funding_of_its_own_time(lake: Lake) -> None:
    """What the first did not pay, or nobody knows of it, is not said of the second as well."""
    hours = [*range(0, 97, 8), *range(160, ENDED, 8), *range(RELISTED + 2, BARS + 1, 8)]
    rows = funding_table([START_MS + hour * HOUR_MS for hour in hours], [0.0001] * len(hours))
    fake = FakeFunding(ManualClock(START_MS + 2 * BARS * HOUR_MS), {"LUNAUSDT": rows})
    asked = START_MS, START_MS + BARS * HOUR_MS + 60_000
    put_klines(lake, "LUNAUSDT", LUNA, Market.USD_M)
    funding.run(FundingJob(Market.USD_M, "LUNAUSDT", *asked), FundingDeps(fake, lake))
    spec = spec_of("LUNAUSDT", market=Market.USD_M)
    unknown = made(lake, spec).funding_unknown
    rates = whole(lake, spec, "funding_rate")["funding_rate"]
    assert unknown == {"LUNAUSDT": int(np.isnan(rates[:, 0]).sum()), SECOND: 0}
    assert np.flatnonzero(np.isnan(rates[:, 0])).tolist() == [*range(96, 159)]
    paid = [np.flatnonzero(column > 0).tolist() for column in rates.T]
    assert paid[0] == [hour - 1 for hour in hours if 0 < hour <= ENDED]
    assert paid[1] == [hour - 1 for hour in hours if hour > RELISTED]


def test_a_symbol_that_never_trades_in_the_range_is_missing(lake: Lake) -> None:
    put_klines(lake, "ZDEADUSDT", flat_after(600, BARS - 600))
    since = {"start_ms": START_MS + 600 * HOUR_MS}
    manifest = made(lake, spec_of(*OTHERS, "ZDEADUSDT", **since))
    assert (manifest.symbols, manifest.missing) == (OTHERS, ("ZDEADUSDT",))
    with pytest.raises(GiveUp, match="no 1h bar of ZDEADUSDT in the range has a trade"):
        made(lake, spec_of("ZDEADUSDT", **since))


def test_a_symbol_alone_ends_with_its_last_trade(lake: Lake) -> None:
    put_klines(lake, "ZDEADUSDT", flat_after(600, BARS - 600))
    spec = spec_of("ZDEADUSDT")
    manifest = made(lake, spec)
    assert manifest.ended == ("ZDEADUSDT",)
    assert whole(lake, spec).n_bars == 600


def test_a_coin_that_comes_back_after_flat_bars_is_one_column(lake: Lake) -> None:
    again = coin(walk(200, 3, 4, 5), 1000, 3)
    put_klines(lake, "HALTUSDT", pa.concat_tables([flat_after(600, 400), again]))
    spec = spec_of(*OTHERS, "HALTUSDT")
    manifest = made(lake, spec)
    assert (manifest.symbols[6:], manifest.new_listings) == (("HALTUSDT",), {})
    close = whole(lake, spec, "close")["close"][:, 6]
    assert np.flatnonzero(np.isfinite(close)).tolist() == [*range(600), *range(1000, 1200)]


def test_one_pass_over_volumes_is_all_that_most_symbols_cost(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alphamill.stages import columns

    put_klines(lake, "LUNAUSDT", LUNA)
    asked: list[tuple[str, tuple[str, ...]]] = []

    def watched(lake, market, symbol, interval, start_ms, end_ms, names):  # type: ignore[no-untyped-def]
        asked.append((symbol, tuple(names)))
        return read_klines(lake, market, symbol, interval, start_ms, end_ms, names)

    monkeypatch.setattr(columns, "read_klines", watched)
    made(lake, spec_of(*OTHERS, "LUNAUSDT"))
    seen = [(symbol, ("open_time", "volume")) for symbol in (*OTHERS, "LUNAUSDT")]
    assert asked == [*seen, ("LUNAUSDT", columns.COLUMNS)]
