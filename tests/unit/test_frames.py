"""Ranges of time: against sets of milliseconds."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import Month, TimeRange, union

ranges = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda r: TimeRange(r[0], sum(r)))


def ms(*parts):
    return [time for part in parts for time in range(part.start_ms, part.end_ms)]


def test_a_range_may_be_empty_and_not_end_before_it_starts():
    assert TimeRange(5, 5).length_ms == 0
    with pytest.raises(ValueError, match="a range from 5 that ends at 4"):
        TimeRange(5, 4)


@given(ranges, ranges)
def test_two_ranges(one, other):
    both = sorted(set(ms(one)) & set(ms(other)))
    within = one.within(other)
    assert both == (ms(within) if within else [])
    assert within is None or within.length_ms
    assert set(ms(one.hull(other))) >= set(ms(one, other))
    if one.length_ms and other.length_ms:
        whole = set(ms(one.hull(other))) == set(ms(one, other))
        assert one.touches(other) == other.touches(one) == whole


@given(ranges, st.lists(ranges, max_size=5))
def test_what_is_left_without_others(one, others):
    left = one.without(*others)
    assert ms(*left) == sorted(set(ms(one)) - set(ms(*others)))
    assert all(part.length_ms for part in left)


@given(st.lists(ranges, max_size=6))
def test_a_union_is_in_order_and_its_parts_do_not_touch(parts):
    made = union(parts)
    assert ms(*made) == sorted(set(ms(*parts)))
    assert not any(a.touches(b) for a, b in itertools.pairwise(made))


def test_months_of_a_range():
    december, january = Month(2020, 12), Month(2021, 1)
    asked = TimeRange(december.end_ms - 10, january.start_ms + 20)
    assert list(asked.by_month()) == [
        (december, TimeRange(december.end_ms - 10, december.end_ms)),
        (january, TimeRange(january.start_ms, january.start_ms + 20)),
    ]
    assert list(TimeRange(5, 5).by_month()) == []
    assert list(december.range.by_month()) == [(december, december.range)]
