"""The papers' worked numbers, as the command prints them."""

import pytest

from alphamill import evaluation
from alphamill.reproduction import State
from alphamill.reproduction.statistics import reproduce


def test_every_number_of_the_papers_is_ours():
    found = reproduce()
    assert [row for row in found.rows if row.state is not State.AGREES] == []
    assert len(found.rows) == 25
    assert all(len(source.read) == 10 for source in found.sources)


@pytest.mark.parametrize(
    ("function", "rows"),
    [
        ("probabilistic_sharpe_ratio", 3),
        ("minimum_track_record_length", 3),
        ("expected_maximum_sharpe", 2),
        ("deflated_sharpe_ratio", 3),
        ("newey_west_t", 4),
        ("default_lags", 4),
        ("probability_of_backtest_overfitting", 2),
    ],
)
def test_a_wrong_function_is_seen_in_its_rows(monkeypatch, function, rows):
    right = getattr(evaluation, function)
    monkeypatch.setattr(evaluation, function, lambda *args: right(*args) * 2 + 1)
    found = reproduce()
    assert found.failed
    assert sum(row.state is State.DIFFERS for row in found.rows) == rows
