"""`alphamill evaluate` on bad input: a row with its reason, JSON throughout, never a number."""

import json
from dataclasses import replace

import numpy as np
import pytest

from alphamill.controls.markets import ControlMarket
from alphamill.jobs import RunKind
from alphamill.report.terminal.leaderboard import trials_board
from alphamill.runs.schemas import GIVEN_TRIALS
from alphamill.settings import SegmentSettings
from alphamill.sim.market import Bars
from alphamill.testing import work_market
from tests.rendering import shown

MARKET = ControlMarket(seed=11, n_symbols=4, n_bars=600, ragged=False)
NUMBERS = ("rank_ic_mean", "rank_ic_t", "gross_sharpe", "net_sharpe", "break_even_bps")


def scored(folder, *expressions, market=MARKET, **changes):
    return work_market(folder, market, kind=RunKind.EVALUATE, expressions=expressions, **changes)


def rows_of(got):
    """As `alphamill factors --json` prints them."""
    found = [trial.to_json(GIVEN_TRIALS) for trial in got.published.trials]
    return json.loads(json.dumps(found, allow_nan=False))


def idle(bars):
    return replace(bars, volume=0 * bars.volume, quote_volume=0 * bars.quote_volume)


@pytest.mark.parametrize(
    ("expression", "changes", "reason"),
    [
        ("sign(close)", {}, "constant across symbols"),
        ("close - close", {}, "constant across symbols"),
        ("log(-abs(returns))", {}, "no value"),
        ("ts_mean(returns, 700)", {}, "no value"),
        ("-returns", {"change": idle}, "volume is 0 throughout"),
        ("-returns", {"segments": SegmentSettings(horizon_bars=600)}, "do not fit"),
        ("sign(close)", {"market": replace(MARKET, n_symbols=1)}, "constant in time"),
        ("no_such_field * 2", {}, "no_such_field"),
        ("rank(", {}, "col"),
    ],
)
def test_each_is_a_row_with_its_reason_and_no_number(tmp_path, expression, changes, reason):
    got = scored(tmp_path, expression, "-returns", **changes)
    assert got.record.state == "done"
    row = rows_of(got)[0]
    assert row["status"] in ("fault", "invalid")
    assert reason in row["reason"]
    assert [row[name] for name in NUMBERS] == [None] * len(NUMBERS)
    text = shown(trials_board(got.published.trials), 80)
    assert "nan" not in text.lower().replace("no value", "")
    assert reason.split()[0] in text


def test_a_good_neighbour_is_scored_beside_a_bad_one(tmp_path):
    got = scored(tmp_path, "log(-abs(returns))", "-returns")
    bad, good = rows_of(got)
    assert (bad["status"], good["status"]) == ("fault", "evaluated")
    assert all(isinstance(good[name], float) and np.isfinite(good[name]) for name in NUMBERS)


def test_one_symbol_is_scored_in_time_and_has_no_ic(tmp_path):
    got = scored(tmp_path, "-returns", market=replace(MARKET, n_symbols=1))
    (row,) = rows_of(got)
    assert row["status"] == "evaluated"
    assert (row["rank_ic_mean"], row["ic_mean"]) == (None, None)
    assert row["score"]["time_series_rank_corr"] is not None


def test_a_range_without_bars_is_a_row_an_expression(tmp_path):
    early = MARKET.start_ms - 400 * 86_400_000
    got = scored(tmp_path, "-returns", "rank(", start_ms=early, end_ms=early + 30 * 86_400_000)
    assert got.record.state == "done"
    good, bad = rows_of(got)
    assert (good["status"], good["expression"]) == ("fault", "-returns")
    assert "the lake has no 1h bar of" in good["reason"]
    assert bad["status"] == "invalid"
    assert "col" in bad["reason"]
    assert [row[name] for row in (good, bad) for name in NUMBERS] == [None] * 2 * len(NUMBERS)


def test_what_has_bars_only_at_its_ends_is_scored_or_says_why(tmp_path):
    got = scored(tmp_path, "-returns", "ts_mean(returns, 100)", change=hollow)
    assert got.record.state == "done"
    for row in rows_of(got):
        assert row["status"] == "fault"
        assert "needed" in row["reason"] or "no value" in row["reason"]


def hollow(bars):
    """Ten bars at either end of the range."""
    ends = np.r_[0:10, -10:0]
    return Bars(*(getattr(bars, name)[ends] for name in Bars.__dataclass_fields__))


def test_one_symbol_in_a_table_is_not_called_ic(tmp_path):
    got = scored(tmp_path, "-returns", market=replace(MARKET, n_symbols=1))
    text = shown(trials_board(got.published.trials), 100)
    (row,) = rows_of(got)
    assert "IC" not in text
    assert "rank correlation in time" in " ".join(text.split())
    assert f"{row['direction'] * row['time_series_t']:+.2f}" in text
    assert "fold_rank_ics" not in row["score"]
