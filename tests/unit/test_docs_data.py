"""docs/data.md's tree and the keys that the code writes name each other, both ways."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from alphamill.bars import Trades
from alphamill.clock import SystemClock
from alphamill.controls.kept import KeptSearches
from alphamill.controls.markets import ControlMarket
from alphamill.controls.own_bars import Searched
from alphamill.controls.planted import Search
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import Combination, RunKind, RunSpec
from alphamill.lake import (
    FundingSeries,
    IndexSeries,
    Lake,
    MarkSeries,
    MetricsSeries,
    PremiumSeries,
    Series,
)
from alphamill.lake.days import DaySeries
from alphamill.lake.upgrade import manifest_key
from alphamill.live import Journal, Register
from alphamill.live.arrival_log import ArrivalLog
from alphamill.live.follow_up import check, keep
from alphamill.live.parity import Parity, Why
from alphamill.live.waited import Waited, keep_waited
from alphamill.market import Damaged
from alphamill.market.stream import Absent
from alphamill.runs.library import library_key
from alphamill.runs.panels import write_refusal
from alphamill.runs.published import PublishedRun
from alphamill.stages.bring import keep_damaged
from alphamill.stages.kept_pages import KeptPages
from alphamill.testing import klines_at, put_klines, work_market
from alphamill.universe.daily import read_daily
from alphamill.universe.snapshots import MasterList, write_master_list
from tests.unit.live.test_journal import SPEC, START, signal

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = REPOSITORY / "tests" / "data" / "runs_of_2026_11.tar.xz"
# Where runs of November 2026 have what has a place of its own since.
MOVED = re.compile(
    r"runs/run=[^/]+/panel/interval=[^/]+/((manifest|refused)\.json|.*/_last_bars\..*)"
)
# Words of the tree that stand for any other.
STANDS_FOR = {
    "ID": r"[a-z]+-[0-9a-f]{16}",
    "RUN-1h-HASH": r"[a-z]+-[0-9a-f]{16}-\w+-[0-9a-f]+",
    "START-END": r"\d+-\d+",
    "NAME": "[^/]+",
    "000000000000": r"\d{12}(-\d{12})?",
    "2021-04": r"\d{4}-\d{2}",
    "2024-01-02": r"\d{4}-\d{2}-\d{2}",
    "FROM": r"\d{20}",
    "close": r"\w+",
    "shard-0": r"shard-\d+",
    "start": "(start|end)",
}


def documented() -> list[str]:
    """The keys of the page's first block, without what is said of them."""
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    return [line.split()[0] for line in page.split("```")[1].strip().splitlines()]


def pattern(key: str) -> re.Pattern[str]:
    def part(text: str) -> str:
        name, equals, value = text.rpartition("=")
        if equals:
            return f"{name}={STANDS_FOR.get(value, r'[^/]+')}"
        stem, dot, suffix = text.rpartition(".")
        if not dot:
            return STANDS_FOR.get(text, re.escape(text))
        known = r"\w+" if stem == "BTCUSDT" else STANDS_FOR.get(stem, re.escape(stem))
        return known + re.escape(f".{suffix}")

    return re.compile("/".join(map(part, key.split("/"))))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Keys of runs of old and of today, and of what those did not have to write."""
    with tarfile.open(RUNS) as archive:
        keys = [entry.name for entry in archive if entry.isfile() and "/." not in entry.name]
    keys = [key for key in keys if MOVED.fullmatch(key) is None]
    month = Month(2021, 4)
    bars = Series(Market.SPOT, "BTCUSDT", Interval.H1)
    keys += [bars.key(kind, month) for kind in ("klines", "features", "corrections")]
    keys.append(manifest_key(bars.folder("klines")))
    contracts = [series(Market.USD_M, "BTCUSDT") for series in (FundingSeries, MetricsSeries)]
    priced = [
        series(Market.USD_M, "BTCUSDT", Interval.H1)
        for series in (PremiumSeries, MarkSeries, IndexSeries)
    ]
    for beside in (*contracts, *priced):
        keys += [beside.key(kind, month) for kind in (beside.kind, "corrections")]
    days = (
        DaySeries.bars(Market.SPOT, "1e6$", "BTCUSDT"),
        DaySeries.trades(Market.USD_M, "trades", "BTCUSDT"),
    )
    keys += [series.key(month.start_ms) for series in days]
    apart = Lake(str(tmp_path_factory.mktemp("pages")))
    pages = KeptPages(apart, days[1], 0, SystemClock())
    none = np.zeros(100_000, dtype=np.int64)
    assert not list(pages.held(0))
    pages.keep(Trades(none, none, none, none, none > 0))
    keys += apart.list("pages")
    keys.append(DaySeries.flow(Market.SPOT, Interval.M1, "BTCUSDT").key(month.start_ms))
    folder = tmp_path_factory.mktemp("lake")
    market = ControlMarket(seed=11, n_symbols=4, n_bars=640, ragged=False)
    mined = work_market(folder, market, Search(rounds=1, candidates=3), mill={"indicators": True})
    lake = mined.lake
    combination = Combination(("equal",), 2 * 86_400_000, 4 * 86_400_000, draws=0)
    combined = replace(mined.spec, kind=RunKind.COMBINE, combination=combination)
    mined.mill.work(replace(combined, expressions=("-returns", "rank(-volume)")))
    keep_damaged(lake, bars, [Damaged("BTCUSDT-1h-2021-04", "cut", b"PK")], 0)
    for beside in (contracts[1], priced[1], days[1]):
        keep_damaged(lake, beside, [Damaged("BTCUSDT-1h-2021-04", "cut", b"")], 0)
    write_refusal(lake, "mine-1f2e3d4c5b6a7988", Interval.H1, "no bar")
    spec = RunSpec(RunKind.MINE, "lake", Market.SPOT, ("BTCUSDT",), (Interval.H1,), 0, 1)
    PublishedRun(lake, "mine-1f2e3d4c5b6a7988", {}).put_back(0)
    KeptSearches.of(mined.published, "noise", {}).keep(Searched(0, (), None))
    publish_live(lake)
    put_klines(lake, "BTCUSDT", klines_at([0], Interval.D1), interval=Interval.D1)
    read_daily(lake, Market.SPOT, ["BTCUSDT"], 0, 1)
    keys.append(write_master_list(lake, MasterList(Market.SPOT, date(2026, 12, 1), ())))
    return [*keys, *lake.list(""), library_key(spec, Interval.H1)]


def publish_live(lake: Lake) -> None:
    """What a live leaves: itself, a row, its bars' arrivals, a check."""
    entry = Register(lake).start(SPEC, START)
    journal = Journal(lake, entry.id, START)
    journal.append([signal(live=entry.id)])
    journal.note_delivered(1)
    log = ArrivalLog(lake, Market.SPOT)
    log.absent(Absent("BTCUSDT", Interval.H1, START, START, "its close was not told"))
    for key, table in log.take(START):
        lake.write(key, table, {})
    check(lake, entry, START)
    rows = [link.row for link in journal.read()]
    keep(lake, entry.id, rows, Parity(by_row={0: Counter({Why.EQUAL: 2})}))
    keep_waited(lake, entry.id, 0, [Waited(START, "f", 200, 2, 2, True, 0, 0.0, 0.0)])


def test_every_key_that_is_written_stands_in_the_tree(written: list[str]) -> None:
    tree = [pattern(key) for key in documented()]
    unknown = [key for key in written if not any(one.fullmatch(key) for one in tree)]
    assert not unknown


@pytest.mark.parametrize("key", documented())
def test_every_line_of_the_tree_is_written(key: str, written: list[str]) -> None:
    assert any(pattern(key).fullmatch(one) for one in written)
