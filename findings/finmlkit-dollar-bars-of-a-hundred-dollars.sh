#!/usr/bin/env bash
# finmlkit 0.1.11
#
# Expected: of dollar bars with a threshold of one million each but the last holds a million or more. Its
# documentation says that a new bar is opened when the cumulative dollar value meets or exceeds the threshold, and its
# volume bars begin from nothing each time.
#
# Happens: a dollar bar takes one threshold off its sum and keeps the rest. After a block of 5.2 million the sum still
# stands above the threshold, so each of the next four trades is a bar of its own, of 100 dollars in place of a million;
# a block worth a thousand thresholds is followed by a thousand such bars. They come just where the market moved
# most, count as whole bars, and have open = high = low = close. The first trade of the data is in no bar at all.
#
# output seen:
#   finmlkit 0.1.11
#   41 trades of 100 dollars, the one at 20 s a block of 5.2 million; threshold 1,000,000
#   00:00:20  trades 20  dollars 5,212,302
#   00:00:21  trades  1  dollars 100
#   00:00:22  trades  1  dollars 100
#   00:00:23  trades  1  dollars 100
#   00:00:24  trades  1  dollars 100
#   the same trades in volume bars of 10,000: 00:00:20 trades 20
#
# Do instead: drop bars below the threshold, or group by hand: begin a bar anew after each one that closed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check finmlkit==0.1.11
cd "$work"
FMK_CONSOLE_LOGGER_LEVEL=ERROR "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from finmlkit.bar.data_model import TradesData
from finmlkit.bar.kit import DollarBarKit, VolumeBarKit

print("finmlkit", version("finmlkit"))
count, block = 41, 20
start = 1_767_225_600_000  # 2026-01-01
quantities = np.ones(count)
quantities[block] = 52_000
trades = TradesData(
    start + 1000 * np.arange(count),
    100 + 0.01 * np.arange(count),
    quantities,
    np.arange(1, count + 1),
    is_buyer_maker=np.zeros(count, dtype=bool),
    timestamp_unit="ms",
    preprocess=True,
)
print("41 trades of 100 dollars, the one at 20 s a block of 5.2 million; threshold 1,000,000")
bars = DollarBarKit(trades, 1e6).build_ohlcv()
dollars = (bars["volume"] * bars["vwap"]).tolist()
for moment, number, worth in zip(bars.index, bars["trades"], dollars):
    print(f"{moment:%H:%M:%S}  trades {number:2}  dollars {worth:,.0f}")
volume = VolumeBarKit(trades, 10_000).build_ohlcv()
told = ", ".join(f"{moment:%H:%M:%S} trades {number}" for moment, number in volume["trades"].items())
print("the same trades in volume bars of 10,000:", told)

same = (
    bars["trades"].tolist() == [20, 1, 1, 1, 1]
    and all(100 < worth < 101 for worth in dollars[1:])
    and volume["trades"].tolist() == [20]
)
raise SystemExit(0 if same else "no longer as described above")
PY
