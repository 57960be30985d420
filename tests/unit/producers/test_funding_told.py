"""What a run says of funding that it could not charge."""

import pytest

from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.ledger import RunRecord
from alphamill.ledger.protocol import RunState
from alphamill.stages.panels import PanelManifest, write_manifest
from producers.remarks import funding_line


def run_of(tmp_path, unknown, market=Market.USD_M, intervals=(Interval.H1,)):
    spec = RunSpec(RunKind.MINE, str(tmp_path), market, ("BTCUSDT",), intervals, 0, 1)
    for interval in intervals:
        made = PanelManifest(interval, ("BTCUSDT",), (), "abc", {}, (), unknown)
        write_manifest(Lake(str(tmp_path)), spec.run_id, made)
    return RunRecord(spec.run_id, "mine", spec.to_message(), RunState.DONE, 0, 0)


def test_nothing_is_said_where_all_is_known_or_none_is_paid(tmp_path):
    assert funding_line(run_of(tmp_path, {"BTCUSDT": 0})) == ""
    assert funding_line(run_of(tmp_path, None, Market.SPOT)) == ""


def test_unknown_bars_are_counted_by_symbol_over_intervals(tmp_path):
    both = (Interval.H1, Interval.H4)
    line = funding_line(run_of(tmp_path, {"AUSDT": 3, "BUSDT": 1200, "CUSDT": 0}, intervals=both))
    assert line == (
        "Funding is not known in 2,406 bars, where none is charged: BUSDT 2,400, AUSDT 6."
    )


def test_many_symbols_are_cut_short(tmp_path):
    line = funding_line(run_of(tmp_path, {f"A{n}USDT": 9 for n in range(10, 30)}))
    assert line.endswith("A17USDT 9, ....")


@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_a_run_of_before_says_that_it_charged_none(tmp_path, market):
    assert "Funding was not fetched" in funding_line(run_of(tmp_path, None, market))
