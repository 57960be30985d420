"""What benchmarks/live_kills.py counts: every row that stands twice or nowhere."""

from types import SimpleNamespace

import pytest

from alphamill.lake import Lake
from alphamill.live import Entry, Journal
from tests.unit.live.test_journal import SPEC, START, signal


@pytest.fixture(scope="module")
def bench(load_benchmark):
    return load_benchmark("live_kills")


@pytest.fixture
def journal(tmp_path):
    return Journal(Lake(str(tmp_path)), SPEC.id, START)


def said(links):
    return [(link.payload, link.hash) for link in links]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (lambda rows: rows, (0, 0)),
        (lambda rows: rows[:1] + rows[2:], (0, 1)),
        (lambda rows: [*rows, rows[1]], (1, 0)),
        (lambda rows: [*rows[:2], ("{}", "f" * 64)], (1, 1)),
        (lambda rows: [], (0, 3)),
    ],
)
def test_doubles_and_holes_of_what_was_told(bench, journal, told, found):
    links = journal.append([signal(number) for number in range(3)])
    by_seq = {link.row.seq: link for link in links}
    assert bench._against(by_seq, told(said(links))) == found


@pytest.mark.parametrize(
    ("rows", "doubles", "holes"),
    [
        ([(0, 0), (1, 0), (2, 0)], 0, 0),
        ([(0, 0), (2, 0)], 0, 1),  # a bar is left out
        ([(0, 0), (1, 0), (1, 0)], 1, 0),  # a bar stands twice
        ([(0, 0), (1, 0), (1, 1), (2, 0)], 0, 0),  # a revision is none
        ([(0, 0), (1, 0), (1, 2)], 0, 1),  # a revision is left out
    ],
)
def test_doubles_and_holes_of_the_lake(bench, journal, tmp_path, rows, doubles, holes):
    factor = SPEC.factors[0].factor
    for bar, revision in rows:
        journal.append([signal(bar, factor, live=SPEC.id, revision=revision)])
    live = SimpleNamespace(entry=Entry(SPEC, START), lake=Lake(str(tmp_path)))
    measured = bench.Measured(chain="holds")
    bench._count_lake(live, list(journal.read()), measured)
    assert (measured.lake_doubles, measured.lake_holes) == (doubles, holes)
    assert measured.held == (not doubles and not holes)


def test_kills_are_of_every_kind(bench):
    victims = bench.chosen(24, seed=3)
    assert len(victims) == 24
    assert {bench.LEADER, bench.STANDBY, bench.WORKER, *bench.RETURNS} == set(victims)
    assert victims == bench.chosen(24, seed=3) != bench.chosen(24, seed=4)
