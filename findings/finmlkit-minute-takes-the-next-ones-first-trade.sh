#!/usr/bin/env bash
# finmlkit 0.1.11, pandas 2.2.3
#
# Expected: a minute bar holds the trades from its first millisecond up to, and without, the next minute's, as
# Binance's klines do, whose trades finmlkit brings a script for, and as pandas resamples; and its index is the time at
# which the bar opened, as the documentation of build_ohlcv() says.
#
# Happens: a trade stamped on the minute is counted in the minute before. Binance's stamps are in milliseconds, and
# much is traded in the first of a minute. A trade on the first minute's own edge, as at the beginning of a day's
# file, is in no bar. The index is the time at which the bar closes: joined by it with klines, whose time is the open,
# each row has what was traded a minute before.
#
# output seen:
#   finmlkit 0.1.11
#   trades of 1, 2, 3, 4, 5, 6 at 00:00:00.000, 00:00:30.000, 00:01:00.000, ... 00:02:30.000
#   finmlkit  00:01:00 2+3, 00:02:00 4+5, 00:03:00 6
#   pandas    00:00:00 1+2, 00:01:00 3+4, 00:02:00 5+6
#
# Do instead: build time bars with resample(); or give TradesData every stamp one nanosecond later and take the interval
# off the index: both agree then.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check finmlkit==0.1.11 pandas==2.2.3
cd "$work"
FMK_CONSOLE_LOGGER_LEVEL=ERROR "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from finmlkit.bar.data_model import TradesData
from finmlkit.bar.kit import TimeBarKit

print("finmlkit", version("finmlkit"))
minute = pd.Timedelta("1min")
start = pd.Timestamp("2026-01-01").value
stamps = start + 30_000_000_000 * np.arange(6)
quantities = np.array([1.0, 2, 3, 4, 5, 6])
IN_IT = {1.0: "1", 3.0: "1+2", 7.0: "3+4", 11.0: "5+6", 5.0: "2+3", 9.0: "4+5", 6.0: "6"}


def built(stamps):
    trades = TradesData(
        stamps,
        np.full(6, 100.0),
        quantities,
        np.arange(1, 7),
        is_buyer_maker=np.zeros(6, dtype=bool),
        timestamp_unit="ns",
        preprocess=True,
    )
    return TimeBarKit(trades, minute).build_ohlcv()["volume"]


def told(bars):
    return ", ".join(f"{moment:%H:%M:%S} {IN_IT[float(volume)]}" for moment, volume in bars.items())


print("trades of 1, 2, 3, 4, 5, 6 at 00:00:00.000, 00:00:30.000, 00:01:00.000, ... 00:02:30.000")
bars = built(stamps)
resampled = pd.Series(quantities, pd.to_datetime(stamps)).resample("1min").sum()
print("finmlkit ", told(bars))
print("pandas   ", told(resampled))
cured = built(stamps + 1)
cured.index = cured.index - minute

same = (
    told(bars) == "00:01:00 2+3, 00:02:00 4+5, 00:03:00 6"
    and told(resampled) == "00:00:00 1+2, 00:01:00 3+4, 00:02:00 5+6"
    and told(cured) == told(resampled)
)
raise SystemExit(0 if same else "no longer as described above")
PY
