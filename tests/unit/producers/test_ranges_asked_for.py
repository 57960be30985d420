"""The range that a command asks for, cut to what there can be."""

import time
from datetime import UTC, datetime

import click
import pytest

from alphamill.frames import Interval, Market
from producers.options import BarRange
from producers.submit.submission import checked_range

MINUTE = 60_000


def ms(year, month=1):
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def asked(start_ms, end_ms=None, market=Market.SPOT):
    return checked_range(BarRange(market, (Interval.M1,), start_ms, end_ms))


@pytest.mark.parametrize(
    ("market", "opened"),
    [(Market.SPOT, (2017, 7)), (Market.USD_M, (2019, 9)), (Market.COIN_M, (2020, 8))],
)
def test_a_start_before_the_market_opened_is_moved_and_said(market, opened, capsys):
    assert asked(ms(201), ms(2022), market) == (ms(*opened), ms(2022))
    said = f"the market opened in {opened[0]}-{opened[1]:02d}: fetching from there\n"
    assert capsys.readouterr().err == said
    assert asked(ms(*opened), ms(2022), market) == (ms(*opened), ms(2022))
    assert capsys.readouterr().err == ""


def test_a_range_before_the_market_opened_is_refused():
    with pytest.raises(click.UsageError, match="the market opened in 2017-07"):
        asked(ms(201), ms(202))


def test_the_end_is_the_last_bar_that_closed():
    before = int(time.time() * 1000) // MINUTE * MINUTE
    end_ms = asked(ms(2021))[1]
    after = int(time.time() * 1000) // MINUTE * MINUTE
    assert before <= end_ms <= after
    assert asked(ms(2021), ms(9000))[1] <= int(time.time() * 1000)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "words"),
    [(ms(9000), None, "lies in the future"), (ms(2021), ms(2021), "--end must come after")],
)
def test_ranges_without_a_bar(start_ms, end_ms, words):
    with pytest.raises(click.UsageError, match=words):
        asked(start_ms, end_ms)
