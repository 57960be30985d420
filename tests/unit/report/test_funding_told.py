"""What a run says of funding that it could not charge."""

import json

import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.frames import KLINES, Interval, Market, Month
from alphamill.jobs import FundingJob, RunKind, RunSpec
from alphamill.lake import Lake, MonthFacts, write_klines
from alphamill.market import FakeFunding
from alphamill.market.funding.parse import funding_table
from alphamill.report.caveats import funding_line
from alphamill.runs.panels import PanelManifest, write_manifest
from alphamill.stages import funding
from producers.read.gaps import gaps
from tests import rows


def run_of(tmp_path, unknown, market=Market.USD_M, intervals=(Interval.H1,)):
    spec = RunSpec(RunKind.MINE, str(tmp_path), market, ("BTCUSDT",), intervals, 0, 1)
    for interval in intervals:
        made = PanelManifest(interval, ("BTCUSDT",), (), "abc", {}, (), unknown)
        write_manifest(Lake(str(tmp_path)), spec.run_id, made)
    return rows.publish(Lake(str(tmp_path)), spec.run_id, spec.to_message())


def test_nothing_is_said_where_all_is_known_or_none_is_paid(tmp_path):
    assert funding_line(run_of(tmp_path, {"BTCUSDT": 0})) == ""
    assert funding_line(run_of(tmp_path, None, Market.SPOT)) == ""


def test_unknown_bars_are_counted_by_symbol_over_intervals(tmp_path):
    both = (Interval.H1, Interval.H4)
    line = funding_line(run_of(tmp_path, {"AUSDT": 3, "BUSDT": 1200, "CUSDT": 0}, intervals=both))
    assert line == (
        "Funding is not known in 2,406 bars, where none is charged: BUSDT 2,400, AUSDT 6. "
        "Where, and what asks for it again: alphamill gaps."
    )


def test_many_symbols_are_cut_short(tmp_path):
    line = funding_line(run_of(tmp_path, {f"A{n}USDT": 9 for n in range(10, 30)}))
    assert "A17USDT 9, .... Where" in line


@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_a_run_of_before_says_that_it_charged_none(tmp_path, market):
    assert "Funding was not fetched" in funding_line(run_of(tmp_path, None, market))


JANUARY = Month(2023, 1)
DAY_MS = 86_400_000


def put_january(lake, market, symbol):
    """A month of which it is known that there was no bar, at two intervals."""
    for interval in (Interval.H1, Interval.H4):
        facts = MonthFacts("rest", JANUARY.range)
        write_klines(lake, market, symbol, interval, JANUARY, KLINES.empty_table(), facts)


def test_gaps_name_the_stretches_once_a_symbol(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", str(tmp_path))
    monkeypatch.delenv("ALPHAMILL_CONFIG", raising=False)
    lake = Lake(str(tmp_path))
    put_january(lake, Market.SPOT, "BTCUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        put_january(lake, Market.USD_M, symbol)
    clock = ManualClock(Month(2024, 1).start_ms)
    fake = FakeFunding(clock, {"BTCUSDT": funding_table([JANUARY.start_ms], [0.1])})
    end_ms = JANUARY.start_ms + 10 * DAY_MS
    job = FundingJob(Market.USD_M, "BTCUSDT", JANUARY.start_ms, end_ms)
    funding.run(job, funding.FundingDeps(fake, lake, None, clock))

    shown = CliRunner().invoke(gaps, []).output
    lines = [line for line in shown.splitlines() if line.startswith("funding")]
    assert lines == [
        "funding of BTCUSDT (um) not known: 2023-01-11 00:00 to 2023-02-01 00:00",
        "funding of ETHUSDT (um) not known: 2023-01-01 00:00 to 2023-02-01 00:00",
    ]
    told = json.loads(CliRunner().invoke(gaps, ["--json", "--market", "um"]).output)["series"]
    assert told[0]["funding_unknown"] == [{"start_ms": end_ms, "end_ms": JANUARY.end_ms}]
    spot = json.loads(CliRunner().invoke(gaps, ["--json", "--market", "spot"]).output)["series"]
    assert {tuple(one["funding_unknown"]) for one in spot} == {()}
