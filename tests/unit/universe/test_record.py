"""Who belonged when, as a run keeps it, and where a panel's columns belong."""

import json
from dataclasses import replace

import numpy as np

from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.jobs import RunKind, RunSpec
from alphamill.universe.record import Universe, members_of

RULE = "top:2 by mean_2d(volume), listed:2d, quote:USDT, monthly"
MONTHS = [Month(2022, month) for month in (4, 5, 6, 7)]
UNIVERSE = Universe(
    RULE,
    members_of(
        [
            (MONTHS[0], ("BTCUSDT", "LUNAUSDT")),
            (MONTHS[1], ("LUNAUSDT", "ETHUSDT")),
            (MONTHS[2], ("BTCUSDT",)),
            (MONTHS[3], ("LUNAUSDT@2022-05-31", "BTCUSDT")),
        ]
    ),
)


def test_stretches_of_months():
    assert UNIVERSE.members == {
        "BTCUSDT": ("2022-04..2022-04", "2022-06..2022-07"),
        "ETHUSDT": ("2022-05..2022-05",),
        "LUNAUSDT": ("2022-04..2022-05", "2022-07..2022-07"),
    }
    assert UNIVERSE.of_month(MONTHS[1]) == ("ETHUSDT", "LUNAUSDT")
    assert UNIVERSE.of_month(Month(2022, 8)) == ()
    assert members_of([(Month(2022, 12), ["A"]), (Month(2023, 1), ["A"])]) == {
        "A": ("2022-12..2023-01",)
    }


def test_the_digest_is_of_rule_and_members_alone():
    same = Universe(RULE, dict(reversed(UNIVERSE.members.items())), {"BTCUSDT": (0, 1)})
    assert same.digest == UNIVERSE.digest
    fewer = Universe(RULE, {**UNIVERSE.members, "ETHUSDT": ()})
    assert len({UNIVERSE.digest, fewer.digest, Universe("other", UNIVERSE.members).digest}) == 3


def test_a_bar_belongs_to_the_month_it_opens_in():
    times = np.arange(MONTHS[0].start_ms, MONTHS[-1].end_ms, Interval.H4.ms)
    mask = UNIVERSE.mask(("ETHUSDT", "BTCUSDT", "XRPUSDT"), times)
    in_month = [(times >= one.start_ms) & (times < one.end_ms) for one in MONTHS]
    assert (mask[:, 0] == in_month[1]).all()
    assert (mask[:, 1] == ~in_month[1]).all()
    assert not mask[:, 2].any()
    part = slice(100, 700)  # a segment sees the same
    assert (UNIVERSE.mask(("ETHUSDT", "BTCUSDT", "XRPUSDT"), times[part]) == mask[part]).all()
    assert UNIVERSE.mask(("BTCUSDT",), times[:0]).shape == (0, 1)


def test_of_two_coins_under_a_name_the_one_belongs_that_was_listed_at_the_start():
    times = np.arange(MONTHS[0].start_ms, MONTHS[-1].end_ms, Interval.H4.ms)
    first, second = UNIVERSE.mask(("LUNAUSDT", "LUNAUSDT@2022-05-31"), times).T
    assert (first == (times < MONTHS[2].start_ms)).all()
    assert (second == (times >= MONTHS[3].start_ms)).all()


def test_a_run_carries_it_and_others_keep_their_ids():
    plain = RunSpec(RunKind.MINE, "lake", Market.SPOT, ("BTCUSDT",), (Interval.H1,), 0, 10)
    assert "universe" not in plain.to_message()
    with_one = replace(plain, universe=UNIVERSE)
    assert RunSpec.from_message(json.loads(json.dumps(with_one.to_message()))) == with_one
    assert with_one.run_id != plain.run_id


def test_models_are_asked_about_the_members_of_discoverys_last_month():
    spec = RunSpec(
        RunKind.MINE,
        "lake",
        Market.SPOT,
        tuple(UNIVERSE.members),
        (Interval.H1,),
        MONTHS[0].start_ms,
        MONTHS[3].end_ms,
        universe=UNIVERSE,
    )
    assert spec.segments.discovery_frac == 0.4  # 49 of 122 days: May
    assert spec.told_symbols == ("ETHUSDT", "LUNAUSDT")
    assert replace(spec, universe=None).told_symbols == spec.symbols


def test_the_part_of_a_range_in_which_a_coin_lives():
    universe = Universe(RULE, {}, {"A": (10, 20), "B": (30, 40)})
    whole = TimeRange(15, 30)
    assert universe.range_of("A", whole) == TimeRange(15, 20)
    assert universe.range_of("B", whole) is None
    assert universe.range_of("C", whole) == whole
