"""Which recordings a demo mines, and which it says that it leaves out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from alphamill.frames import Interval
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from producers.run.demo import _market

NAMED = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT", "币安人生USDT")
HOUR = 3_600_000


@pytest.fixture
def stack(tmp_path):
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), np.ones(5))
    for name in (*(f"{symbol}-1h" for symbol in NAMED), "ADAUSDT-5m", "LTCUSDT-1d"):
        frame = pd.DataFrame({"open_time": np.arange(5) * HOUR, **prices})
        frame.to_parquet(tmp_path / f"{name}.parquet")
    with ExchangeServer(ExchangeConfig(replay=tmp_path)) as exchange:
        yield SimpleNamespace(exchange_url=exchange.url)


def test_every_symbol_that_has_the_bars_and_no_other_without_a_word(stack, capsys):
    market = _market(stack, (Interval.H1,), None)
    assert set(market.symbols) == set(NAMED)
    assert capsys.readouterr().err == "left out, 2 without bars of 1h: ADAUSDT, LTCUSDT\n"


def test_what_is_named_leaves_nothing_out(stack, capsys):
    market = _market(stack, (Interval.H1,), NAMED[1:])
    assert market.symbols == NAMED[1:]
    assert capsys.readouterr().err == ""
