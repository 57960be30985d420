#!/usr/bin/env bash
# alphalens-reloaded 0.5.1, pandas 3.1.1
#
# Expected: a one-day forward return of a coin that has no price today or none tomorrow is missing, its row is
# dropped, and the line about dropped rows counts it: its documentation names want of price data as a reason to drop
# rows, and pandas 3 itself no longer fills in pct_change().
#
# Happens: alphalens fills prices forward before it takes returns. A coin whose trade is halted for three days earns
# 0.0 % a day meanwhile, and on the last of them, a day without a price, the whole jump of four days as a "one-day"
# return. A coin that was delisted goes on earning 0.0 % for ever, so it stays in the ranks and quantiles. None of these
# rows is dropped or counted: the line speaks of the last day alone. In the example the spread between the quantiles
# changes its sign.
#
# output seen:
#   alphalens-reloaded 0.5.1, pandas 3.1.1
#   4 coins, 10 days; HALT has no price on days 4 to 6, GONE none from day 6 on; the factor ranks AAA < BBB < HALT < GONE
#   one-day returns by alphalens, in %
#     HALT  0.0   0.0   0.0   0.0   0.0  30.0   0.0   0.0   0.0
#     GONE  0.0   0.0   0.0   0.0   0.0   0.0   0.0   0.0   0.0
#   the same with both prices there, in %
#     HALT  0.0   0.0     -     -     -     -   0.0   0.0   0.0
#     GONE  0.0   0.0   0.0   0.0     -     -     -     -     -
#   rows that alphalens dropped: 10.0 %; rows without both prices: 32.5 %
#   upper minus lower quantile a day, by alphalens:        +0.0119
#   upper minus lower quantile a day, from the true ones:  -0.0059
#
# Do instead: take the returns yourself, prices.shift(-n) / prices - 1, and hand them to get_clean_factor() in place of
# get_clean_factor_and_forward_returns(); or set the factor to NaN wherever a price from entry to exit is missing.
#
# Known in part: a comment in its source says that the behaviour of older pandas is kept; that halts and delistings are
# paid for is not said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check alphalens-reloaded==0.5.1 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import importlib.metadata
import io
import re

import alphalens
import numpy as np
import pandas as pd

print(f"alphalens-reloaded {importlib.metadata.version('alphalens-reloaded')}, pandas {pd.__version__}")
days = pd.date_range("2024-01-01", periods=10, freq="D", tz="UTC")
gone = np.nan
prices = pd.DataFrame(
    {
        "AAA": [100.0, 101, 102, 103, 104, 105, 106, 107, 108, 109],
        "BBB": [50.0] * 10,
        "HALT": [10.0, 10, 10, gone, gone, gone, 13, 13, 13, 13],
        "GONE": [8.0] * 5 + [gone] * 5,
    },
    index=days,
)
factor = pd.DataFrame({"AAA": 1.0, "BBB": 2.0, "HALT": 3.0, "GONE": 4.0}, index=days).stack()
factor.index.names = ["date", "asset"]
print(
    "4 coins, 10 days; HALT has no price on days 4 to 6, GONE none from day 6 on; "
    "the factor ranks AAA < BBB < HALT < GONE"
)


def cleaned(make, *arguments, **options):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        rows = make(factor, *arguments, quantiles=2, max_loss=0.99, **options)
    return rows, float(re.search(r"Dropped ([\d.]+)%", said.getvalue())[1])


def spread(rows):
    means = alphalens.performance.mean_return_by_quantile(rows)[0]["1D"]
    return round(float(means[2] - means[1]), 4)


def percents(returns, coin):
    return ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in returns[coin].iloc[:9]]


def show(title, returns):
    print(title)
    for coin in ("HALT", "GONE"):
        print(f"  {coin}", *(f"{value:>4} " for value in percents(returns, coin)))


by_alphalens, dropped = cleaned(alphalens.utils.get_clean_factor_and_forward_returns, prices, periods=(1,))
true = prices.shift(-1) / prices - 1
by_hand, missing = cleaned(alphalens.utils.get_clean_factor, true.stack().rename_axis(["date", "asset"]).to_frame("1D"))
wide = by_alphalens["1D"].unstack().reindex(days)
show("one-day returns by alphalens, in %", wide)
show("the same with both prices there, in %", true)
print(f"rows that alphalens dropped: {dropped} %; rows without both prices: {missing} %")
print(f"upper minus lower quantile a day, by alphalens:        {spread(by_alphalens):+.4f}")
print(f"upper minus lower quantile a day, from the true ones:  {spread(by_hand):+.4f}")

same = (
    percents(wide, "HALT") == ["0.0"] * 5 + ["30.0"] + ["0.0"] * 3
    and percents(wide, "GONE") == ["0.0"] * 9
    and percents(true, "HALT") == ["0.0"] * 2 + ["-"] * 4 + ["0.0"] * 3
    and (dropped, missing) == (10.0, 32.5)
    and (spread(by_alphalens), spread(by_hand)) == (0.0119, -0.0059)
)
raise SystemExit(0 if same else "no longer as described above")
PY
