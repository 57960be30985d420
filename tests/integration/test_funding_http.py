"""Funding's client against the simulated exchange over HTTP: queries, refusals, broken replies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alphamill.clock import SystemClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month, TimeRange, times_ms
from alphamill.market import Archive, Binance, BinanceFunding, FundingFile, FundingHistory
from alphamill.market.funding.parse import merge_funding
from alphamill.sim.exchange import ArchiveFault, ExchangeConfig, ExchangeServer, Fault, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named

HOUR = 3_600_000
START, END = Month(2023, 1).start_ms, Month(2023, 12).end_ms
SOURCE = SyntheticSource(
    SyntheticMarket(
        coins=coins_named(["BTCUSDT", "ETHUSDT", "ADAUSDT"]),
        interval=Interval.H8,
        planted=(),
        start_ms=START,
        end_ms=END,
    )
)


class Gate:
    """Lets all through and remembers."""

    def __init__(self):
        self.weights, self.observed, self.pauses, self.limits = [], [], [], []

    def reserve(self, weight):
        self.weights.append(weight)
        return len(self.weights)

    def observe(self, slot, used_weight, server_time_ms):
        self.observed.append((slot, used_weight))

    def pause(self, for_s, reason):
        self.pauses.append((for_s, reason))

    def configure(self, weight_limit):
        self.limits.append(weight_limit)


@pytest.fixture
def served():
    """`served(fault, ...)` -> client, its own gate, the market's gate, the server."""
    servers = []

    def serve(*faults, market=Market.USD_M, limits=None, archive=(), source=SOURCE):
        config = ExchangeConfig(
            futures_limits=limits or Limits(weight=2400),
            faults=tuple(map(Fault.parse, faults)),
            archive_faults=tuple(map(ArchiveFault.parse, archive)),
        )
        servers.append(ExchangeServer(config, source))
        server = servers[-1].__enter__()
        own, shared = Gate(), Gate()
        api = Binance(market, server.url, shared, SystemClock(), 2.0)
        return BinanceFunding(api, own), own, shared, server

    yield serve
    for server in servers:
        server.__exit__()


def known_of(market=Market.USD_M, symbol="BTCUSDT"):
    return SOURCE.funding(market, symbol)


def test_a_page_is_one_request_through_its_own_gate(served):
    client, own, shared, _ = served()
    table = client.page("BTCUSDT", START, END)
    known = known_of()
    np.testing.assert_array_equal(times_ms(table), known.stamp_ms[:1000])
    np.testing.assert_array_equal(table["funding_rate"].to_numpy(), known.rate[:1000])
    assert own.weights == [1]
    assert shared.weights == [1]  # exchangeInfo, which says the weight limit
    assert own.limits == shared.limits == [2400]
    assert own.observed == []  # fundingRate does not say what was used


def test_the_ends_of_a_range(served):
    client, *_ = served()
    stamps = known_of().stamp_ms.tolist()
    for first, stop in ((stamps[3], stamps[6]), (stamps[3], stamps[6] + 1), (stamps[3] + 1, END)):
        expected = [stamp for stamp in stamps if first <= stamp < stop][:1000]
        assert times_ms(client.page("BTCUSDT", first, stop), "funding_time").tolist() == expected


def test_coin_margined_contracts_have_it_too(served):
    client, *_ = served(market=Market.COIN_M)
    assert client.page("BTCUSD_PERP", START, END).num_rows > 900


def test_an_unknown_symbol(served):
    client, *_ = served()
    with pytest.raises(GiveUp, match="did you mean BTCUSDT"):
        client.page("BTCUSDTT", START, END)


@pytest.mark.parametrize("fault", ["cut_json", "nulls", "truncate", "reset", "html_200", "html"])
def test_what_may_pass_is_asked_again(served, fault):
    client, own, _, _ = served(f"{fault}:@{1 if fault == 'nulls' else 2}")
    assert client.page("BTCUSDT", START, END).num_rows == 1000
    assert own.weights == [1, 1]


@pytest.mark.parametrize(("fault", "least_s"), [("http_429:@2", 1), ("http_418:@2", 60)])
def test_a_refusal_stops_everybody_for_as_long_as_it_says(served, fault, least_s):
    client, own, _, _ = served(fault)
    with pytest.raises(RetryLater) as caught:
        client.page("BTCUSDT", START, END)
    assert caught.value.counts is False
    ((for_s, reason),) = own.pauses
    assert for_s == caught.value.after_s >= least_s
    assert "HTTP 4" in reason
    assert own.weights == [1]


def test_its_own_limit_refuses_until_its_window_ends(served):
    client, own, _, _ = served(limits=Limits(weight=2400, funding=1))
    client.page("BTCUSDT", START, END)
    with pytest.raises(RetryLater, match="1 requests per 5 minutes"):
        client.page("ETHUSDT", START, END)
    assert 0 < own.pauses[0][0] <= 300


def test_a_firewall_and_a_barred_place(served):
    client, *_ = served("waf:@2")
    with pytest.raises(RetryLater) as caught:
        client.page("BTCUSDT", START, END)
    assert caught.value.after_s == 300
    client, *_ = served("http_451:@2-")
    with pytest.raises(GiveUp, match="HTTP 451"):
        client.page("BTCUSDT", START, END)


def history(served, *faults, archive=()):
    client, _, _, server = served(*faults, archive=archive)
    source = Archive(server.url, SystemClock(), 2.0)
    return FundingHistory(Market.USD_M, client, source, SystemClock())


def test_a_year_from_files_and_rest_is_the_exchanges(served):
    symbol = "ADAUSDT"
    assert len({*known_of(symbol=symbol).hours.tolist()}) > 1  # its interval changes
    spoiled = (
        "bad_checksum:*-2023-02",
        "corrupt_zip:*-2023-04",
        "missing:*-2023-06",
        "missing_checksum:*-2023-08",
    )
    parts = list(history(served, archive=spoiled).parts(symbol, TimeRange(START, END)))
    table = merge_funding([part.table for part in parts])
    known = known_of(symbol=symbol)
    inside = known.stamp_ms < END
    np.testing.assert_array_equal(times_ms(table), known.stamp_ms[inside])
    np.testing.assert_array_equal(table["funding_rate"].to_numpy(), known.rate[inside])
    assert sum(part.files for part in parts) == 8
    assert sorted(one.name for part in parts for one in part.damaged) == [
        f"{symbol}-fundingRate-2023-0{month}" for month in (2, 4, 8)
    ]


DIVIDENDS = SyntheticSource(replace(SOURCE.market, special_funding=9))


@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_dividends_of_a_year_come_from_files_and_rest_alike(served, market):
    """Files have both rows of an instant and say of neither what it is; REST is asked for those."""
    client, _, _, server = served(market=market, source=DIVIDENDS)
    symbol = "BTCUSDT" if market is Market.USD_M else "BTCUSD_PERP"
    known = DIVIDENDS.funding(market, symbol)
    inside = known.stamp_ms < END
    assert known.special.sum() > 50
    for source in (Archive(server.url, SystemClock(), 2.0), None):
        history = FundingHistory(market, client, source, SystemClock())
        parts = list(history.parts(symbol, TimeRange(START, END)))
        table = merge_funding([part.table for part in parts])
        np.testing.assert_array_equal(times_ms(table), known.stamp_ms[inside])
        np.testing.assert_array_equal(table["funding_rate"].to_numpy(), known.rate[inside])
        special = np.array(table["rate_type"].to_pylist()) == "Special"
        np.testing.assert_array_equal(special, known.special[inside])


def test_an_exchange_without_an_answer_is_asked_twice_and_the_answer_is_empty(served):
    client, own, *_ = served("no_funding:1")
    history = FundingHistory(Market.USD_M, client, None, SystemClock())
    (part,) = history.parts("BTCUSDT", TimeRange(START, END))
    assert (part.table.num_rows, part.requests) == (0, 2)
    assert own.weights == [1, 1]


def test_a_file_of_the_archive_over_http(served):
    *_, server = served()
    archive = Archive(server.url, SystemClock(), 2.0)
    file = FundingFile(Market.USD_M, "BTCUSDT", Month(2023, 3))
    assert archive.read(file).num_rows > 90
    assert archive.read(FundingFile(Market.USD_M, "NOUSDT", Month(2023, 3))) is None
