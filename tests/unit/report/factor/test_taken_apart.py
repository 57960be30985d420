"""A run's factor by hour, phase, weekday, year, regime and coin, on the bars that it has seen."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.errors import GiveUp
from alphamill.evaluation import Segment
from alphamill.evaluation.by_group import GROUPINGS
from alphamill.report.factor.taken_apart import taken_apart
from alphamill.report.factor.tear_sheet import subjects
from alphamill.report.terminal.by_group import groups_board
from producers.cli import main
from tests.rendering import shown

WHEN = ("--interval", "1h", "--start", "2024-01-01")


@pytest.fixture
def cli(mined, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", mined.lake.uri)
    return lambda *words: CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("by", [by for by in GROUPINGS if by not in ("phase", "regime", "coin")])
def test_groups_are_the_figures_of_record_taken_apart(mined, sheets, by):
    subject = subjects(mined)[0]
    [sheet] = [one for one in sheets if one.subject.hash == subject.hash]
    ic = np.concatenate([piece.series.correlations for piece in sheet.pieces])
    groups = taken_apart(mined, subject, by)
    assert sum(one.bars for one in groups) == np.isfinite(ic).sum()
    whole = sum(one.mean * one.bars for one in groups) / sum(one.bars for one in groups)
    assert whole == pytest.approx(np.nanmean(ic), abs=1e-12)


def test_coins_parts_are_of_the_same_whole(mined, sheets):
    subject = subjects(mined)[0]
    [sheet] = [one for one in sheets if one.subject.hash == subject.hash]
    ic = np.concatenate([piece.series.correlations for piece in sheet.pieces])
    parts = taken_apart(mined, subject, "coin")
    assert sum(one.mean for one in parts) == pytest.approx(np.nanmean(ic), abs=1e-9)


def test_a_sealed_holdout_is_not_read(mined):
    sealed = [one for one in subjects(mined) if Segment.HOLDOUT not in one.figures]
    opened = [one for one in subjects(mined) if Segment.HOLDOUT in one.figures]
    less, more = (
        sum(group.bars for group in taken_apart(mined, one, "year"))
        for one in (sealed[0], opened[0])
    )
    assert 0 < less < 0.8 * more


def test_what_is_shown_says_that_choosing_is_a_trial(mined, cli):
    done = cli("factors", mined.id, "1", "--by", "hour")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "p x24" in text
    assert "Choosing one of 24 groups is as many trials" in text
    assert max(map(len, done.output.splitlines())) <= 80
    said = json.loads(cli("factors", mined.id, "1", "--by", "coin", "--json").output)
    assert said["by"] == "coin"
    assert {group["group"] for group in said["groups"]} <= set(mined.spec.symbols)


def test_regimes_leave_out_bars_before_which_nothing_is_known(mined):
    subject = subjects(mined)[0]
    groups = taken_apart(mined, subject, "regime")
    assert {one.group for one in groups} <= {"up, calm", "up, wild", "down, calm", "down, wild"}
    assert "median of all that came before" in " ".join(
        shown(groups_board("regime", "x", groups)).split()
    )


@pytest.mark.parametrize(
    ("words", "why", "code"),
    [
        (["factors", "--by", "hour"], "name it by its number or hash", 2),
        (["factors", "1", "--by", "minute"], "'minute' is not one of", 2),
        (
            ["evaluate", "-returns", "--symbols=BTCUSDT", *WHEN, "--by", "hour"],
            "add --wait, or ask later with alphamill factors RUN FACTOR --by",
            2,
        ),
    ],
)
def test_what_cannot_be_taken_apart(cli, words, why, code):
    done = cli(*words)
    assert done.exit_code == code, done.output
    assert why in " ".join(done.output.split())


def test_a_run_whose_panel_is_gone_says_so(mined):
    subject = subjects(mined)[0]
    with pytest.raises(GiveUp, match="no panel"):
        taken_apart(
            type(mined)(mined.lake, "mine-0000000000000000", mined._summary), subject, "hour"
        )
