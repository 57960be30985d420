"""`--with`: what a market lacks, or did not have yet, is refused in one line."""

import pytest
from click.testing import CliRunner

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, Month, Wide
from alphamill.live.choose import followed_by_hand
from producers.evaluate import evaluate
from producers.fetch import fetch
from producers.submit.wide import checked_wide

RANGE = ["--interval", "1h", "--start", "2024-01-01", "--end", "2024-03-01"]


def refused(command, *args):
    done = CliRunner().invoke(command, list(args))
    assert done.exit_code == 2, done.output
    return done.output.strip().splitlines()[-1]


def test_spot_has_none_of_it():
    line = refused(fetch, "BTCUSDT", *RANGE, "--with", "metrics,premium")
    assert line.startswith("Error: spot has no metrics, premium: ask for futures with --market um")


def test_spot_has_flow_alone():
    line = refused(fetch, "BTCUSDT", *RANGE, "--with", "flow,mark")
    assert line == (
        "Error: spot has no mark: ask for futures with --market um or cm, or --with flow alone"
    )
    span = Month(2024, 1).start_ms, Month(2024, 2).end_ms
    for market in Market:
        kinds = (Wide.FLOW,)
        assert checked_wide(kinds, market, [Interval.S1, Interval.H1], *span) == kinds


def test_flow_of_bars_that_are_too_long_for_it():
    asked = ["--interval", "1h,2h,1d", *RANGE[2:], "--with", "flow"]
    line = refused(fetch, "BTCUSDT", *asked)
    assert line == (
        "Error: bars of 2h, 1d have no flow, which is made up to 1h: ask for shorter ones with "
        "--interval, or without flow"
    )


def test_flow_is_not_compared():
    line = refused(fetch, "BTCUSDT", *RANGE, "--with", "flow", "--verify")
    assert line == "Error: --verify compares no flow: leave flow out of --with"


def test_an_expression_over_flow_that_nobody_asked_for():
    line = refused(evaluate, "vpin * premium", "--symbols", "BTCUSDT", *RANGE)
    assert line.endswith("--with premium,flow --market um (spot has none of it)")
    line = refused(evaluate, "ts_mean(vpin, 5)", "--symbols", "BTCUSDT", *RANGE)
    assert line.endswith("names vpin: ask for it --with flow")


def test_an_unknown_kind_is_told_what_there_is():
    line = refused(fetch, "BTCUSDT", *RANGE, "--market", "um", "--with", "liquidations")
    assert "'liquidations' is not one of metrics premium mark index funding flow" in line


def test_metrics_of_before_there_were_any():
    early = ["--interval", "1h", "--start", "2020-02-01", "--end", "2020-08-01"]
    line = refused(fetch, "BTCUSDT", *early, "--market", "um", "--with", "metrics")
    assert line.startswith("Error: the exchange has no metrics before 2020-09")


def test_a_range_that_begins_before_them_is_told_so(capsys):
    kinds = (Wide.METRICS, Wide.MARK)
    span = Month(2020, 7).start_ms, Month(2020, 12).end_ms
    assert checked_wide(kinds, Market.COIN_M, [Interval.D1], *span) == kinds
    assert capsys.readouterr().err == "metrics begin in 2020-09; there are none before\n"


@pytest.mark.parametrize(
    ("market", "with_", "cure"),
    [
        ("um", [], "ask for it --with metrics,premium"),
        ("um", ["--with", "premium"], "names open_interest: ask for it --with metrics"),
        ("spot", [], "--with metrics,premium --market um (spot has none of it)"),
    ],
)
def test_an_expression_over_fields_that_nobody_asked_for(market, with_, cure):
    text = "ts_mean(open_interest, 5) * premium"
    asked = ["--symbols", "BTCUSDT", *RANGE, "--market", market, *with_]
    assert cure in refused(evaluate, text, *asked)


def test_a_live_refuses_what_it_does_not_follow():
    with pytest.raises(GiveUp, match="names open_interest, and a live follows bars alone"):
        followed_by_hand(["ts_delta(open_interest, 5) / open_interest"], 1)
    with pytest.raises(GiveUp, match="names vpin, and a live follows bars alone"):
        followed_by_hand(["ts_mean(vpin, 5)"], 1)
    assert followed_by_hand(["ts_mean(close, 5) / close"], 1)
