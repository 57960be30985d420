"""How requests are counted, refused and banned, on a clock moved by hand."""

import pytest

from alphamill.sim.exchange import Limits
from alphamill.sim.exchange.limits import Windows

MINUTE = 60_000
START = 1_700_000_040_000  # a whole minute


def windows(**limits):
    defaults = {"weight": 10, "requests": None, "tolerated": 2}
    return Windows(Limits(**(defaults | limits)))


def test_weight_is_served_up_to_the_limit_exactly():
    counted = windows()
    admissions = [counted.admit("a", 2, START + i) for i in range(6)]
    assert [a.status for a in admissions] == [200] * 5 + [429]
    assert [a.used_weight for a in admissions] == [2, 4, 6, 8, 10, 12]
    (window,) = counted.history()
    assert (window.weight, window.requests, window.refused) == (10, 5, 1)


def test_windows_are_aligned_to_the_clock_not_to_the_first_request():
    counted = windows()
    assert counted.admit("a", 10, START + MINUTE - 1).status == 200
    assert counted.admit("a", 10, START + MINUTE).status == 200
    assert [w.start_ms for w in counted.history()] == [START, START + MINUTE]


@pytest.mark.parametrize(
    ("at_ms", "seconds"), [(0, 60), (1, 60), (1000, 59), (59_000, 1), (59_999, 1)]
)
def test_retry_after_reaches_the_end_of_the_window(at_ms, seconds):
    counted = windows()
    counted.admit("a", 10, START)
    refused = counted.admit("a", 1, START + at_ms)
    assert (refused.status, refused.retry_after_s, refused.over) == (429, seconds, "weight")


def test_addresses_do_not_share():
    counted = windows()
    assert counted.admit("a", 10, START).status == 200
    assert counted.admit("b", 10, START).status == 200
    assert counted.admit("a", 1, START).status == 429


def test_raw_requests_have_their_own_longer_window():
    counted = windows(weight=100, requests=3, request_windows=5)
    base = START - START % (5 * MINUTE)
    assert [counted.admit("a", 1, base + i * MINUTE).status for i in range(3)] == [200] * 3
    refused = counted.admit("a", 1, base + 3 * MINUTE)
    assert (refused.status, refused.over, refused.retry_after_s) == (429, "requests", 120)
    assert counted.admit("a", 1, base + 5 * MINUTE).status == 200


def test_going_on_after_429_is_banned_and_each_ban_is_twice_as_long():
    counted = windows()
    counted.admit("a", 10, START)
    statuses = [counted.admit("a", 1, START + i).status for i in range(1, 5)]
    assert statuses == [429, 429, 418, 418]
    banned = counted.admit("a", 1, START + 10)
    assert banned.banned_until_ms == START + 3 + 2 * MINUTE
    assert banned.retry_after_s == 120
    assert counted.admit("a", 1, banned.banned_until_ms - 1).status == 418
    assert counted.admit("a", 1, banned.banned_until_ms).status == 200

    again = START + 10 * MINUTE
    for i in range(4):
        last = counted.admit("a", 10, again + i)
    assert last.status == 418
    assert last.banned_until_ms == again + 3 + 4 * MINUTE
    assert counted.total_bans == 2


def test_a_ban_does_not_outgrow_three_days():
    counted = windows(weight=1, tolerated=0)
    now = START
    for _ in range(40):
        counted.admit("a", 1, now)
        last = counted.admit("a", 1, now)
        assert last.status == 418
        assert last.banned_until_ms - now <= 3 * 86_400_000
        now = last.banned_until_ms + MINUTE
    assert last.retry_after_s == 3 * 86_400


def test_refusals_in_different_windows_do_not_add_up_to_a_ban():
    counted = windows()
    for minute in range(5):
        now = START + minute * MINUTE
        assert counted.admit("a", 10, now).status == 200
        assert [counted.admit("a", 1, now).status for _ in range(2)] == [429, 429]


def test_history_is_bounded_and_totals_are_not():
    counted = Windows(Limits(weight=10), keep=3)
    for minute in range(10):
        counted.admit("a", 2, START + minute * MINUTE)
    assert [w.start_ms for w in counted.history()] == [START + m * MINUTE for m in (7, 8, 9)]
    assert counted.total_weight == 20


def test_a_scaled_minute_refuses_and_recovers_sooner():
    counted = windows(window_ms=500)
    counted.admit("a", 10, START)
    assert counted.admit("a", 1, START + 100).retry_after_s == 1
    assert counted.admit("a", 1, START + 500).status == 200


@pytest.mark.parametrize("name", ["weight", "window_ms", "request_windows", "ban_windows"])
def test_limits_below_one_are_refused(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
