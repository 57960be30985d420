"""The lake on an S3 server over HTTP: races, refusals with their cures, and stages on top."""

import subprocess
import sys
import time
from importlib import import_module

import pyarrow as pa
import pytest

from alphamill.errors import Misconfigured, RetryLater
from alphamill.evaluation import Segment
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FeaturesJob, PanelJob, RunKind, RunSpec, ScoreJob
from alphamill.lake import Lake, MonthFacts, manifest, read_klines, write_klines
from alphamill.lake.s3 import S3Files
from alphamill.runs.panels import load_panel
from alphamill.runs.schemas import RunDeps, read_trials
from alphamill.stages import features, panel, score
from alphamill.stages.features import FeaturesDeps
from alphamill.stages.panel import PanelDeps
from alphamill.testing import put_klines, random_klines
from tests.deadlines import slowness, work_s
from tests.loopback import Handler, serving

HOUR_MS = 3_600_000
JANUARY = Month(2021, 1)
SERIES = (Market.SPOT, "BTCUSDT", Interval.H1)

# Two of these at one month: each adds its own bars one by one, as two overlapping fetches do.
ADDER = """
import sys
import pyarrow as pa
from alphamill.lake import Lake
lake, first = Lake(sys.argv[1]), int(sys.argv[2])
def add(n, stored):
    had = [] if stored is None else stored[0]["n"].to_pylist()
    return pa.table({"n": pa.array(sorted([*had, n]), pa.int64())}), {}
for n in range(first, first + 30):
    lake.update("a/race.parquet", lambda stored: add(n, stored))
"""


def test_two_processes_at_one_file_lose_nothing(s3_uri):
    racers = [
        subprocess.Popen([sys.executable, "-c", ADDER, s3_uri, str(first)]) for first in (0, 100)
    ]
    assert [racer.wait(work_s()) for racer in racers] == [0, 0]
    added = Lake(s3_uri).read("a/race.parquet")["n"].to_pylist()
    assert added == [*range(30), *range(100, 130)]


def test_the_race_is_real(s3_uri):
    """Without the condition, what was written between reading and writing is gone."""
    lake, rival = Lake(s3_uri), Lake(s3_uri)
    calls = []

    def change(stored):
        calls.append(stored and stored[0]["n"].to_pylist())
        if len(calls) == 1:
            rival.write("t.parquet", pa.table({"n": [1]}), {})
        had = stored[0]["n"].to_pylist() if stored else []
        return pa.table({"n": [*had, 2]}), {}

    lake.update("t.parquet", change)
    assert lake.read("t.parquet")["n"].to_pylist() == [1, 2]
    assert calls == [None, [1]]


def test_a_store_without_conditions_reads_back_what_it_wrote(s3_uri, monkeypatch):
    monkeypatch.setattr("alphamill.lake.s3._SETTLE_S", 0.0)
    files = S3Files(s3_uri)
    put = files._put
    refused = []

    def old_store(key, data, **condition):
        if condition:
            refused.append(condition)
            raise _no_conditions()
        return put(key, data)

    def _no_conditions():
        from alphamill.lake.s3 import _NoConditions

        return _NoConditions("cannot write: NotImplemented")

    monkeypatch.setattr(files, "_put", old_store)
    lake = Lake(s3_uri, files)
    for n in (1, 2):
        lake.update("t.parquet", lambda stored, n=n: (pa.table({"n": [n]}), {}))
    assert lake.read("t.parquet")["n"].to_pylist() == [2]
    assert len(refused) == 1, "asked once, then known"


def test_a_store_that_ignores_conditions_is_found_out(s3_uri, monkeypatch, caplog):
    files = S3Files(s3_uri)
    put = files._put
    monkeypatch.setattr(files, "_put", lambda key, data, **_: put(key, data))
    Lake(s3_uri, files).check_writable()
    assert "cannot write on a condition" in caplog.text
    assert Lake(s3_uri).list("") == []
    caplog.clear()
    Lake(s3_uri).check_writable()
    assert not caplog.text


def test_listing_takes_pages(s3_uri):
    lake = Lake(s3_uri, S3Files(s3_uri, page_keys=3))
    keys = [f"k/{n:02d}.json" for n in range(10)]
    for key in keys:
        lake.write_bytes(key, b"{}")
    assert lake.list("k") == keys


def test_the_manifest_remembers_by_etag(s3_uri, monkeypatch):
    lake = Lake(s3_uri)
    facts = MonthFacts("rest", JANUARY.range)
    write_klines(lake, *SERIES, JANUARY, random_klines(10, JANUARY.start_ms), facts)
    # `alphamill.lake.manifest` by itself is the function of that name.
    monkeypatch.setattr(import_module("alphamill.lake.manifest"), "_SETTLED_NS", -(10**12))
    assert manifest(lake, *SERIES).rows == 10
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "metadata", lambda *_: pytest.fail("read the file again"))
        assert manifest(lake, *SERIES).rows == 10
    write_klines(lake, *SERIES, JANUARY, random_klines(11, JANUARY.start_ms), facts)
    assert manifest(lake, *SERIES).rows == 11


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("s3://no-such-bucket-anywhere/lake", "there is no bucket 'no-such-bucket-anywhere'"),
        ("s3://UPPER_case!/lake", "cannot be a bucket's name"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_wrong_bucket_is_named_with_its_cure(s3_uri, uri, names):
    with pytest.raises(Misconfigured, match=names) as caught:
        Lake(uri).check_writable()
    assert caught.value.setting == "ALPHAMILL_LAKE"


def test_no_credentials(s3_uri, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Misconfigured, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Lake(s3_uri).check_writable()


def test_an_endpoint_that_nobody_listens_at_fails_soon(s3_uri, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started_s = time.monotonic()
    with pytest.raises(Misconfigured, match="AWS_ENDPOINT_URL"):
        Lake(s3_uri).check_writable()
    with pytest.raises(RetryLater, match=r"127\.0\.0\.1:9"):
        Lake(s3_uri).read_bytes("a.json")
    assert time.monotonic() - started_s < 15 * slowness()


def test_an_endpoint_that_is_no_url(s3_uri, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "store:9000")
    with pytest.raises(Misconfigured) as caught:
        Lake(s3_uri).check_writable()
    assert caught.value.setting == "AWS_ENDPOINT_URL"


class _Refusing(Handler):
    """Answers everything with one S3 error."""

    code, status = "AccessDenied", 403

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>"
        self.reply(self.status, body.encode(), {"Connection": "close"})

    do_PUT = do_GET = do_DELETE = answer


@pytest.mark.parametrize(
    ("status", "code", "setting"),
    [
        (403, "AccessDenied", "ALPHAMILL_LAKE"),
        (403, "SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", "AWS_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
    ],
)
def test_a_refusal_names_the_setting(s3_uri, monkeypatch, status, code, setting):
    handler = type("Refusing", (_Refusing,), {"status": status, "code": code})
    with serving(handler) as (_, url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(Misconfigured) as caught:
            Lake(s3_uri).check_writable()
    assert caught.value.setting == setting


def test_features_panel_and_scores_lie_on_s3_as_in_a_folder(s3_uri, tmp_path, monkeypatch):
    """The same stages over both; every artefact is equal, byte for byte."""
    monkeypatch.setattr(panel, "KLINE_FIELDS", ("open", "close", "volume"))
    monkeypatch.setattr(panel, "indicator_names", lambda interval: ("rsi_14",))
    bars = 700
    end_ms = JANUARY.start_ms + bars * HOUR_MS
    symbols = ("AAUSDT", "BBUSDT", "CCUSDT")
    spec = RunSpec(
        RunKind.EVALUATE,
        "lake",
        Market.SPOT,
        symbols,
        (Interval.H1,),
        JANUARY.start_ms,
        end_ms,
        expressions=("rank(close / ts_mean(close, 5))", "nonsense("),
    )
    there, here = Lake(s3_uri), Lake(str(tmp_path))
    for lake in (there, here):
        for seed, symbol in enumerate(symbols):
            where = (Market.SPOT, symbol, Interval.H1)
            put_klines(lake, symbol, random_klines(bars, JANUARY.start_ms, seed=seed))
            features.run(FeaturesJob(*where, JANUARY.start_ms, end_ms), FeaturesDeps(lake))
        panel.run(PanelJob(Interval.H1), PanelDeps(lake, spec))
        score.run(ScoreJob(Interval.H1), RunDeps(lake, spec.run_id, spec))
    keys = here.list("")
    assert there.list("") == keys
    assert len(keys) > 8
    for key in keys:
        assert there.read_bytes(key) == here.read_bytes(key), key
    assert load_panel(there, spec.run_id, Interval.H1, Segment.WHOLE).panel.n_bars == bars
    assert [trial.status for trial in read_trials(there, spec.run_id, Interval.H1)] == [
        "evaluated",
        "invalid",
    ]
    assert read_klines(there, *where, JANUARY.start_ms, end_ms).num_rows == bars
