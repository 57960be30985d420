"""Bars made of shorter ones, as the exchange makes them."""

import numpy as np
import pandas as pd
import pytest

from alphamill.frames.coarser import coarser

MINUTE = 60_000


def test_two_bars_are_one_by_hand():
    fields = {
        "open": [1.0, 2.0, 3.0, 4.0, 9.0],
        "high": [5.0, 2.5, 3.5, 7.0, 9.0],
        "low": [0.5, 2.0, 3.0, 1.0, 9.0],
        "close": [2.0, 2.2, 3.1, 6.0, 9.0],
        "volume": [10.0, 20.0, 30.0, 40.0, 9.0],
        "trades": [1.0, 2.0, 3.0, 4.0, 9.0],
    }
    found = coarser({name: np.array(values) for name, values in fields.items()}, 2)
    assert {name: values.tolist() for name, values in found.items()} == {
        "open": [1.0, 3.0],
        "high": [5.0, 7.0],
        "low": [0.5, 1.0],
        "close": [2.2, 6.0],
        "volume": [30.0, 70.0],
        "trades": [3.0, 7.0],
    }


@pytest.mark.parametrize("missing", [0, 1])
def test_a_longer_bar_of_which_one_is_missing_is_missing(missing):
    values = np.array([[1.0, 5.0], [2.0, 6.0]])
    values[missing, 0] = np.nan
    for name in ("open", "high", "low", "close", "quote_volume"):
        found = coarser({name: values}, 2)[name]
        assert np.isnan(found[0, 0])
        assert np.isfinite(found[0, 1])


def test_a_field_of_which_nobody_knows_how_it_adds_is_refused():
    with pytest.raises(ValueError, match="rsi_14: of columns of klines"):
        coarser({"close": np.ones(2), "rsi_14": np.ones(2)}, 2)


def test_hours_made_of_minutes_are_those_that_the_exchange_gave(shared_data):
    """Two recordings of BTCUSDT by other hands; the exchange's own hour counts an outage's rest."""
    minutes = pd.read_parquet(shared_data / "klines/spot/BTCUSDT-1m.parquet")
    hours = pd.read_parquet(shared_data / "klines/spot/BTCUSDT-1h.parquet").set_index("open_time")
    first = int(minutes["open_time"].iloc[0])
    rows = (minutes["open_time"].to_numpy() - first) // MINUTE
    fields = {}
    for name in ("open", "high", "low", "close", "volume"):
        fields[name] = np.full(rows[-1] + 1, np.nan)
        fields[name][rows] = minutes[name]
    made = coarser(fields, 60)
    opens = first + 60 * MINUTE * np.arange(len(made["open"]))
    there = np.isin(opens, hours.index) & np.isfinite(made["open"])
    assert there.sum() > 2800
    for name, values in made.items():
        theirs = hours.loc[opens[there], name].to_numpy()
        np.testing.assert_allclose(values[there], theirs, rtol=1e-9, err_msg=name)
