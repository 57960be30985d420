"""One page of funding: what is asked, and a reply that answers something else."""

import json

import pytest

from alphamill.errors import RetryLater
from alphamill.frames import times_ms
from alphamill.market import BinanceFunding

HOUR = 3_600_000
START = 1_672_531_200_000


class Api:
    """A market's client that always sends the same settlements."""

    def __init__(self, *stamps):
        self.rows = [
            {"symbol": "BTCUSDT", "fundingTime": stamp, "fundingRate": "0.0001"} for stamp in stamps
        ]
        self.asked = []

    def weight_limit(self):
        return 2400

    def ask(self, path, query, weight, read, gate):
        self.asked.append((path, dict(query), weight, gate))
        return read(json.dumps(self.rows).encode())


class Gate:
    def configure(self, weight_limit):
        self.limit = weight_limit


def test_what_is_asked():
    api, gate = Api(START + 3), Gate()
    BinanceFunding(api, gate).page("BTCUSDT", START, START + 8 * HOUR)
    query = {
        "symbol": "BTCUSDT",
        "startTime": START,
        "endTime": START + 8 * HOUR - 1,
        "limit": 1000,
    }
    assert api.asked == [("/fundingRate", query, 1, gate)]
    assert gate.limit == 2400


def test_settlements_of_before_the_range_are_asked_for_again():
    with pytest.raises(RetryLater, match="from before the range"):
        BinanceFunding(Api(START - HOUR, START), Gate()).page("BTCUSDT", START, START + HOUR)


def test_settlements_of_after_it_are_left_out():
    api = Api(START, START + HOUR)
    table = BinanceFunding(api, Gate()).page("BTCUSDT", START, START + HOUR)
    assert times_ms(table).tolist() == [START]
