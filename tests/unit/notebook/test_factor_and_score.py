"""`am.factor(...)`: values with labels, and a Score that draws itself."""

from __future__ import annotations

import dataclasses
import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import alphamill as am
from alphamill import testing
from alphamill.controls.markets import exchange_of
from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Score
from alphamill.factors import parse
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.llm.scripted import ScriptedChat
from alphamill.mill import Mill
from alphamill.report.factor.plots import PLOTS
from alphamill.runs.published import PublishedRun
from tests.unit.notebook.conftest import MARKET

PLANTED = "-ts_zscore(close, 24)"
DOCS = Path(__file__).parents[3] / "docs" / "python.md"


@pytest.fixture(scope="module")
def panel(lake_uri: str):
    return am.lake(lake_uri).panel(MARKET.symbols, "1h", fields=["rsi_14"])


def words_of(svg: str) -> list[str]:
    """The texts of an image, which must be well-formed."""
    drawn = ElementTree.fromstring(svg)  # noqa: S314  ours
    return [text for text in drawn.itertext() if text.strip()]


def test_from_lake_to_plotted_ic_in_five_lines(lake_uri: str) -> None:
    """As docs/python.md shows it, but for where the lake is."""
    shown = DOCS.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    *lines, last = shown.strip().splitlines()
    assert len(lines) < 5
    names: dict[str, object] = {}
    exec("\n".join(lines).replace("~/.alphamill/lake", lake_uri), names)  # noqa: S102  ours
    drawing = eval(last, names)  # noqa: S307  ours
    assert "cumulative IC" in words_of(drawing._repr_svg_())


def test_values_have_labels_and_the_names_of_the_command_line(panel) -> None:
    factor = am.factor("rank(rsi_14)")
    values = factor.values(panel)
    assert list(values.columns) == list(panel.symbols)
    assert (values.index == panel.times).all()
    assert str(values.index.tz) == "UTC"
    row = panel["rsi_14"][200]
    np.testing.assert_array_equal(values.iloc[200].rank(), np.argsort(np.argsort(row)) + 1)
    assert factor.fields == ("rsi_14",)
    assert am.factor("-close").hash == parse("-close").hash


def test_groups_are_one_unless_given(panel) -> None:
    factor = am.factor("group_demean(close, sector)")
    one = factor.values(panel)
    np.testing.assert_allclose(one.sum(axis=1), 0, atol=1e-8)
    sectors = {symbol: "a" if at < 3 else "b" for at, symbol in enumerate(panel.symbols)}
    two = factor.values(panel, {"sector": sectors})
    np.testing.assert_allclose(two.iloc[:, :3].sum(axis=1), 0, atol=1e-8)
    assert (one.iloc[:, :3].sum(axis=1).abs() > 1e-3).all()


def test_a_score_is_that_of_an_evaluate_run(panel, tmp_path) -> None:
    lake = Lake(str(tmp_path))
    mill = Mill(lake, exchange_of(MARKET), ScriptedChat([]))
    spec = testing.spec_of(
        *MARKET.symbols,
        kind=RunKind.EVALUATE,
        lake=str(tmp_path),
        start_ms=MARKET.start_ms,
        end_ms=MARKET.end_ms,
        expressions=(PLANTED, "rank(rsi_14)"),
        names=("", ""),
    )
    mill.work(spec)
    recorded = {
        trial.expression: trial.score for trial in PublishedRun.open(lake, spec.run_id).trials
    }
    assert len(recorded) == 2
    for expression, of_record in recorded.items():
        score = am.factor(expression).evaluate(panel)
        assert isinstance(score, Score)
        assert score.to_dict() == of_record.to_dict()


def test_settings_of_an_evaluation_are_used(panel) -> None:
    factor = am.factor(PLANTED)
    plain = factor.evaluate(panel)
    assert (plain.horizon_bars, plain.entry_lag_bars, plain.fee_bps) == (4, 1, 11.0)
    other = factor.evaluate(panel, 12, entry_lag=2, fee_bps=3, direction=-1, weighting="zscore")
    assert (other.horizon_bars, other.entry_lag_bars, other.fee_bps) == (12, 2, 3.0)
    slow = factor.evaluate(panel, band=0.5, hold_bars=24)
    assert (slow.band, slow.hold_bars) == (0.5, 24)
    assert slow.turnover_per_bar < plain.turnover_per_bar
    with pytest.raises(GiveUp, match=r"band -1 .* at least 0"):
        factor.evaluate(panel, band=-1)
    assert (other.direction, other.weighting) == (-1, "zscore")
    assert other.gross_sharpe < 0 < plain.gross_sharpe
    assert "in sample" in plain._repr_html_()
    assert "direction given" in other._repr_html_()
    assert dataclasses.replace(plain, fee_bps=1.0).fee_bps == 1.0


def test_a_score_draws_itself(panel, tmp_path) -> None:
    score = am.factor(PLANTED).evaluate(panel)
    drawing = score.plot()
    assert len(drawing.figures) == 7  # there is nothing to correlate it with
    svg = drawing._repr_svg_()
    words = words_of(svg)
    for figure in drawing.figures:
        assert figure.question in words
    html = score._repr_html_()
    assert f"<td style='text-align: right'>{score.rank_ic_mean:+.4f}</td>" in html
    image = b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", html)[1])
    assert b"cumulative IC" in image
    words_of(image.decode())

    assert "prefers-color-scheme: dark" in svg  # its looks come with it, and no more of the page's
    assert ".board" not in svg
    drawn = set(re.findall(r'<(?:path|rect) class="([^" ]+)', svg)) - {"segment", "whole"}
    styled = re.search(r"<style>(.*?)</style>", svg, re.DOTALL)[1]
    assert [kind for kind in drawn if f".{kind}" not in styled] == []

    both = score.plot("quantiles", "ic")
    assert [one.question for one in both.figures] == [
        drawing.figures[0].question,
        drawing.figures[3].question,
    ]
    words_of(both.save(tmp_path / "two.svg").read_text("utf-8"))
    page = both.save(str(tmp_path / "two.html")).read_text("utf-8")
    assert page.count("<img ") == 2
    assert both.figures[0].caption.split(":")[0] in page
    with pytest.raises(GiveUp, match=r"ends in \.png; write \.svg or \.html"):
        both.save(tmp_path / "two.png")
    with pytest.raises(GiveUp, match="nothing to plot of correlation"):
        score.plot("correlation")
    with pytest.raises(GiveUp, match=r"no plot 'quantile'; did you mean quantiles\?"):
        score.plot("quantile")


def test_what_is_sold_is_turned_round(panel) -> None:
    plain, sold = (am.factor(text).evaluate(panel) for text in (PLANTED, "ts_zscore(close, 24)"))
    assert sold.expression == "-(ts_zscore(close, 24))"
    assert sold.rank_ic_mean == pytest.approx(-plain.rank_ic_mean)
    shown = [re.findall(r"right'>([^<]+)<", score._repr_html_())[:3] for score in (plain, sold)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", [name for name in PLOTS if name != "correlation"])
def test_each_plot_of_one_symbol_in_time_or_says_why(name: str, lake_uri: str) -> None:
    alone = am.lake(lake_uri).panel(MARKET.symbols[0], "1h")
    score = am.factor(PLANTED).evaluate(alone)
    assert "rank correlation" in score._repr_html_()
    if name == "quantiles":
        with pytest.raises(GiveUp, match="nothing to plot of quantiles"):
            score.plot(name)
    else:
        assert words_of(score.plot(name)._repr_svg_())


def test_a_factor_that_cannot_be_measured_says_why(panel) -> None:
    score = am.factor("close - close").evaluate(panel)
    assert score.fault in score._repr_html_()
    with pytest.raises(GiveUp, match="nothing to plot: the factor is constant"):
        score.plot()


def test_errors_of_factors_speak(panel, lake_uri: str) -> None:
    with pytest.raises(FactorError, match=r"unknown field 'rsi_15'; expected rsi_6 or rsi_14"):
        am.factor("rank(rsi_15)")
    with pytest.raises(GiveUp, match=r"no field 'adx_14' .*fields=\['adx_14'\]"):
        am.factor("adx_14").values(panel)
    with pytest.raises(GiveUp, match="give a Panel"):
        am.factor("close").values(panel.to_pandas("close"))
    with pytest.raises(GiveUp, match="at least 1 bar"):
        am.factor("close").evaluate(panel, horizon=0)
    own = am.Panel.from_pandas(panel.to_pandas()[["close"]])
    with pytest.raises(GiveUp, match="no field 'open' in the panel, to trade at"):
        am.factor("-close").evaluate(own)
