"""When bars are released, on a clock of its own: 1m bars of A to E, close + 2 s, quorum 0.8."""

import pytest

from alphamill.frames import Interval
from alphamill.live import Cause, ReleaseRule

BAR = 60_000
SYMBOLS = ("A", "B", "C", "D", "E")


def rule(first=0, **changed):
    settings = {"release_ms": 2_000, "quorum": 0.8, "correct_within_ms": 120_000, **changed}
    return ReleaseRule(Interval.M1, SYMBOLS, first_bar_ms=first, **settings)


def arrive(rule, symbols, bar, at):
    return [one for symbol in symbols for one in rule.arrived(symbol, bar, at)]


def test_a_bar_is_released_with_the_last_arrival():
    live = rule()
    assert arrive(live, "ABCD", 0, BAR + 5) == []
    [release] = live.arrived("E", 0, BAR + 9)
    assert (release.cause, release.bar_ms, release.revision) == (Cause.WHOLE, 0, 0)
    assert release.present == set(SYMBOLS)
    assert release.absent == set()
    assert release.signal
    assert live.next_bar_ms == BAR


def test_a_bar_is_released_at_its_deadline_with_who_is_there():
    live = rule()
    arrive(live, "ABCD", 0, BAR + 5)
    assert live.due_ms == BAR + 2_000
    assert live.tick(BAR + 1_999) == []
    assert live.missing(BAR + 1_999) == [("E", 0)]
    [release] = live.tick(BAR + 2_000)
    assert (release.cause, release.absent, release.signal) == (Cause.DEADLINE, {"E"}, True)


def test_below_the_quorum_there_is_no_signal():
    live = rule()
    arrive(live, "ABC", 0, BAR + 5)
    [release] = live.tick(BAR + 2_000)
    assert (release.signal, release.absent) == (False, {"D", "E"})


@pytest.mark.parametrize(
    ("quorum", "symbols", "least"),
    [
        (0.8, 5, 4),
        (0.1, 5, 1),
        (1.0, 5, 5),
        (0.8, 50, 40),
        (0.7, 10, 7),
        (0.81, 5, 5),
        (0.01, 3, 1),
    ],
)
def test_the_quorum_is_a_share_of_all_that_are_followed(quorum, symbols, least):
    names = [f"S{number}" for number in range(symbols)]
    assert ReleaseRule(Interval.M1, names, 0, quorum, 0, 0).least == least


def test_bars_are_released_in_order():
    live = rule()
    arrive(live, "ABCD", 0, BAR + 5)  # E is late
    assert arrive(live, "ABCDE", BAR, BAR + 1_000) == []  # cannot be: but whatever the order
    first, second = live.tick(BAR + 2_000)
    assert (first.bar_ms, second.bar_ms) == (0, BAR)
    assert (first.cause, second.cause) == (Cause.DEADLINE, Cause.WHOLE)


def test_a_market_that_halts_gives_bars_without_a_signal():
    live = rule()
    releases = live.tick(3 * BAR + 2_000)
    assert [one.bar_ms for one in releases] == [0, BAR, 2 * BAR]
    assert not any(one.signal for one in releases)


def test_a_late_bar_is_a_revision_once_the_rest_is_there_too():
    live = rule()
    arrive(live, "ABC", 0, BAR + 5)
    live.tick(BAR + 2_000)
    assert live.arrived("D", 0, BAR + 2_500) == []  # E may come at once
    [revision] = live.arrived("E", 0, BAR + 2_600)
    assert (revision.cause, revision.revision, revision.signal) == (Cause.LATE, 1, True)
    assert revision.absent == set()


def test_a_late_bar_waits_no_longer_than_a_release_for_the_rest():
    live = rule()
    arrive(live, "ABC", 0, BAR + 5)
    live.tick(BAR + 2_000)
    live.arrived("D", 0, BAR + 2_500)
    assert live.due_ms == BAR + 4_500
    assert live.tick(BAR + 4_499) == []
    [revision] = live.tick(BAR + 4_500)
    assert (revision.revision, revision.absent) == (1, {"E"})
    [again] = live.arrived("E", 0, BAR + 9_000)
    assert (again.revision, again.absent) == (2, set())


def test_a_late_bar_revises_the_bars_after_it():
    live = rule()
    arrive(live, "ABCD", 0, BAR + 5)
    live.tick(BAR + 2_000)
    arrive(live, "ABCDE", BAR, 2 * BAR + 5)
    late, earlier = live.arrived("E", 0, 2 * BAR + 50)
    assert (late.bar_ms, late.cause, late.revision) == (0, Cause.LATE, 1)
    assert (earlier.bar_ms, earlier.cause, earlier.revision) == (BAR, Cause.EARLIER, 1)
    live.unchanged(BAR)  # it said the same
    arrive(live, "ABCD", 2 * BAR, 3 * BAR)
    live.tick(3 * BAR + 2_000)
    assert live.arrived("E", 2 * BAR, 3 * BAR + 3_000)[0].revision == 1


def test_a_bar_that_comes_too_late_changes_nothing():
    live = rule()
    arrive(live, "ABCD", 0, BAR + 5)
    live.tick(BAR + 2_000)
    releases = live.arrived("E", 0, BAR + 120_001) + live.tick(BAR + 125_000)
    assert all(one.bar_ms > 0 for one in releases)
    assert ("E", 0) not in live.missing(BAR + 125_000)


def test_the_edge_of_the_time_for_corrections():
    live = rule()
    arrive(live, "ABCD", 0, BAR + 5)
    live.tick(BAR + 2_000)
    arrive(live, "ABCDE", BAR, 2 * BAR + 5)
    releases = live.arrived("E", 0, BAR + 120_000)
    assert [one.cause for one in releases if one.bar_ms == 0] == [Cause.LATE]


def test_what_comes_twice_counts_once():
    live = rule()
    arrive(live, "AAAA", 0, BAR + 5)
    [release] = live.tick(BAR + 2_000)
    assert release.present == {"A"}
    live.arrived("A", 0, BAR + 2_100)
    assert live.tick(BAR + 10_000) == []


def test_a_symbol_that_is_not_followed_counts_for_nothing():
    live = rule()
    arrive(live, "VWXYZ", 0, BAR + 5)
    [release] = live.tick(BAR + 2_000)
    assert release.present == set()


def test_a_delisted_symbol_is_not_waited_for_and_counts_against_the_quorum():
    live = rule()
    live.expect("ABC")
    releases = arrive(live, "ABC", 0, BAR + 5)
    assert [(one.cause, one.signal, one.absent) for one in releases] == [
        (Cause.WHOLE, False, {"D", "E"})
    ]
    assert live.missing(BAR + 10) == []
    [revision] = [*live.arrived("D", 0, BAR + 50), *live.tick(BAR + 2_050)]  # it trades after all
    assert (revision.cause, revision.signal) == (Cause.LATE, True)


def test_who_takes_over_may_revise_what_was_released_before():
    live = rule(first=BAR)
    live.released(0, 1, "ABCD", "E")
    assert live.missing(BAR + 3_000) == [("E", 0)]
    [revision] = live.arrived("E", 0, BAR + 3_000)
    assert (revision.bar_ms, revision.revision, revision.cause) == (0, 2, Cause.LATE)


def test_a_bar_that_nobody_listened_for_in_time_is_waited_for_from_now_on():
    live = rule()
    for symbol in "ABC":
        live.known(symbol, 0, 5 * BAR)
    live.begin(5 * BAR)
    assert live.tick(5 * BAR) == []
    assert live.due_ms == 5 * BAR + 2_000
    [first] = live.tick(5 * BAR + 2_000)[:1]
    assert (first.bar_ms, first.cause, first.absent) == (0, Cause.DEADLINE, {"D", "E"})


def test_who_begins_releases_at_once_what_is_whole():
    live = rule()
    for symbol in SYMBOLS:
        live.known(symbol, 0, 5 * BAR)
    live.begin(5 * BAR)
    assert [(one.bar_ms, one.cause) for one in live.tick(5 * BAR)] == [(0, Cause.WHOLE)]
