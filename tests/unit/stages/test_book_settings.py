"""How a book is made is the run's settings: it reaches every score, the verdicts and a replay."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.controls.markets import ControlMarket
from alphamill.evaluation import Rebalancing, Segment, backtest, forward_returns
from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.language import read_expression
from alphamill.replay.factor import recheck
from alphamill.replay.run import replay
from alphamill.runs.reader import SegmentReader
from alphamill.settings import PortfolioSettings, SegmentSettings
from alphamill.testing import work_market
from producers.cli import main

MARKET = ControlMarket(seed=4, n_symbols=6, n_bars=700)


def mined(folder, segments=SegmentSettings(), **portfolio):
    got = work_market(folder, MARKET, segments=segments, portfolio=PortfolioSettings(**portfolio))
    assert got.record.state == "done"
    return got


@pytest.mark.parametrize(
    ("portfolio", "segments"),
    [
        ({"weighting": "zscore"}, {}),
        ({"weighting": "quantile", "quantiles": 3}, {"returns": "log"}),
        ({"weighting": "quantile", "quantiles": 50}, {"entry_lag_bars": 2}),
        ({"participation_frac": 0.2, "band": 0.5, "hold_bars": 9}, {"entry_lag_bars": 0}),
    ],
    ids=["zscore", "thirds", "more-quantiles-than-symbols", "at-the-close"],
)
def test_every_choice_reaches_scores_verdicts_and_replay(tmp_path, portfolio, segments):
    got = mined(tmp_path / "lake", SegmentSettings(**segments), **portfolio)
    spec = got.spec
    assert RunSpec.from_message(spec.to_message()) == spec
    (row, *_) = [row for row in got.table("trials") if row["status"] == "evaluated"]
    reader = SegmentReader(got.lake, spec.run_id, MARKET.interval, Segment.DISCOVERY)
    panel = reader.panel(("quote_volume",)).panel
    lag, book = spec.segments.entry_lag_bars, spec.portfolio
    alone = backtest(
        reader.values(read_expression(row["expression"])),
        panel,
        11.0,
        horizon_bars=4,
        entry_lag_bars=lag,
        scheme=book.weighting,
        quantiles=min(book.quantiles, MARKET.n_symbols),
        direction=row["direction"],
        participation_frac=book.participation_frac,
        rebalancing=Rebalancing(book.band, book.hold_bars),
    )
    assert (row["net_sharpe"], row["capacity_quote"]) == (alone.net_sharpe, alone.capacity_quote)
    score = json.loads(row["score"])
    assert score["weighting"] == book.weighting
    assert score["participation_frac"] == book.participation_frac
    assert (score.get("band", 0), score.get("hold_bars", 0)) == (book.band, book.hold_bars)
    assert score["entry_lag_bars"] == lag
    assert score["log_returns"] is (spec.segments.returns == "log")
    factors = got.published.factors
    assert factors
    for factor in factors[:2]:
        assert recheck(factor, got.deps).equal
    again = replay(got.published, Lake(str(tmp_path / "again")))
    assert (again.equal, again.failed) == (True, ())


def test_log_returns_change_the_label_and_not_the_ranks(tmp_path):
    rows = []
    for name in ("simple", "log"):
        got = mined(tmp_path / name, SegmentSettings(returns=name))
        (row, *_) = [row for row in got.table("trials") if row["status"] == "evaluated"]
        rows.append(row)
    simple, log = rows
    assert simple["expression"] == log["expression"]
    assert simple["rank_ic_mean"] == log["rank_ic_mean"]
    assert simple["gross_sharpe"] == log["gross_sharpe"]
    assert simple["ic_mean"] != log["ic_mean"]
    spread = [json.loads(row["score"])["quantile_spread"] for row in rows]
    assert spread[0] != spread[1] == pytest.approx(spread[0], abs=2e-3)
    panel = {"open": np.array([[1.0], [2.0], [4.0]]), "close": np.array([[1.0], [2.0], [4.0]])}
    assert forward_returns(panel, 1, 1, log=True)[0, 0] == np.log(2)


def test_a_factor_in_full_names_its_settings_its_folds_and_what_it_cost(tmp_path):
    got = mined(tmp_path / "lake", weighting="zscore")
    spec = got.spec
    factor = got.table("factors")[0]
    runner = CliRunner(env={"ALPHAMILL_LAKE": str(tmp_path / "lake"), "COLUMNS": "80"})

    def told(*arguments):
        result = runner.invoke(main, ["factors", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    told_all = json.loads(told("--run", spec.run_id, "--json"))
    assert told_all["settings"]["portfolio"] == spec.portfolio.model_dump()
    assert told_all["settings"]["segments"]["returns"] == "simple"
    told_one = json.loads(told(factor["hash"][:10], "--json"))
    (one,) = told_one["factors"]
    assert one in told_all["factors"]
    assert one["snapshot"] == factor["snapshot"]
    assert len(one["discovery_score"]["fold_rank_corrs"]) == 8
    assert one["discovery_score"]["weighting"] == "zscore"
    (call,) = one["calls"]
    assert call["call_id"] == factor["call_id"]
    assert call["prompt_tokens"] > 0 <= call["cost_usd_micros"]
    page = told(factor["hash"][:10])
    assert max(map(len, page.splitlines())) <= 80
    words = " ".join(page.split())
    for part in (
        f"{factor['n_trials']} trials",
        f"{factor['validation_net_sharpe']:+.2f}",
        "CPCV",
        f"deflated {factor['deflated_sharpe']:.3f}",
        "walk-forward",
        "decay",
        "deflated_sharpe",
        "capacity, quote",
        "prompt tokens",
        "$0.000000",
        factor["hash"],
    ):
        assert part in words, part
    wrong = runner.invoke(main, ["factors", "nothing"])
    assert wrong.exit_code == 1
    assert "fits 0 factors" in wrong.output
