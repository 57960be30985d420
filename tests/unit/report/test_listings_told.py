"""A run says which of its symbols became another coin, and that an older run cannot know."""

from dataclasses import replace

import pytest

from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.report.caveats import (
    bars_lines,
    caveats,
    listing_lines,
    page_caveats,
    survivors_line,
)
from alphamill.report.terminal.leaderboard import run_board
from alphamill.report.values import times_over
from alphamill.runs.panels import NewListing, PanelManifest, write_manifest
from tests import rows
from tests.rendering import shown

BOTH = (Interval.H1, Interval.H4)
SPEC = RunSpec(RunKind.MINE, "/lake", Market.SPOT, ("AUSDT",), BOTH, 0, 3_600_000)
MAY_31_MS = 1_653_976_800_000
PLAIN = PanelManifest(Interval.H1, ("AUSDT", "LUNAUSDT"), (), "abc", {}, (), None, {})
NAME = "LUNAUSDT@2022-05-31"
CUT = replace(
    PLAIN,
    symbols=("AUSDT", "LUNAUSDT", NAME),
    ended=("LUNAUSDT",),
    new_listings={NAME: NewListing(MAY_31_MS, 20_000.0)},
)


@pytest.fixture
def published(tmp_path):
    """`published(manifest)`: a run with that panel at each of its intervals."""

    def of(manifest):
        lake = Lake(str(tmp_path))
        for interval in BOTH:
            write_manifest(lake, "mine-1", replace(manifest, interval=interval))
        return rows.publish(lake, "mine-1", SPEC.to_message())

    return of


def test_a_name_given_again_is_told_once(published):
    run = published(CUT)
    line = (
        "LUNAUSDT is another coin since 2022-05-31 06:00 (price x 20,000): positions in the one "
        "before are closed at its last price."
    )
    assert listing_lines(run) == [line]
    assert line in caveats(run)
    assert line in page_caveats(run)
    assert "1 of 3 symbols stopped trading within the range" in survivors_line(run)


def test_the_board_of_given_expressions_says_what_bars_they_had(tmp_path):
    """The terminal's, as the page does; before, it told of funding alone."""
    lake, spec = Lake(str(tmp_path)), replace(SPEC, kind=RunKind.EVALUATE)
    for interval in BOTH:
        manifest = replace(CUT, interval=interval, missing=("ZUSDT",))
        write_manifest(lake, "evaluate-1", manifest)
    run = rows.publish(lake, "evaluate-1", spec.to_message())
    told = " ".join(shown(run_board(run), 100).split())
    assert bars_lines(run)
    for sentence in bars_lines(run):
        assert sentence in told
    assert "(ZUSDT)" in told
    assert "LUNAUSDT is another coin since 2022-05-31 06:00" in told


def test_nothing_is_told_where_there_is_nothing(published):
    assert listing_lines(published(PLAIN)) == []


def test_an_older_run_did_not_tell_coins_apart(published):
    (line,) = listing_lines(published(replace(PLAIN, new_listings=None)))
    assert line.startswith("Made before coins under one name were told apart")


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(171_116.0, "171,116"), (9.96, "9.96"), (0.093, "0.093"), (0.001, "0.001"), (None, "–")],
)
def test_how_many_times_over(ratio, said):
    assert times_over(ratio) == said
