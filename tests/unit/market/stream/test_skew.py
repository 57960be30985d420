"""How far a clock is off, from event times and from questions about the time."""

from alphamill.market.stream import ClockSkew

NOW = 1_704_067_200_000


def hear(skew, at_ms, off_ms, ways_ms):
    """Frames that took so long on their way to a machine whose clock is off by `off_ms`."""
    for at, way_ms in enumerate(ways_ms):
        sent_ms = at_ms + 10 * at
        skew.heard(sent_ms, sent_ms + off_ms + way_ms)


def test_the_fastest_frame_says_how_far_a_clock_is_off():
    for off_ms in (0, -1_270, 95_000):
        skew = ClockSkew()
        assert skew.at(NOW) is None
        assert skew.exchange_ms(NOW) == NOW
        hear(skew, NOW, off_ms, [80, 31, 250, 4_000])
        assert skew.at(NOW + off_ms) == off_ms + 31
        assert skew.exchange_ms(NOW + off_ms) == NOW - 31


def test_what_was_asked_bounds_it_from_both_sides():
    skew = ClockSkew()
    skew.asked(NOW, NOW + 300, NOW + 340)
    assert skew.at(NOW + 340) == 320
    hear(skew, NOW, 310, [90])  # a slow way
    assert skew.at(NOW + 400) == 340
    hear(skew, NOW, 310, [5])
    assert skew.at(NOW + 400) == 315
    hear(skew, NOW, 250, [0])  # an event time of the future
    assert skew.at(NOW + 400) == 300
    assert skew.at(NOW + 11 * 60_000) is None


def test_drift_is_followed_and_old_frames_are_forgotten():
    skew = ClockSkew()
    for minute in range(30):
        hear(skew, NOW + 60_000 * minute, 10 * minute, [40])
        assert skew.at(NOW + 60_000 * minute) == 10 * max(0, minute - 9) + 40


def test_one_event_time_far_off_is_no_clock_and_three_are():
    skew = ClockSkew()
    hear(skew, NOW, 0, [30, 30])
    hear(skew, NOW, -3_600_000, [30])
    assert skew.at(NOW) == 30
    hear(skew, NOW, 0, [30])
    hear(skew, NOW, -3_600_000, [30, 40])  # with one in between they do not count together
    assert skew.at(NOW) == 30
    hear(skew, NOW, -3_600_000, [35])
    assert skew.at(NOW - 3_600_000) == -3_600_000 + 35
    fresh = ClockSkew()
    hear(fresh, NOW, -86_400_000, [5])
    assert fresh.at(NOW) is None
    hear(fresh, NOW, 120_000, [5])
    assert fresh.at(NOW + 120_000) == 120_005
