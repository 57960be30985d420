"""Where a perpetual traded and nothing was settled: a stretch that is not a known zero."""

import numpy as np
import pytest

from alphamill.frames import Month, TimeRange
from alphamill.market.funding.silence import quiet_stretches, silent_stretches
from alphamill.market.kinds import is_dated

HOUR, MINUTE = 3_600_000, 60_000
START = Month(2023, 1).start_ms


def at(hours):
    return START + int(hours * HOUR)


def silent(settled, traded, known=((0, 240),), bar_hours=1):
    """Stretches by settlements, opens of bars with a trade and what is known; hours from START."""
    spans = [TimeRange(at(a), at(b)) for a, b in known]
    quiet = quiet_stretches(np.array([at(h) for h in settled], dtype=np.int64), spans)
    opens = np.array([at(h) for h in traded], dtype=np.int64)
    found = silent_stretches(quiet, opens, bar_hours * HOUR)
    return [((one.start_ms - START) / HOUR, (one.end_ms - START) / HOUR) for one in found]


EVERY_8 = range(0, 240, 8)
ALL = range(240)
A_MINUTE = 1 / 60


def test_all_is_settled_and_traded():
    assert silent(EVERY_8, ALL) == []
    assert silent([h for h in range(240) if h < 100 or h % 8 == 0], ALL) == []  # 1 h, then 8 h


def test_nothing_is_settled_at_all():
    assert silent([], ALL) == [(0, 240)]
    assert silent([], []) == []  # and nothing traded
    assert silent([], range(100, 108)) == []  # less than any interval
    assert silent([], range(100, 110)) == [(100, 110 + A_MINUTE)]


def test_a_lost_settlement_in_the_middle():
    """The bars that end and begin with a settlement are whole."""
    assert silent([h for h in EVERY_8 if h != 80], ALL) == [(72 + A_MINUTE, 87)]
    assert silent([h for h in EVERY_8 if not 80 <= h < 160], ALL) == [(72 + A_MINUTE, 159)]


@pytest.mark.parametrize(("listed", "expected"), [(97, []), (96, []), (95, [(95, 103)])])
def test_a_new_contract_pays_nothing_before_its_first_settlement(listed, expected):
    """A bar's trades may all be at its end: from 96 on, 104 may be the first settlement."""
    settled = [h for h in EVERY_8 if h > 96]
    assert silent(settled, range(listed, 240)) == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (159, []),
        (160, [(152 + A_MINUTE, 161 + A_MINUTE)]),
        (170, [(152 + A_MINUTE, 171 + A_MINUTE)]),
    ],
)
def test_a_contract_that_ends_pays_nothing_after_its_last(last, expected):
    settled = [h for h in EVERY_8 if h < 160]
    assert silent(settled, range(last + 1)) == expected


def test_a_halt_of_days_pays_nothing_and_an_outage_is_no_halt():
    settled = [h for h in EVERY_8 if not 80 <= h < 200]
    assert silent(settled, [*range(76), *range(196, 240)]) == []
    assert silent(settled, [*range(100), *range(140, 240)]) == [(72 + A_MINUTE, 199)]
    # It traded for longer than an interval after the halt before it settled again.
    assert silent(settled, [*range(76), *range(185, 240)]) == [(185, 199)]


def test_long_bars_say_less_of_when_they_traded():
    by_day = range(0, 240, 24)
    assert silent([h for h in EVERY_8 if h >= 24 + 16], range(24, 240, 24), bar_hours=24) == []
    assert silent([], by_day, bar_hours=24) == [(0, 240)]
    assert silent([h for h in EVERY_8 if h != 80], by_day, bar_hours=24) == [(72 + A_MINUTE, 87)]


def test_what_is_not_known_is_none_of_it():
    assert silent(EVERY_8, ALL, known=[(0, 50), (100, 240)]) == []
    assert silent([h for h in EVERY_8 if h < 50], ALL, known=[(0, 50), (100, 105)]) == []
    assert silent([], ALL, known=[(0, 8), (100, 140)]) == [(100, 140)]


def test_a_settlement_that_may_not_be_published_yet_is_not_missing():
    assert silent([0], range(9), known=[(0, 8)]) == []
    assert silent([0], range(9), known=[(0, 8 + A_MINUTE / 2)]) == []
    assert silent([0], range(9), known=[(0, 8 + A_MINUTE)]) == [(A_MINUTE, 8 + A_MINUTE)]


@pytest.mark.parametrize(
    ("symbol", "dated"),
    [
        ("BTCUSDT_261225", True),
        ("BTCUSD_231229", True),
        ("BTCUSD_PERP", False),
        ("BTCUSDT", False),
        ("1000SHIBUSDT", False),
        ("币安人生USDT", False),
    ],
)
def test_names_of_dated_contracts(symbol, dated):
    assert is_dated(symbol) is dated
