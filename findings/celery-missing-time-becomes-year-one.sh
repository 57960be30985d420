#!/usr/bin/env bash
# celery 5.7.0, kombu 5.7.0, pandas 3.1.1
#
# Expected: pandas' mark for "no time" (pandas.NaT) cannot be sent as a task argument, since JSON has no such
# value: the documentation of Python's json lists what it takes and has a TypeError for the rest, and NaT gets it.
# What kombu adds for Celery's messages are datetime, date, time, Decimal and UUID; numpy's NaT, numpy integers and
# pandas' Timedelta are refused by it.
#
# Happens: nobody complains. NaT counts as a datetime, so kombu writes it with datetime.isoformat(), which reads the
# C fields below: the worker is given a real, naive datetime of the year 1. A table of symbols with an open end
# (a coin still listed has no delisting time) sends year 1 for every living coin and a right, aware time for every
# dead one; a worker that loads bars up to that end then loads none.
#
# output seen:
#   celery 5.7.0, kombu 5.7.0, pandas 3.1.1
#   on the wire: {"end": {"__type__": "datetime", "__value__": "0001-01-01T00:00:00"}}
#   BTCUSDT  sent NaT                        received datetime.datetime(1, 1, 1, 0, 0)
#   LUNAUSDT sent 2022-05-13T00:00:00+00:00  received datetime.datetime(2022, 5, 13, 0, 0, tzinfo=datetime.timezone.utc)
#   the standard library's json: TypeError
#   numpy.datetime64('NaT') by kombu: EncodeError
#
# Do instead: turn missing times into None before publishing (value if pandas.notna(value) else None), or send
# integers of milliseconds. Refuse times before 1970 in the task.
#
# No issue of celery/kombu or celery/celery about this was found (searched in November 2026).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check celery==5.7.0 kombu==5.7.0 pandas==3.1.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import datetime
import json

import celery
import kombu
import kombu.exceptions
import kombu.serialization
import numpy as np
import pandas as pd
from celery.contrib.testing.worker import start_worker

print(f"celery {celery.__version__}, kombu {kombu.__version__}, pandas {pd.__version__}")
app = celery.Celery("listing", broker="memory://", backend="cache+memory://")
received = {}


@app.task
def fetch(symbol, end):
    received[symbol] = end


listing = pd.DataFrame(
    {"symbol": ["BTCUSDT", "LUNAUSDT"], "end": pd.to_datetime([None, "2022-05-13"], utc=True)}
)
_, _, wire = kombu.serialization.dumps({"end": pd.NaT}, serializer="json")
print("on the wire:", wire)
with start_worker(app, perform_ping_check=False, pool="solo", loglevel="ERROR"):
    for job in [fetch.delay(**row) for row in listing.to_dict("records")]:
        job.get(timeout=30)
for symbol, end in zip(listing.symbol, listing.end):
    print(f"{symbol:8} sent {end.isoformat():26} received {received[symbol]!r}")

try:
    json.dumps(pd.NaT)
    plain = "no error"
except TypeError as error:
    plain = type(error).__name__
print("the standard library's json:", plain)
try:
    kombu.serialization.dumps(np.datetime64("NaT"), serializer="json")
    of_numpy = "no error"
except kombu.exceptions.EncodeError as error:
    of_numpy = type(error).__name__
print("numpy.datetime64('NaT') by kombu:", of_numpy)

same = (
    received["BTCUSDT"] == datetime.datetime(1, 1, 1)
    and received["LUNAUSDT"] == datetime.datetime(2022, 5, 13, tzinfo=datetime.timezone.utc)
    and plain == "TypeError"
    and of_numpy == "EncodeError"
)
raise SystemExit(0 if same else "no longer as described above")
PY
