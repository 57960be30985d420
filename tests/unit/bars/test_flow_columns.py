"""Flow columns beside plain definitions, on recorded trades."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from alphamill.bars import FLOW, parse_rule, parse_trades
from alphamill.bars.kernels import flow as kernels
from tests.unit.bars.conftest import (
    DAY_US,
    EIGHTH_US,
    SPOT,
    USD_M,
    USD_M_AGGREGATES,
    Row,
    aggregated,
    built,
    printed,
)

NAN = math.nan
END_US = EIGHTH_US + DAY_US + 2_000_000  # behind the last recorded trade


def slope(y, x):
    if len(x) < 2 or len(set(x)) == 1:
        return NAN
    return np.cov(y, x)[0, 1] / np.var(x, ddof=1)


def vpin(sizes, bought):
    """Trades laid end to end, cut at every fiftieth of their volume, exactly."""
    total, at = sum(sizes), Fraction(0)
    balances = [Fraction(0)] * 50
    for size, is_bought in zip(sizes, bought, strict=True):
        end = at + size
        for k in range(int(at * 50 / total), min(int(end * 50 / total), 49) + 1):
            part = min(end, total * (k + 1) / 50) - max(at, total * k / 50)
            balances[k] += part if is_bought else -part
        at = end
    return float(sum(map(abs, balances)) / total)


def by_definition(rows, span_s, close_span_s=None):
    """Every column of one bar."""
    sizes = np.array([float(row.quantity) for row in rows])
    prices = np.array([float(row.price) for row in rows])
    sign = np.array([-1.0 if row.sold else 1.0 for row in rows])
    fills = np.array([row.last - row.first + 1 for row in rows])
    exact = [Fraction(row.quantity) for row in rows]
    values = [row.value for row in rows]
    frame = pd.DataFrame(
        {
            "time": [row.time_ms for row in rows],
            "price": prices,
            "flow": sign * np.array([float(value) for value in values]),
        }
    )
    frame["root"] = np.sign(frame.flow) * frame.flow.abs() ** 0.5
    own = frame.groupby("time").agg({"price": "last", "flow": "sum", "root": "sum"})
    log_returns = np.log(own.price).diff().to_numpy()[1:]
    sides = np.sign(own.flow.to_numpy())
    gaps = np.diff(own.index.to_numpy())
    many = len(own) >= 3
    covariance = np.cov(log_returns[1:], log_returns[:-1])[0, 1] if len(own) >= 4 else NAN
    if len(own) >= 4 and abs(covariance) <= 1e-12 * (log_returns**2).mean():
        covariance = 0.0  # of rounding
    down = np.minimum(log_returns, 0)
    signed = [-value if row.sold else value for row, value in zip(rows, values, strict=True)]
    largest = np.sort(sizes)[::-1][: math.ceil(len(rows) / 10)]
    return {
        "signed_volume": float(
            sum(-size if row.sold else size for row, size in zip(rows, exact, strict=True))
        ),
        "signed_quote": float(sum(signed)),
        "trade_imbalance": (sign * fills).sum() / fills.sum(),
        "size_median": np.median(sizes),
        "size_q90": np.quantile(sizes, 0.9),
        "size_q99": np.quantile(sizes, 0.99),
        "size_max": sizes.max(),
        "top_decile_share": largest.sum() / sizes.sum(),
        "size_hhi": ((sizes / sizes.sum()) ** 2).sum(),
        "arrival_rate": fills.sum() / span_s if span_s else NAN,
        "duration_cv": gaps.std() / gaps.mean() if many else NAN,
        "realised_variance": (log_returns**2).sum(),
        "down_variance": (down**2).sum(),
        "bipower_variation": np.pi / 2 * np.abs(log_returns[1:] * log_returns[:-1]).sum(),
        "roll_spread": 2 * math.sqrt(-covariance) if covariance <= 0 else NAN,
        "kyle_lambda": slope(log_returns, own.flow[1:]) if many else NAN,
        "hasbrouck_lambda": slope(log_returns, own.root[1:]) if many else NAN,
        "amihud": abs(math.log(prices[-1] / prices[0])) / float(sum(values)),
        "vpin": vpin(exact, [not row.sold for row in rows]) if len(rows) >= 50 else NAN,
        "sign_autocorrelation": slope(sides[1:], sides[:-1]) if many else NAN,
    }


def compare(bars, groups, span_s):
    traded = bars[bars.first_id >= 0]
    assert len(traded) == len(groups)
    counted = dict.fromkeys(FLOW, 0)
    for at, group in enumerate(groups):
        span = (group[-1].time_ms - group[0].time_ms) / 1000 if span_s is None else span_s
        for name, wanted in by_definition(group, span).items():
            found = traded.flow[name][at]
            if name in ("signed_volume", "signed_quote"):
                assert found == wanted, (name, at)
            else:
                tiny = {"kyle_lambda": 1e-18, "hasbrouck_lambda": 1e-15, "roll_spread": 1e-9}
                assert found == pytest.approx(
                    wanted, rel=1e-7, abs=tiny.get(name, 1e-15), nan_ok=True
                ), (name, at, len(group))
            counted[name] += not math.isnan(wanted)
    return counted


def grouped(rows, length_ms):
    groups = {}
    for row in rows:
        groups.setdefault(row.time_ms // length_ms, []).append(row)
    return list(groups.values())


def test_every_column_is_its_definition_on_recorded_minutes(recorded):
    rows = recorded("spot")[-6000:]
    trades = parse_trades(printed(rows, SPOT), SPOT)
    bars = built([trades], parse_rule("1m"), SPOT, END_US, flow=True)
    counted = compare(bars, grouped(rows, 60_000), 60.0)
    assert min(counted.values()) >= 3
    assert list(bars.flow) == list(FLOW)


def test_every_column_is_its_definition_in_short_bars(recorded):
    rows = recorded("usdm")[:2500]
    trades = parse_trades(printed(rows, USD_M), USD_M)
    bars = built([trades], parse_rule("1s"), USD_M, END_US, flow=True)
    groups = grouped(rows, 1000)
    counted = compare(bars, groups, 1.0)
    assert min(counted.values()) >= 3
    assert any(value < len(groups) for value in counted.values())  # and NaN where it is too short


def test_event_bars_and_aggregates_have_them_too(recorded):
    rows = aggregated(recorded("usdm")[:2000], 100)
    trades = parse_trades(printed(rows, USD_M_AGGREGATES), USD_M_AGGREGATES)
    rule = parse_rule("2v")
    bars = built([trades], rule, USD_M_AGGREGATES, END_US, flow=True)
    places = np.searchsorted([row.id for row in rows], [*bars.first_id.tolist(), 10**9])
    groups = [rows[a:b] for a, b in pairwise(places)]
    assert len(groups) > 5
    compare(bars, groups, None)


@pytest.mark.parametrize("text", ["1s", "1m", "50t", "1d"])
def test_cuts_change_no_bit_of_them(recorded, text):
    trades = parse_trades(printed(recorded("spot")[-1500:], SPOT), SPOT)
    rule = parse_rule(text)
    whole = built([trades], rule, SPOT, END_US, flow=True)
    apart = built([trades[at : at + 3] for at in range(0, 1500, 3)], rule, SPOT, END_US, flow=True)
    assert apart.table().equals(whole.table())


def test_a_bar_without_trades_has_flow_of_silence():
    rows = [Row(1, "2", "1", EIGHTH_US // 1000, True)]
    trades = parse_trades(printed(rows, SPOT), SPOT)
    bars = built([trades], parse_rule("1m"), SPOT, EIGHTH_US + 180_000_000, flow=True)
    for name, column in bars.flow.items():
        assert column[1:] == pytest.approx([FLOW[name].of_silence] * 2, nan_ok=True)
    assert bars.flow["signed_volume"].tolist() == [-1.0, 0.0, 0.0]
    assert bars.flow["realised_variance"][0] == 0.0


def test_columns_keep_their_range_and_their_least_trades(recorded):
    rows = recorded("usdm")[:4000]
    trades = parse_trades(printed(rows, USD_M), USD_M)
    bars = built([trades], parse_rule("1s"), USD_M, END_US, flow=True)
    groups = grouped(rows, 1000)
    traded = bars[bars.first_id >= 0]
    times = np.array([len({row.time_ms for row in group}) for group in groups])
    n = np.array([len(group) for group in groups])
    for name, column in traded.flow.items():
        record = FLOW[name]
        known = column[~np.isnan(column)]
        assert ((known >= record.low) & (known <= record.high)).all()
        short = (n < record.least_trades) | (times < record.least_times)
        assert np.isnan(column[short]).all()
        if record.least_trades == record.least_times == 1:
            assert not np.isnan(column).any()


def test_each_record_is_whole_and_stands_where_the_kernel_puts_it():
    for name, record in FLOW.items():
        assert record.name == name
        assert record.summary.endswith(".")
        assert record.source
        assert record.warmup_bars == 0
    places = {
        name.lower(): value
        for name, value in inspect.getmembers(kernels)
        if name.isupper() and isinstance(value, int) and name not in ("N_FIGURES", "BUCKETS")
    }
    of_kernel = sorted(places, key=places.__getitem__)
    assert [name for name in FLOW if name in places] == of_kernel
    assert len(of_kernel) == kernels.N_FIGURES == len(FLOW) - 2
