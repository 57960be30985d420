"""Paths, and labels that keep their distance."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.report.plots.figures import Key, across, panel, path, spread


def test_a_path_is_a_start_and_steps_in_tenths_of_a_pixel():
    assert path(np.array([1.0, 2.5, 2.5]), np.array([4.0, 3.0, 3.02])) == "M10 40l15-10"
    assert path(np.array([1.0]), np.array([2.0])) == "M10 20"


def points(text: str) -> list[tuple[int, int]]:
    """What a path goes through."""
    start, _, steps = text.removeprefix("M").partition("l")
    numbers = [int(n) for n in (start + " " + steps).replace("-", " -").split()]
    return np.cumsum(np.reshape(numbers, (-1, 2)), axis=0).tolist()


@given(st.lists(st.tuples(st.floats(-50, 450), st.floats(-50, 450)), min_size=1, max_size=40))
def test_a_path_goes_through_its_points_without_adding_up_errors(given_points):
    x, y = np.array(given_points).T
    want = np.rint(np.column_stack((x, y)) * 10).astype(int).tolist()
    kept = [point for at, point in enumerate(want) if at == 0 or point != want[at - 1]]
    assert points(path(x, y)) == kept


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_labels_keep_their_distance_and_their_order(wanted):
    spots = spread(sorted(wanted), 0.0, 100.0)
    assert all(later - earlier >= 12.49 for earlier, later in pairwise(spots))
    assert spots[-1] <= 100.0 + 1e-9


def test_a_key_ends_at_the_right_edge_and_its_entries_do_not_touch():
    made = panel(across(0.0, 1.0), (0.0, 1.0), "unit", 20.0, 100.0)
    made.key = [Key("a", "discovery"), Key("b", "validation"), Key("c", "holdout")]
    words = [word for _, word in made.entries]
    assert [word.text for word in words] == ["discovery", "validation", "holdout"]
    ends = [word.x + 6.2 * len(word.text) for word in words]
    starts = [dot.x for dot, _ in made.entries]
    assert ends[-1] == pytest.approx(made.right)
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
