#!/usr/bin/env bash
# ccxt 4.5.90
#
# Expected: binance.fetch_trades(symbol, since) gives the first trades at or after `since`, as its documentation says
# ("timestamp in ms of the earliest trade to fetch") and as the exchange does for startTime alone; so that paging on
# from the last trade until a page is empty brings all of them.
#
# Happens: ccxt adds endTime = since + 1 hour, which nobody asked for. A symbol that did not trade for an hour gives an
# empty page although trades follow, which looks like the end. Paging as most programs do stops there, without an error:
# in the example it brings 3 of 7 trades. The request and the exchange's rule (startTime and endTime both bound the
# answer) are all there is to it; no network is used here.
#
# output seen:
#   ccxt 4.5.90
#   asked with since alone: startTime=1640995200000 endTime=1640998800000
#   spot: 3 of 7 trades by paging on from the last one; the day's last is at 00:40, of 23:00
#   swap: 3 of 7 trades by paging on from the last one; the day's last is at 00:40, of 23:00
#   with an `until` of one's own: 7 of 7
#
# Do instead: give params={"until": ...} with the end that is meant, or page by fromId, which cannot be empty before the
# end.
#
# Known in part: a comment in its source gives the hour as what the exchange once demanded; that an empty page is no end
# is not said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check ccxt==4.5.90
cd "$work"
"$work/venv/bin/python" - <<'PY'
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import ccxt

print(f"ccxt {ccxt.__version__}")
START, MINUTE, HOUR, DAY = 1_640_995_200_000, 60_000, 3_600_000, 86_400_000
TIMES = [START + minute * MINUTE for minute in (0, 20, 40)]  # then more than an hour of silence
TIMES += [START + hour * HOUR for hour in (3, 4, 9, 23)]
ASKED = []


def exchange(kind):
    """A client whose answers are those of the exchange's documented rule, with one market."""
    client = ccxt.binance({"options": {"defaultType": kind}})
    swap = kind == "swap"
    symbol = "BTC/USDT:USDT" if swap else "BTC/USDT"
    market = dict.fromkeys(("settleId", "expiry", "strike", "optionType", "contractSize"))
    market |= {"id": "BTCUSDT", "symbol": symbol, "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT"}
    market |= {"type": kind, "spot": not swap, "swap": swap, "contract": swap, "future": False, "option": False}
    market |= {"linear": swap or None, "inverse": False if swap else None, "settle": "USDT" if swap else None}
    market |= {"active": True, "precision": {"amount": 8, "price": 2}, "limits": {}, "info": {}}
    client.markets, client.markets_by_id = {symbol: market}, {"BTCUSDT": [market]}
    client.symbols, client.ids = [symbol], ["BTCUSDT"]

    def answer(url, method="GET", headers=None, body=None):
        query = {name: int(one[0]) for name, one in parse_qs(urlsplit(url).query).items() if one[0].isdigit()}
        ASKED.append(query)
        end = query.get("endTime", START + 10 * DAY)
        inside = [time for time in TIMES if query["startTime"] <= time <= end]
        return [
            {"a": TIMES.index(time), "p": "1.0", "q": "1.0", "f": 1, "l": 1, "T": time, "m": True, "M": True}
            for time in inside[:1000]
        ]

    client.fetch = answer
    return client, symbol


def paged(kind, **params):
    client, symbol = exchange(kind)
    since, found = START, {}
    while page := [one for one in client.fetch_trades(symbol, since=since, params=params) if one["id"] not in found]:
        found |= {one["id"]: one["timestamp"] for one in page}
        since = page[-1]["timestamp"]
    return found


results = {kind: paged(kind) for kind in ("spot", "swap")}
print("asked with since alone: " + " ".join(f"{name}={value}" for name, value in sorted(ASKED[0].items(), reverse=True)))
for kind, found in results.items():
    last = datetime.fromtimestamp(max(found.values()) / 1000, UTC)
    print(
        f"{kind}: {len(found)} of {len(TIMES)} trades by paging on from the last one; "
        f"the day's last is at {last:%H:%M}, of 23:00"
    )
whole = len(paged("spot", until=START + DAY))
print(f"with an `until` of one's own: {whole} of {len(TIMES)}")
same = [len(found) for found in results.values()] == [3, 3] and whole == 7
raise SystemExit(0 if same else "no longer as described above")
PY
