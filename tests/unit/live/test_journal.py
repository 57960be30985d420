"""Rows are published once, in a chain that shows every change."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from alphamill.errors import GiveUp, Misconfigured
from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.live import Followed, Journal, Link, LiveSpec, Register, Signal, State, follow_chain
from alphamill.live import journal as journals
from alphamill.live.signals import FIRST, SIGNALS

DAY = 86_400_000
START = 20_000 * DAY
LIVE = "live-0123456789abcdef"


def signal(number=0, factor="f" * 16, **changed):
    row = Signal(
        live=LIVE,
        factor=factor,
        bar_time=START + number * 60_000,
        close_time=START + (number + 1) * 60_000,
        revision=0,
        published_at=START + (number + 1) * 60_000 + 50,
        state=State.SIGNAL,
        reason="",
        expected=3,
        symbols=("A", "B"),
        values=(0.1, math.nan),
        ranks=(1.0, math.nan),
        weights=(0.5, -0.5),
        absent=("C",),
        data="d",
        code="1",
    )
    return replace(row, **changed)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def journal(lake):
    return Journal(lake, LIVE, START)


def rows(journal, **kwargs):
    return list(journal.read(**kwargs))


def said(links):
    return [(link.payload, link.hash) for link in links]


def test_what_is_published_comes_back_and_holds(journal):
    first = journal.append([signal(0), signal(0, "e" * 16)])
    second = journal.append([signal(1)])
    assert said(rows(journal)) == said(first + second)
    assert [link.row.seq for link in rows(journal)] == [0, 1, 2]
    assert follow_chain(journal.read()) == (3, second[0].hash, None)
    assert (journal.head.rows, journal.head.hash) == (3, second[0].hash)
    assert said(rows(journal, from_seq=1)) == said(first[1:] + second)


def test_values_keep_their_bits(journal):
    hard = (5e-324, -0.0, 1 / 3, 1.7976931348623157e308, math.nan)
    journal.append([signal(values=hard)])
    [row] = [link.row for link in rows(journal)]
    assert np.array_equal(np.array(row.values).view(np.int64), np.array(hard).view(np.int64))


def test_the_payload_is_what_anybody_can_hash_again(journal):
    [link] = journal.append([signal()])
    row = link.row
    assert link.hash == row.hash
    assert row.previous == FIRST
    assert '"values":[0.1,null]' in row.payload
    assert '"published_at":1728000060050' in row.payload


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: replace(row, values=(0.2, math.nan)), "content"),
        (lambda row: replace(row, published_at=row.published_at - 1), "content"),
        (lambda row: replace(row, previous="0" * 64), "row before"),
        (lambda row: replace(row, seq=7), "missing"),
    ],
)
def test_a_change_is_seen_at_its_row(journal, change, why):
    for number in range(3):
        journal.append([signal(number)])
    tampered = rows(journal)
    tampered[1] = Link(change(tampered[1].row), tampered[1].hash)
    held, _, broken = follow_chain(tampered)
    assert (held, broken.seq) == (1, 1)
    assert why in broken.why


def test_a_row_that_is_left_out_is_seen(journal):
    for number in range(3):
        journal.append([signal(number)])
    held, _, broken = follow_chain(rows(journal)[1:])
    assert (held, broken.why) == (0, "row 0 is missing")


def test_of_two_followers_one_is_refused(lake, journal):
    other = Journal(lake, LIVE, START)
    assert other.head.rows == 0
    journal.append([signal(0)])
    assert other.append([signal(0, values=(9.0, 9.0))]) is None
    assert other.head.rows == 1
    assert other.append([signal(1)]) is not None
    assert journal.append([signal(1)]) is None
    assert follow_chain(journal.read())[::2] == (2, None)


def test_two_followers_on_either_side_of_midnight(lake, journal):
    before, after = START + DAY - 1, START + DAY + 1
    other = Journal(lake, LIVE, START)
    journal.append([signal(0, published_at=before - 60_000)])
    assert other.head.rows == 1
    assert other.append([signal(1, published_at=after)]) is not None
    assert journal.append([signal(1, published_at=before)]) is None
    [link] = journal.append([signal(2, published_at=before)])  # its clock is behind
    assert link.row.seq == 2
    assert follow_chain(journal.read())[::2] == (3, None)


def test_a_follower_that_died_between_two_days(lake, journal):
    journal.append([signal(0)])
    late = START + DAY + 5
    journal._put(journal._end()[1], 1, SIGNALS.empty_table(), journal.head, "2024-10-05")
    again = Journal(lake, LIVE, START)
    assert again.head.rows == 1
    assert again.append([signal(1, published_at=late)]) is not None
    assert follow_chain(again.read())[::2] == (2, None)


def test_a_day_becomes_one_file(lake, journal):
    for number in range(4):
        journal.append([signal(number, published_at=START + number * DAY // 2)])
    before = said(rows(journal))
    assert journal.pack(START + DAY) == 0  # today and yesterday stay as they are
    assert journal.pack(START + 2 * DAY) == 1
    assert said(rows(journal)) == before
    assert Journal(lake, LIVE, START).head == journal.head
    names = [key.rpartition("/")[2] for key in lake.list(f"signals/live={LIVE}/date=2024-10-04")]
    assert names == ["000000000000-000000000001.parquet", "000000000002.parquet"]
    assert journal.pack(START + 2 * DAY) == 0


def test_a_packer_that_died_half_way_leaves_nothing_twice(lake, journal):
    for number in range(3):
        journal.append([signal(number)])
    before = said(rows(journal))
    kept = {key: lake.read_bytes(key) for key in lake.list("signals")}
    journal.append([signal(3, published_at=START + 3 * DAY)])
    journal.pack(START + 3 * DAY)
    for key, data in kept.items():
        lake.write_bytes(key, data)
    assert said(rows(journal))[:3] == before
    assert follow_chain(journal.read())[::2] == (4, None)
    assert journal.pack(START + 3 * DAY) == 0
    assert not set(kept) & set(lake.list("signals"))  # the next one deletes what is packed
    assert follow_chain(journal.read())[::2] == (4, None)


def test_a_long_day_becomes_files_of_bounded_memory(lake, journal, monkeypatch):
    for number in range(8):
        journal.append([signal(number)])
    a_row = lake.read(f"signals/live={LIVE}/date=2024-10-04/000000000000.parquet").nbytes
    monkeypatch.setattr(journals, "_PACKED_BYTES", 3 * a_row)
    journal.append([signal(8, published_at=START + 3 * DAY)])
    before = said(rows(journal))
    read, sizes = lake.read, []
    monkeypatch.setattr(lake, "read", lambda key, *rest: sizes.append(key) or read(key, *rest))
    assert journal.pack(START + 3 * DAY) == 3
    assert len(sizes) == 9  # each row once, and what closes the day
    day = f"signals/live={LIVE}/date=2024-10-04"
    assert [key.removeprefix(f"{day}/") for key in lake.list(day)] == [
        "000000000000-000000000002.parquet",
        "000000000003-000000000005.parquet",
        "000000000006-000000000007.parquet",
        "000000000008.parquet",
    ]
    assert said(rows(journal)) == before
    assert said(journal.read(5)) == before[5:]
    assert Journal(lake, LIVE, START).head == journal.head
    assert journal.pack(START + 3 * DAY) == 0


def test_two_packers_of_one_day(lake, journal, monkeypatch):
    for number in range(4):
        journal.append([signal(number)])
    journal.append([signal(4, published_at=START + 3 * DAY)])
    before = said(rows(journal))
    other = Journal(lake, LIVE, START)
    read, meanwhile = lake.read, iter([True])

    def read_late(key, *rest):
        if next(meanwhile, False):
            assert other.pack(START + 3 * DAY) == 1
        return read(key, *rest)

    monkeypatch.setattr(lake, "read", read_late)
    assert journal.pack(START + 3 * DAY) == 0
    assert said(rows(journal)) == before


def test_other_readers_see_a_table_a_day(lake, journal, tmp_path):
    journal.append([signal(0)])
    journal.append([signal(1, published_at=START + DAY)])
    table = pq.read_table(tmp_path / "lake" / "signals")
    assert table["seq"].to_pylist() == [0, 1]
    assert sorted(str(day) for day in table["date"].to_pylist()) == ["2024-10-04", "2024-10-05"]


def test_a_full_disk_publishes_nothing(lake, journal, monkeypatch):
    journal.append([signal(0)])

    def full(*_):
        raise Misconfigured("ALPHAMILL_LAKE", "cannot write: No space left on device", "free space")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "update", full)
        with pytest.raises(Misconfigured):
            journal.append([signal(1)])
    assert journal.head.rows == 1
    journal.append([signal(1)])
    assert follow_chain(journal.read())[::2] == (2, None)


SPEC = LiveSpec(Market.SPOT, Interval.M1, ("AUSDT", "BUSDT"), (Followed("close", "f" * 16),))


def test_a_live_is_started_once_and_stopped(lake):
    register = Register(lake)
    entry = register.start(SPEC, 5)
    assert register.start(SPEC, 9) == entry
    assert register.survey() == ([entry], {})
    assert register.find(SPEC.id) == entry
    stopped = register.stop(SPEC.id, 20)
    assert (stopped.stopped_ms, stopped.active) == (20, False)
    again = register.start(SPEC, 30)
    assert (again.started_ms, again.active) == (5, True)


def test_a_webhook_is_no_part_of_the_id(lake):
    register = Register(lake)
    register.start(SPEC, 5, webhook="http://127.0.0.1:9/one")
    assert register.start(SPEC, 6).webhook == "http://127.0.0.1:9/one"
    assert register.start(SPEC, 7, webhook="http://127.0.0.1:9/two").webhook.endswith("two")
    assert len(register.survey()[0]) == 1


def test_a_live_that_is_not_there(lake):
    assert Register(lake).find("live-0") is None
    with pytest.raises(GiveUp, match="no live live-0"):
        Register(lake).stop("live-0", 1)
    lake.write_bytes("lives/live-1.json", b"{")
    with pytest.raises(GiveUp, match="damaged"):
        Register(lake).find("live-1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("live-1", "{"),
        ("live-1", "[]"),
        ("live-1", '{"spec": []}'),
        ("live-1", '{"spec": %s, "started_ms": 5, "stopped_ms": "never"}'),
        ("live-\x1b[31m", "{}"),
    ],
)
def test_a_damaged_file_hides_no_other_live(lake, name, content):
    entry = Register(lake).start(SPEC, 5)
    spec = json.dumps(SPEC.to_message())
    (Path(lake.uri) / "lives" / f"{name}.json").write_text(content.replace("%s", spec))
    entries, damaged = Register(lake).survey()
    assert entries == [entry]
    assert list(damaged) == [name]
    assert "damaged" in damaged[name]
    assert "\x1b" not in damaged[name]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"quorum": 0.0}, "quorum"),
        ({"quorum": 1.01}, "quorum"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("A", "A")}, "twice"),
        ({"factors": ()}, "factors"),
        ({"release_ms": -1}, "release_ms"),
        ({"correct_within_ms": 1_000}, "correct_within_ms"),
    ],
)
def test_a_spec_that_cannot_be(changed, why):
    with pytest.raises(ValueError, match=why):
        replace(SPEC, **changed)


def test_the_end_of_the_chain_since_a_time(lake, journal):
    for number in range(6):
        journal.append([signal(number), signal(number, "e" * 16)])
    found = list(journal.since(signal(3).published_at))
    assert [link.row.seq for link in found] == list(range(4, 12))  # the last before it as well
    assert said(journal.since(0)) == said(rows(journal))
    journal.append([signal(6, published_at=START + 5 * DAY)])
    journal.pack(START + 5 * DAY)
    assert said(journal.since(START + 4 * DAY)) == said(rows(journal))
    assert [link.row.seq for link in journal.since(START + 6 * DAY)] == [12]


def test_a_day_that_is_packed_under_a_reader_is_read_whole(lake, journal):
    for number in range(4):
        journal.append([signal(number)])
    journal.append([signal(4, published_at=START + 3 * DAY)])
    before = said(rows(journal))
    reader = journal.read()
    seen = [next(reader)]
    assert journal.pack(START + 3 * DAY) == 1
    assert said([*seen, *reader]) == before


def test_the_end_is_found_while_its_day_is_packed(lake, journal, monkeypatch):
    for number in range(3):
        journal.append([signal(number)])
    listed = Journal._files
    packs = iter([True])

    def files(self, from_seq=0):
        found = listed(self, from_seq)
        if self is other and next(packs, False):
            journal.pack(START + 9 * DAY)
        return found

    other = Journal(lake, LIVE, START)
    monkeypatch.setattr(Journal, "_files", files)
    assert other.head == journal.head
