"""`alphamill bench`: what its options say about the markets that are made."""

import json

from click.testing import CliRunner

from producers.run import bench
from producers.run.bench import Repeats, Truth, planted


def test_a_market_of_each_strength_and_seed():
    truth = Truth((0.0, 0.05), 2, 6, 700, 3)
    markets = truth.markets(Repeats(2, 5, 1).range)
    assert [(market.seed, len(market.planted)) for market in markets] == [
        (5, 0),
        (5, 2),
        (6, 0),
        (6, 2),
    ]
    assert {p.horizon_bars for market in markets for p in market.planted} == {3}
    assert {(market.n_symbols, market.n_bars) for market in markets} == {(6, 700)}


def test_options_reach_the_markets_and_the_answer_counts_the_traps(monkeypatch):
    asked = []

    def here(work, tasks, jobs, what, *, quiet):
        asked.append((what, list(tasks), jobs))
        return iter(())

    monkeypatch.setattr(bench, "in_processes", here)
    told = CliRunner().invoke(
        planted, ["--seeds", "3", "--seed", "7", "--jobs", "1", "--ic", "0.05", "--json"]
    )
    assert told.exit_code == 0, told.output
    (mined, markets, jobs), (_, traps, _) = asked
    assert (mined, jobs) == ("markets mined", 1)
    assert [market.seed for market in markets] == traps == [7, 8, 9]
    assert json.loads(told.output)["traps"] == 0
