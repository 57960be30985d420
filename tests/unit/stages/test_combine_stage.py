"""A run's factors combined to one signal: what is asked for, and from bars to published tables."""

import errno
import json
import os
import re
import tempfile
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.combination import frozen_expression
from alphamill.controls.markets import ControlMarket
from alphamill.errors import GiveUp, Unwanted
from alphamill.factors import compute
from alphamill.jobs import Combination, CombineJob, RunKind
from alphamill.lake import run_key
from alphamill.language import read_given
from alphamill.ledger import JobState
from alphamill.live.choose import followed_from
from alphamill.live.export import from_run, pandas_text
from alphamill.report.combined import combined_page
from alphamill.report.page import render
from alphamill.report.terminal.combinations import combination_view, combinations_board
from alphamill.report.values import moment
from alphamill.runs.library import Moment, admit, entries, library_key, look_up
from alphamill.runs.panels import load_panel
from alphamill.runs.schemas import RunDeps
from alphamill.settings import SegmentSettings
from alphamill.sim.market import PlantedFactor
from alphamill.stages import combine as combine_stage
from alphamill.stages import combine_control
from alphamill.stages.publish import _trained_in
from alphamill.testing import work_market
from alphamill.testing.mill import WorkedRun
from producers.cli import main
from tests.rendering import shown

DAY_MS = 86_400_000
TRUE = "-ts_zscore(close, 24)"
OTHERS = ("rank(volume / ts_mean(volume, 20))", "-ts_rank(returns, 12)")
MARKET = ControlMarket(seed=3, n_symbols=10, n_bars=1500, planted=(PlantedFactor(TRUE, 0.06),))
ASKED = Combination(
    methods=("equal", "ic", "ridge"), refit_ms=10 * DAY_MS, train_ms=10 * DAY_MS, draws=5, pool=12
)


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    return work_market(tmp_path_factory.mktemp("combined"), MARKET)


def combine(mined, expressions=(TRUE, *OTHERS), asked=ASKED, **fields):
    spec = replace(
        mined.spec,
        kind=RunKind.COMBINE,
        expressions=expressions,
        combination=asked,
        segments=SegmentSettings(horizon_bars=4),
        **fields,
    )
    return WorkedRun(mined.mill, spec, mined.mill.work(spec))


@pytest.fixture(scope="module")
def combined(mined):
    return combine(mined)


def test_every_method_is_judged_and_held_to_random_formulas(combined):
    assert [job.stage for job in combined.jobs if job.state is not JobState.DONE] == []
    rows = combined.published.combined
    assert sorted(row.method for row in rows) == ["equal", "ic", "ridge"]
    assert [row.judged.rank for row in rows] == [1, 2, 3]
    for row in rows:
        assert row.n_factors == 3
        assert row.random_draws == 5
        assert row.excess_rank_ic == pytest.approx(row.combined_rank_ic - row.random_rank_ic)
        assert row.judged.n_trials == 3
        assert row.judged.holdout.rank_ic_mean is not None
        assert row.judged.look_ahead_ok
        assert {gate.name for gate in row.judged.gates} >= {"look_ahead", "holdout_t"}


def test_what_models_may_have_read_is_that_of_the_searches(mined, combined):
    """A search that is no longer in the lake leaves it unknown, and loses no combination."""
    assert combined.published.trained_models == []  # factors that nobody searched for
    asked = replace(ASKED, searches=(mined.spec.run_id,))
    assert combine(mined, asked=asked).published.trained_models == mined.published.trained_models
    assert [one.until for one in mined.published.trained_models] == ["untrained"]
    assert [one.model for one in _trained_in(mined.lake, "mine-gone")] == [
        "whoever answered mine-gone"
    ]


def test_its_weights_are_published_from_refit_to_refit(combined):
    weights = combined.published.weights
    equal = [one for one in weights if one.method == "equal"]
    assert len(equal) == 3 * combined.published.combined[0].refits
    assert {round(one.weight, 12) for one in equal} == {round(1 / 3, 12)}
    starts = sorted({one.from_ms for one in equal})
    assert all(start % ASKED.refit_ms < 3_600_000 * 2 for start in starts)


def test_the_newest_refit_is_a_formula_that_says_the_same(combined):
    """From its bars on, as far as the formula's longest look-back reaches."""
    published = combined.published
    panel = published_panel(combined)
    for row in published.combined:
        newest = [one for one in published.weights if one.method == row.method][-3:]
        text = frozen_expression(
            np.array([one.weight for one in newest]), [one.expression for one in newest], [1, 1, 1]
        )
        assert row.judged.expression == text
        factor = read_given(text)
        values = compute(factor, panel)[-24:]
        assert np.isfinite(values).mean() > 0.8


def published_panel(worked):
    [interval] = worked.spec.intervals
    return load_panel(worked.lake, worked.spec.run_id, interval, "whole").panel


def test_trials_of_the_search_are_charged(mined):
    charged = combine(mined, asked=replace(ASKED, draws=0, searches=(mined.spec.run_id,)))
    counted = sum(trial.counted for trial in mined.published.trials)
    assert counted > 0
    for row in charged.published.combined:
        assert row.judged.n_trials == counted + 3
        assert row.excess_rank_ic is None
        assert row.why_no_control == "no control arm was asked for"
        assert row.judged.holdout_looks_before >= len(mined.published.factors)


def test_the_same_asked_twice_gives_the_same(mined, combined):
    before = combined.table("combinations")
    again = combine(mined).table("combinations")
    for row in (*before, *again):
        del row["holdout_looks"]  # by all runs, up to now
    assert again == before


@pytest.mark.parametrize(
    ("expressions", "asked", "why"),
    [
        (("rank(rsi_14)", TRUE), ASKED, "the run's panel has no field 'rsi_14'"),
        ((TRUE, *OTHERS), replace(ASKED, refit_ms=900 * DAY_MS), "longer than the data"),
        ((TRUE, *OTHERS), replace(ASKED, train_ms=50 * DAY_MS), "comes after discovery"),
        ((TRUE, *OTHERS), replace(ASKED, pool=2), "a pool of at least as many formulas"),
    ],
)
def test_what_cannot_be_combined_says_why(mined, expressions, asked, why):
    worked = combine(mined, expressions, asked)
    lost = [job for job in worked.jobs if job.state is not JobState.DONE]
    assert [job.stage for job in lost] == ["combine", "publish"]
    assert why in lost[0].error
    assert why in lost[1].error
    assert worked.record.state.value == "failed"


@pytest.mark.parametrize("while_", ["computed", "drawn"])
def test_a_cancelled_run_ends_its_control_arm(combined, tmp_path, monkeypatch, while_):
    """And a worker that is killed in it leaves no file: none is there while it works."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked, pools, made = [], [], combine_control.control_pool

    def pool(*args, **named):
        pools.append(made(*args, **named))
        return pools[-1]

    def wanted():
        assert list(tmp_path.iterdir()) == []
        asked.append(bool(pools))
        return not pools if while_ == "drawn" else len(asked) < 3

    monkeypatch.setattr(combine_control, "control_pool", pool)
    deps = RunDeps(combined.lake, combined.spec.run_id, combined.spec)
    with pytest.raises(Unwanted, match="cancelled"):
        combine_stage.run(CombineJob(*combined.spec.intervals), deps, wanted)
    assert asked == [False] * 3 if while_ == "computed" else asked.index(True) == len(asked) - 1


def test_a_disk_without_room_for_the_control_arm_is_told(combined, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    deps = RunDeps(combined.lake, combined.spec.run_id, combined.spec)
    said = f"ranks of 12 random formulas in {tmp_path}; make some, or set TMPDIR"
    with pytest.raises(GiveUp, match=re.escape(said)):
        combine_stage.run(CombineJob(*combined.spec.intervals), deps)


def test_older_runs_keep_their_ids(mined):
    assert "combination" not in mined.spec.to_message()
    spec = replace(mined.spec, combination=ASKED)
    assert type(spec).from_message(json.loads(json.dumps(spec.to_message()))) == spec


def test_what_is_shown(combined):
    text = shown(combinations_board(combined.published), 80)
    best = combined.published.combined[0]
    first = f"{best.method}, first of 3 methods on validation, is {best.judged.verdict}: RankIC "
    assert " ".join(text.split()).startswith(first)
    assert "over 3 random formulas under the same method" in " ".join(text.split())
    assert "every method and setting counts as a trial" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    whole = shown(combination_view(combined.published, best.judged), 80)
    assert "look_ahead" in whole
    assert "to follow or export:" in whole
    for one in combined.spec.expressions:
        assert "".join(one.split()) in "".join(whole.split())


@pytest.fixture
def asked(mined, monkeypatch):
    """Runs the command over the lake of the mining run; the specs that it would have submitted."""
    monkeypatch.setenv("ALPHAMILL_LAKE", mined.lake.uri)
    submitted = []
    monkeypatch.setattr("producers.submit.submit", lambda spec, *_: submitted.append(spec))

    def ask(*words):
        done = CliRunner().invoke(main, ["combine", *words])
        return done, submitted

    return ask


def test_the_command_asks_for_what_the_run_was_judged_by(asked, mined):
    run = mined.published
    text = "ic,ridge(penalty=1,turnover_bps=5),ic"
    done, [spec] = asked(
        "1", "2", "--expr", TRUE, "--method", text, "--refit", "5d", "--train", "1w"
    )
    assert done.exit_code == 0, done.output
    first, second = run.factor("1"), run.factor("2")
    assert spec.expressions == (first.traded, second.traded, read_given(TRUE).text)
    assert spec.combination == Combination(
        ("ic", "ridge(penalty=1, turnover_bps=5)"), 5 * DAY_MS, 7 * DAY_MS, searches=(run.id,)
    )
    for name in ("symbols", "start_ms", "end_ms", "segments", "gates", "fees", "portfolio"):
        assert getattr(spec, name) == getattr(mined.spec, name)


@pytest.mark.parametrize(
    ("words", "why", "code"),
    [
        (["1"], "has 1 factor to combine, and it takes two: name finalists", 1),
        (["1", "77"], "'77' fits 0 factors", 1),
        (["1", "2", "--expr", "rank(clos)"], "did you mean close?", 2),
        (["1", "2", "--refit", "soon"], "write 12h, 30d or 4w", 2),
        (["1", "2", "--refit", "900d"], "longer than the data", 2),
        (["1", "2", "--refit", "5d", "--train", "40d"], "comes after discovery", 2),
        (["1", "2", "--train", "5d", "--method", "vote"], "one of equal, ic", 2),
        (["1", "2", "--expr", TRUE, "--train", "5d", "--pool", "2"], "--pool 2 is smaller", 2),
    ],
)
def test_what_cannot_be_asked_for(asked, words, why, code):
    done, submitted = asked(*words)
    assert done.exit_code == code, done.output
    assert why in " ".join(done.output.split())
    assert not submitted


def put_into_library(mined, spec, factor):
    """As another run of that spec does, which admitted it."""
    [interval] = spec.intervals
    summary = {"run": spec.run_id, "spec": spec.to_message(), "missing": []}
    mined.lake.write_bytes(run_key(spec.run_id, "run.json"), json.dumps(summary).encode())
    look_up(mined.lake, spec, interval, Moment.END)
    assert admit(mined.lake, spec, interval, [factor])


def test_of_the_library_what_was_judged_on_other_bars_is_left_out(asked, mined):
    run = mined.published
    other = replace(mined.spec, symbols=mined.spec.symbols[:4])
    same = replace(mined.spec, salt="again")
    for spec, number in ((other, "1"), (same, "2")):
        put_into_library(mined, spec, run.factor(number))
    done, [spec] = asked("3", "--run", run.id, "--library", "--refit", "5d", "--train", "5d")
    assert "1 factor of the library are left out" in done.output
    assert spec.expressions == (run.factor("3").traded, run.factor("2").traded)
    assert spec.combination.searches == (run.id, same.run_id)


OWN = (
    *("--interval", "1h", "--start", "2023-01-01", "--end", "2023-03-01"),
    *("--refit", "5d", "--train", "5d"),
)


def test_expressions_are_combined_over_bars_of_ones_own(asked, mined):
    terms = ("--horizon", "8", "--taker-bps", "5", "--market", "um", "--with", "premium")
    done, [spec] = asked(
        *("-ts_zscore(close, 24)", "rank(premium)", "--symbols", "ETHUSDT,BTCUSDT", *OWN, *terms)
    )
    assert done.exit_code == 0, done.output
    assert spec.expressions == (read_given(TRUE).text, "rank(premium)")
    assert (spec.symbols, spec.market, spec.wide) == (("ETHUSDT", "BTCUSDT"), "um", ("premium",))
    assert spec.intervals == ("1h",)
    assert (spec.start_ms, spec.end_ms) == (1_672_531_200_000, 1_677_628_800_000)
    assert spec.segments.horizon_bars == 8
    assert spec.fees.taker_bps == 5
    assert spec.combination.searches == ()
    assert spec.kind is RunKind.COMBINE


def test_factors_of_the_library_are_combined_without_a_run(asked, mined):
    market, like = ",".join(mined.spec.symbols), replace(mined.spec, salt="alone")
    mined.lake.delete(library_key(mined.spec, mined.spec.intervals[0]))
    put_into_library(mined, like, mined.published.factor("4"))
    [there] = entries(mined.lake)
    done, [first] = asked("--library", TRUE, "--symbols", market, *OWN)
    assert done.exit_code == 0, done.output
    assert first.expressions == (there.traded, read_given(TRUE).text)
    assert first.combination.searches == (like.run_id,)
    done, [_, second] = asked(there.hash[:8], "rank(volume)", "--symbols", market, *OWN)
    assert done.exit_code == 0, done.output
    assert second.expressions == (there.traded, "rank(volume)")
    done, submitted = asked(there.hash[:8], "rank(volume)", "--symbols", "BTCUSDT,ETHUSDT", *OWN)
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert f"is of {len(mined.spec.symbols)} symbols of its own" in said
    assert f"alphamill combine --run {like.run_id}" in said
    assert len(submitted) == 2


@pytest.mark.parametrize(
    ("words", "why", "code"),
    [
        (["--symbols", "BTCUSDT"], "--interval is missing", 2),
        (["--interval", "1h", "--start", "2023-01-01", TRUE], "name --symbols", 2),
        (["--run", "mine-1", "--symbols", "BTCUSDT"], "--run brings bars of its own", 2),
        (["--horizon", "8"], "horizon, book and fees are the run's", 2),
        ([TRUE, "--symbols", "BTCUSDT", *OWN], "1 factor to combine, and it takes two", 1),
        (["abcdef12", TRUE, "--symbols", "BTCUSDT", *OWN], "no factor of this lake's library", 1),
        ([TRUE, "rank(clos)", "--symbols", "BTCUSDT", *OWN], "did you mean close?", 2),
        ([TRUE, "rank(vpin)", "--symbols", "BTCUSDT", *OWN], "--with flow", 2),
        ([TRUE, "close", "--horizon", "1,4", "--symbols", "BTC", *OWN], "takes one --horizon", 2),
        ([TRUE, "close", "--symbols", "BTCUSDT", *OWN, "--refit", "90d"], "longer than", 2),
    ],
)
def test_what_cannot_be_asked_for_over_bars_of_ones_own(asked, words, why, code):
    done, submitted = asked(*words)
    assert done.exit_code == code, done.output
    assert why in " ".join(done.output.split())
    assert not submitted


def test_the_newest_weights_are_followed_and_exported(combined):
    [best, *_] = combined.published.factors
    [followed] = followed_from(combined.published, [best])
    assert followed.expression == read_given(best.expression).text
    assert followed.promised_ic == best.holdout.rank_ic_mean
    assert "def " in pandas_text(from_run(combined.published, "1"))


def words_of(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.partition("</style>")[2])).split())


def test_its_page_has_the_excess_before_any_raw_figure_and_every_refits_weights(combined):
    published = combined.published
    html = render(combined_page(published))
    text = words_of(html)
    best = published.combined[0]
    assert f"{best.excess_rank_ic:+.4f}" in text.partition("market")[0]
    head = re.search(r"<thead>.*?</thead>", html, re.DOTALL)[0]
    assert head.index(">excess<") < head.index(">combined<") < head.index(">ICIR<")
    for row in published.combined:
        own = [one for one in published.weights if one.method == row.method]
        dates = [moment(from_ms) for from_ms in sorted({one.from_ms for one in own})]
        shown_of = words_of("</style>" + html.split(f'id="f{row.judged.rank}"')[1])
        assert len(dates) == row.refits
        assert all(date in shown_of for date in dates)
        assert row.judged.expression in shown_of
        assert row.judged.snapshot in shown_of
        newest = [one.weight for one in own[-3:]]
        cells = " ".join(f"{weight:+.3f}" for weight in newest)
        assert f"{dates[-1]} {cells}" in shown_of
        for gate in row.judged.gates:
            assert gate.name in shown_of


def test_the_page_of_one_method_still_shows_what_else_was_tried(combined):
    published = combined.published
    html = render(combined_page(published, published.factor("2")))
    assert html.count('class="factor"') == 1
    assert 'id="f2"' in html
    assert all(row.method in words_of(html) for row in published.combined)


def test_report_writes_it_and_says_why_methods_have_no_page_of_two(combined, monkeypatch, tmp_path):
    monkeypatch.setenv("ALPHAMILL_LAKE", combined.lake.uri)
    run_id, out = combined.spec.run_id, tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", run_id, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert run_id in out.read_text("utf-8")
    two = CliRunner().invoke(main, ["report", run_id, "--factor", "1", "--factor", "2"])
    assert two.exit_code == 2
    assert "whose methods stand beside one another" in " ".join(two.output.split())
