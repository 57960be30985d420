"""From a rule to members: candidates of the list, bars of the lake, and what lacks."""

from datetime import date

import numpy as np
import pytest

from alphamill.errors import GiveUp
from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.market.kinds import Kind
from alphamill.testing import klines_at, put_klines
from alphamill.universe.master_list import Listed
from alphamill.universe.resolve import candidates_of, missing_text, resolve, survey
from alphamill.universe.rule import parse_rule
from alphamill.universe.snapshots import MasterList

DAY = 86_400_000
RULE = "top:2 by mean_10d(quote_volume), listed:20d"
START, END = Month(2022, 5).start_ms, Month(2022, 8).start_ms


def coin(symbol, first="2022-01", last=None, **more):
    return Listed(
        symbol,
        symbol.removesuffix("USDT"),
        "USDT",
        "BREAK" if last else "TRADING",
        first=Month.parse(first),
        last=last and Month.parse(last),
        **more,
    )


COINS = (
    coin("AAAUSDT"),
    coin("BBBUSDT"),
    coin("DEADUSDT", last="2022-06"),
    coin("NEWUSDT", first="2022-06"),
    coin("USDCUSDT", kinds=(Kind.STABLECOINS,)),
    Listed("AAABTC", "AAA", "BTC", "TRADING", first=Month(2022, 1)),
)
VOLUMES = {"AAAUSDT": 5, "BBBUSDT": 3, "DEADUSDT": 9, "NEWUSDT": 7, "USDCUSDT": 99}


def listed(*coins):
    return MasterList(Market.SPOT, date(2022, 9, 1), coins or COINS)


@pytest.fixture
def lake(tmp_path):
    """Daily bars from what the rule looks back on to the end, of each coin while it lives."""
    made = Lake(str(tmp_path))
    for one in COINS[:5]:
        start_ms = max(one.first.start_ms, Month(2021, 4).start_ms)
        end_ms = one.last.end_ms - 10 * DAY if one.last else END
        opens = np.arange(start_ms, end_ms, DAY)
        columns = dict.fromkeys(("open", "high", "low", "close"), 1.0)
        bars = klines_at(
            opens, Interval.D1, quote_volume=VOLUMES[one.symbol], volume=1.0, trades=1, **columns
        )
        put_klines(made, one.symbol, bars, interval=Interval.D1)
    return made


def resolved(lake, rule=RULE, coins=(), start=START, end=END):
    return resolve(survey(lake, listed(*coins), parse_rule(rule), start, end), start, end)


def test_the_dead_belong_while_they_lived_and_the_young_when_they_are_old_enough(lake):
    found = resolved(lake)
    assert found.universe.members == {
        "AAAUSDT": ("2022-05..2022-07",),
        "DEADUSDT": ("2022-05..2022-06",),
        "NEWUSDT": ("2022-07..2022-07",),
    }
    assert found.symbols == ("AAAUSDT", "DEADUSDT", "NEWUSDT")
    assert found.universe.rule == f"{RULE}, quote:USDT, monthly"
    june_end = Month(2022, 6).end_ms
    assert found.universe.lives == {
        "DEADUSDT": (START, june_end),
        "NEWUSDT": (Month(2022, 6).start_ms, END),
    }


def test_what_a_rule_leaves_out_and_what_it_takes(lake):
    assert "USDCUSDT" in resolved(lake, f"{RULE}, include:stablecoins").symbols
    assert "DEADUSDT" not in resolved(lake, f"{RULE}, without:DEAD").symbols
    names = [one.symbol for one in candidates_of(listed(), parse_rule(f"{RULE}, quote:BTC"))]
    assert names == ["AAABTC"]
    with pytest.raises(GiveUp, match=r"quoted in 'EUR' and may belong; there are BTC, USDT"):
        candidates_of(listed(), parse_rule(f"{RULE}, quote:EUR"))


def test_bars_that_are_missing_are_named_and_a_run_brings_them(lake):
    young = coin("ZZZUSDT", first="2022-06")
    asked = survey(lake, listed(*COINS, young), parse_rule(RULE), START, END)
    june = TimeRange(Month(2022, 6).start_ms, Month(2022, 6).end_ms)  # July's are not needed
    assert asked.missing == {"ZZZUSDT": june}
    assert missing_text(asked) == (
        "the lake lacks daily bars of 1 of 5 candidates between 2022-06 and 2022-06 (ZZZUSDT)"
    )
    with pytest.raises(ValueError, match="1 candidates are missing"):
        resolve(asked, START, END)
    spec = RunSpec(
        RunKind.FETCH,
        "lake",
        Market.USD_M,
        ("ZZZUSDT",),
        (Interval.D1,),
        june.start_ms,
        june.end_ms,
        universe=asked.what_to_bring(),
    )
    (job,) = plan(spec)  # no funding, which membership does not read
    assert (job.message["start_ms"], job.message["end_ms"]) == (june.start_ms, june.end_ms)


def test_daily_bars_come_a_year_a_job_and_hours_a_month():
    life = {"AAAUSDT": (Month(2021, 11).start_ms, Month(2022, 3).start_ms)}
    from alphamill.universe.record import Universe

    spec = RunSpec(
        RunKind.FETCH,
        "lake",
        Market.SPOT,
        ("AAAUSDT", "BBBUSDT"),
        (Interval.D1, Interval.H1),
        Month(2021, 1).start_ms,
        Month(2023, 1).start_ms,
        universe=Universe("rule", {"AAAUSDT": ("2022-01..2022-01",)}, life),
    )
    jobs = [job.message for job in plan(spec)]
    of = {
        (symbol, bar): [
            (Month.of_ms(job["start_ms"]), Month.of_ms(job["end_ms"] - 1))
            for job in jobs
            if (job["symbol"], job["interval"]) == (symbol, bar)
        ]
        for symbol in ("AAAUSDT", "BBBUSDT")
        for bar in ("1d", "1h")
    }
    november, december, january = Month(2021, 11), Month(2021, 12), Month(2022, 1)
    assert of["AAAUSDT", "1d"] == [(november, december), (january, Month(2022, 2))]
    assert [len(of[one]) for one in of] == [2, 4, 2, 24]


def test_a_month_without_anybody_says_why_and_from_when_on_there_is_somebody(lake):
    start = Month(2022, 1).start_ms  # the coins' first month
    with pytest.raises(GiveUp) as caught:
        resolved(lake, start=start)
    assert str(caught.value) == (
        "the universe is empty in 2022-01: of 4 candidates 4 not listed so long ago; "
        "ask from 2022-02-01 on"
    )
    with pytest.raises(GiveUp, match=r"no month of the range has a member: mean_10d.*listed:400d"):
        resolved(lake, "top:2 by mean_10d(quote_volume), listed:400d")


def test_before_the_market_opened_nothing_is_missing(tmp_path):
    old = coin("AAAUSDT", first="2017-08")
    end = Month(2017, 10).start_ms
    asked = survey(Lake(str(tmp_path)), listed(old), parse_rule(RULE), Month(2017, 9).start_ms, end)
    assert asked.missing["AAAUSDT"] == Month(2017, 8).range
    assert asked.bars.range.start_ms == Month(2017, 7).start_ms
