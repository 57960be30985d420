"""Runs over a universe of coins that are born and die, in this process, from archive to verdict."""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pytest

from alphamill.clock import ManualClock
from alphamill.controls.markets import klines_of
from alphamill.evaluation import Segment
from alphamill.factors import compute, parse
from alphamill.frames import Interval, Market, Month, months_between
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.market import FakeExchange
from alphamill.market.exchange import SymbolInfo
from alphamill.mill import Mill
from alphamill.replay import replay
from alphamill.report.caveats import bars_lines
from alphamill.runs.figures import load_score
from alphamill.runs.panels import load_panel, read_manifest
from alphamill.runs.published import PublishedRun
from alphamill.runs.reader import SegmentReader
from alphamill.settings import Tier, TierSettings
from alphamill.testing import ProposingChat
from alphamill.universe.master_list import read_master_list
from alphamill.universe.resolve import Resolved, resolve, survey
from alphamill.universe.rule import parse_rule
from alphamill.universe.snapshots import MasterList, write_master_list
from tests.mortal_market import MortalMarket, life
from tests.unit.universe.test_master_list import Index

H4 = Interval.H4
START, END = Month(2023, 1).start_ms, Month(2023, 7).start_ms
RULE = parse_rule("top:4 by mean_10d(quote_volume), listed:20d")
LIVES = {
    "AAAUSDT": life("2022-08", "2023-06", 9e6),
    "BBBUSDT": life("2022-08", "2023-06", 5e6),
    "CCCUSDT": life("2022-08", "2023-06", 3e6),
    "SMALLUSDT": life("2022-08", "2023-06", 1e5),
    "DEADUSDT": (Month(2022, 8).start_ms, Month(2023, 3).start_ms + 14 * 86_400_000, 7e6),
    "NEWUSDT": life("2023-03", "2023-06", 8e6),
    "USDCUSDT": life("2022-08", "2023-06", 9e7),
}
EXPRESSIONS = ("rank(ts_mean(returns, 20))", "-ts_zscore(close, 24)", "demean(log(volume))")


@dataclass
class Bench:
    """A lake with the master list and daily bars, and an exchange that has the hours too."""

    lake: Lake
    exchange: FakeExchange
    chat: ProposingChat
    found: Resolved

    def work(self, kind, universe=None, **more):
        spec = RunSpec(
            kind,
            self.lake.uri,
            Market.SPOT,
            self.found.symbols,
            (H4,),
            START,
            END,
            universe=universe,
            **more,
        )
        jobs = Mill(self.lake, self.exchange, self.chat, indicators=False).work(spec)
        return spec, jobs


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("universe")
    lake, market = Lake(str(folder)), MortalMarket(LIVES, H4)
    exchange = FakeExchange(ManualClock(END + 86_400_000))
    for symbol in LIVES:
        for interval in (H4, Interval.D1):
            bars = klines_of(market.bars(Market.SPOT, symbol, interval), interval)
            exchange.add(symbol, interval, bars)
    # exchangeInfo has forgotten the dead one; the archive's listing has not.
    infos = {
        name: SymbolInfo(name, "TRADING", name.removesuffix("USDT"), "USDT")
        for name in LIVES
        if name != "DEADUSDT"
    }
    known = read_master_list(Index(LIVES), infos, Market.SPOT, END)
    listed = MasterList(Market.SPOT, date(2023, 7, 1), known)
    write_master_list(lake, listed)
    chat = ProposingChat(*EXPRESSIONS)
    asked = survey(lake, listed, RULE, START, END)
    assert len(asked.missing) == len(LIVES) - 1  # all but the stable pair, which may not belong
    daily = RunSpec(
        RunKind.FETCH,
        lake.uri,
        Market.SPOT,
        tuple(asked.missing),
        (Interval.D1,),
        min(one.start_ms for one in asked.missing.values()),
        max(one.end_ms for one in asked.missing.values()),
        universe=asked.what_to_bring(),
    )
    Mill(lake, exchange, chat).work(daily)
    asked = survey(lake, listed, RULE, START, END)
    assert not asked.missing
    return Bench(lake, exchange, chat, resolve(asked, START, END))


@pytest.fixture(scope="module")
def mined(bench):
    tiers = dict.fromkeys(Tier, TierSettings(model="offline", max_tokens=2000))
    bench.chat.requests.clear()
    spec, jobs = bench.work(
        RunKind.MINE,
        bench.found.universe,
        rounds=1,
        candidates=3,
        shards=1,
        budget_usd_micros=1_000_000,
        tiers=tiers,
    )
    assert [job.error for job in jobs if job.error] == []
    return spec, jobs


def test_members_are_those_that_were_largest_then_the_dead_too(bench):
    assert bench.found.universe.members == {
        "AAAUSDT": ("2023-01..2023-06",),
        "BBBUSDT": ("2023-01..2023-06",),
        "CCCUSDT": ("2023-01..2023-06",),
        "DEADUSDT": ("2023-01..2023-03",),
        "NEWUSDT": ("2023-04..2023-06",),
    }


def test_its_bars_are_asked_for_within_its_life_alone(bench, mined):
    asked = [one for one in bench.exchange.asked if (one.symbol, one.interval) == ("NEWUSDT", H4)]
    assert min(one.start_ms for one in asked) == Month(2023, 3).start_ms
    ended = [one for one in bench.exchange.asked if (one.symbol, one.interval) == ("DEADUSDT", H4)]
    assert max(one.end_ms for one in ended) == Month(2023, 4).start_ms


def test_models_are_asked_about_who_belonged_on_discovery_alone(bench, mined):
    _, jobs = mined
    about = [job.message["symbol"] for job in jobs if job.stage.startswith("propose")]
    # 40 % of six months end in March: NEWUSDT, a member from April on, is the future.
    assert [name for name in about if name] == ["AAAUSDT", "BBBUSDT", "CCCUSDT", "DEADUSDT"]
    assert not any("NEWUSDT" in one.messages[-1].content for one in bench.chat.requests)


def test_the_panel_keeps_every_bar_and_says_who_belongs(bench, mined):
    spec, _ = mined
    manifest = read_manifest(bench.lake, spec.run_id, H4)
    assert manifest.universe == bench.found.universe
    assert (manifest.died, manifest.died_as_of) == (("DEADUSDT",), "2023-07-01")
    panel = load_panel(bench.lake, spec.run_id, H4, Segment.VALIDATION, ["close"]).panel
    new = panel.symbols.index("NEWUSDT")
    march = panel.times_ms < Month(2023, 4).start_ms
    assert np.isfinite(panel["close"][march, new]).any()  # from before it belonged


def test_a_rank_is_over_the_members_of_its_bar(bench, mined):
    spec, _ = mined
    reader = SegmentReader(bench.lake, spec.run_id, H4, Segment.VALIDATION)
    factor = parse(EXPRESSIONS[0])
    values, panel = reader.values(factor), reader.panel(factor.columns).panel
    for at in (panel.n_bars // 2, panel.n_bars - 1):
        month = Month.of_ms(int(panel.times_ms[at]))
        names = bench.found.universe.of_month(month)
        here = [panel.symbols.index(name) for name in names]
        alone = {name: np.ascontiguousarray(field[:, here]) for name, field in panel.items()}
        want = np.full(len(panel.symbols), np.nan)
        want[here] = compute(factor, alone)[at]
        assert np.array_equal(values[at], want, equal_nan=True)
    assert np.isfinite(values).sum(axis=1).max() == 4


def test_the_board_states_the_rule_and_its_deaths(bench, mined):
    spec, _ = mined
    lines = bars_lines(PublishedRun.open(bench.lake, spec.run_id))
    assert lines[0] == (
        f"Universe {RULE.text} [{bench.found.universe.digest}]: 5 symbols belonged in 6 months, 4 "
        "at once. Ranks, scores and books are over the members of each bar, and who leaves is "
        "sold at a cost."
    )
    assert lines[1] == "1 of the 5 had died by 2023-07-01: DEADUSDT."
    assert lines[2].startswith("1 of 5 symbols stopped trading within the range")
    assert not any("Survivorship" in line for line in lines)


def test_it_is_replayed_to_the_bit(bench, mined, tmp_path):
    spec, _ = mined
    again = replay(PublishedRun.open(bench.lake, spec.run_id), Lake(str(tmp_path)))
    assert again.equal


def test_who_belongs_is_part_of_the_snapshot_and_of_the_figures(bench):
    def scored(universe):
        spec, _ = bench.work(RunKind.EVALUATE, universe, expressions=EXPRESSIONS, names=())
        manifest = read_manifest(bench.lake, spec.run_id, H4)
        trials = PublishedRun.open(bench.lake, spec.run_id).trials
        return (
            spec.run_id,
            manifest,
            [load_score(trial.score_text).rank_ic_mean for trial in trials],
        )

    whole = bench.found.universe
    months = months_between(START, END)
    every = dict.fromkeys(whole.members, (f"{months[0]}..{months[-1]}",))
    first, second, third = map(scored, (whole, None, replace(whole, members=every)))
    assert len({first[0], second[0], third[0]}) == 3
    assert len({one[1].snapshot for one in (first, second, third)}) == 3
    assert first[1].segments == second[1].segments  # the bars are the same
    assert first[2] != second[2]
    assert second[2] == third[2]  # a rule that takes all at all times is no rule
