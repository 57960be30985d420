"""panel: the grid, the cuts, and that discovery holds nothing of what comes later."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from alphamill import testing
from alphamill.errors import GiveUp
from alphamill.evaluation import Segment
from alphamill.frames import KLINE_FIELDS, KLINES, Interval, Market
from alphamill.indicators import indicator_names
from alphamill.jobs import FeaturesJob, PanelJob, RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.runs.panels import field_key, load_panel, manifest_key, read_manifest
from alphamill.settings import SegmentSettings
from alphamill.stages import features, panel
from alphamill.stages.features import FeaturesDeps, read_features
from alphamill.stages.panel import PanelDeps
from alphamill.testing import put_klines, random_klines
from alphamill.testing.frames import START_MS

HOUR_MS = 3_600_000
BARS = 1000
H1 = PanelJob(Interval.H1)


def spec_of(*symbols: str, bars: int = BARS, kind: RunKind = RunKind.MINE) -> RunSpec:
    segments = SegmentSettings(
        discovery_frac=0.6, validation_frac=0.2, horizon_bars=4, entry_lag_bars=1
    )
    return testing.spec_of(*symbols, n_bars=bars, kind=kind, segments=segments)


def with_features(lake: Lake, *symbols: str) -> None:
    for symbol in symbols:
        job = FeaturesJob(Market.SPOT, symbol, Interval.H1, START_MS, START_MS + BARS * HOUR_MS)
        features.run(job, FeaturesDeps(lake))


def loaded(lake: Lake, spec: RunSpec, segment: str, *fields: str):  # type: ignore[no-untyped-def]
    return load_panel(lake, spec.run_id, Interval.H1, segment, fields or None)


@pytest.fixture
def lake(lake: Lake) -> Lake:
    put_klines(lake, "AAUSDT", random_klines(BARS, seed=1))
    put_klines(lake, "BBUSDT", random_klines(BARS, seed=2))
    return lake


@pytest.fixture
def few_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of cuts and grids need not write every field."""
    monkeypatch.setattr(panel, "KLINE_FIELDS", ("close", "volume"))
    monkeypatch.setattr(panel, "indicator_names", lambda interval: ("rsi_14",))


def test_every_field_of_every_segment(lake: Lake) -> None:
    with_features(lake, "AAUSDT", "BBUSDT")
    spec = spec_of("BBUSDT", "AAUSDT", "GONEUSDT")
    facts = panel.run(H1, PanelDeps(lake, spec, history_bars=50))
    assert facts.symbols == ("AAUSDT", "BBUSDT")
    assert facts.missing == ("GONEUSDT",)
    assert facts.bars == {"discovery": 600, "validation": 200, "holdout": 200}
    assert facts.fields == len(KLINE_FIELDS) + len(indicator_names(Interval.H1))
    assert json.loads(json.dumps(facts.to_message()))["snapshot"] == facts.snapshot

    found = loaded(lake, spec, "validation")
    assert set(found.panel) == {*KLINE_FIELDS, *indicator_names(Interval.H1)}
    assert (found.history_bars, found.embargo_bars) == (50, 5)
    assert found.panel.n_bars == 250
    assert found.scored == slice(55, 250)
    rsi = read_features(
        lake, Market.SPOT, "BBUSDT", Interval.H1, START_MS, spec.end_ms, ["rsi_14"]
    )["rsi_14"].to_numpy()
    np.testing.assert_array_equal(found.panel["rsi_14"][:, 1], rsi[550:800])


def test_segments_follow_each_other_without_a_bar_between_or_twice(
    lake: Lake, few_fields: None
) -> None:
    spec = spec_of("AAUSDT")
    panel.run(H1, PanelDeps(lake, spec, history_bars=70))
    parts = [loaded(lake, spec, name, "close") for name in ("discovery", "validation", "holdout")]
    own = [part.panel.times_ms[part.history_bars :] for part in parts]
    np.testing.assert_array_equal(np.concatenate(own), START_MS + HOUR_MS * np.arange(BARS))
    closes = np.concatenate([part.panel["close"][part.history_bars :, 0] for part in parts])
    np.testing.assert_array_equal(closes, random_klines(BARS, seed=1)["close"].to_numpy())
    assert [part.embargo_bars for part in parts] == [0, 5, 5]
    assert [part.history_bars for part in parts] == [0, 70, 70]


def test_history_is_as_long_as_there_is_one(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    assert loaded(lake, spec, "validation", "close").history_bars == 600
    assert loaded(lake, spec, "validation", "close").panel.times_ms[0] == START_MS
    assert loaded(lake, spec, "holdout", "close").panel.times_ms[0] == START_MS + 200 * HOUR_MS


@pytest.mark.parametrize(
    ("row", "clean", "dirty"),
    [
        (600, {"discovery"}, {"validation", "holdout"}),
        (800, {"discovery", "validation"}, {"holdout"}),
    ],
)
def test_a_poisoned_bar_reaches_no_earlier_segment(
    tmp_path: Path, row: int, clean: set[str], dirty: set[str]
) -> None:
    """The whole bytes of each file, with every indicator computed from the poisoned bars."""
    sealed = {}
    for name in ("sound", "poisoned"):
        lake = Lake(str(tmp_path / name))
        table = random_klines(BARS, seed=1).to_pydict()
        if name == "poisoned":
            for field in KLINE_FIELDS:
                table[field][row] = 777_777
        put_klines(lake, "AAUSDT", pa.table(table, schema=KLINES))
        with_features(lake, "AAUSDT")
        spec = spec_of("AAUSDT")
        panel.run(H1, PanelDeps(lake, spec))
        sealed[name] = {k: lake.read_bytes(k) for k in lake.list("runs") if k.endswith("parquet")}
    assert sealed["sound"].keys() == sealed["poisoned"].keys()
    changed = {k for k in sealed["sound"] if sealed["sound"][k] != sealed["poisoned"][k]}
    touched = {s for s in clean | dirty if any(f"segment={s}/" in k for k in changed)}
    assert touched == dirty


def test_a_missing_bar_is_nan_and_late_symbols_begin_with_nan(lake: Lake, few_fields: None) -> None:
    holed = random_klines(BARS, seed=3)
    put_klines(lake, "CCUSDT", pa.concat_tables([holed.slice(0, 100), holed.slice(103)]))
    put_klines(lake, "DDUSDT", random_klines(300, START_MS + 700 * HOUR_MS))
    spec = spec_of("AAUSDT", "CCUSDT", "DDUSDT")
    panel.run(H1, PanelDeps(lake, spec, history_bars=0))
    close = loaded(lake, spec, "discovery", "close").panel["close"]
    assert np.flatnonzero(np.isnan(close[:, 1])).tolist() == [100, 101, 102]
    assert np.isnan(close[:, 2]).all()
    validation = loaded(lake, spec, "validation", "close").panel["close"]
    assert np.flatnonzero(~np.isnan(validation[:, 2]))[0] == 100


def test_the_grid_ends_where_the_bars_do(lake: Lake, few_fields: None) -> None:
    spec = replace(spec_of("AAUSDT"), end_ms=START_MS + 10 * BARS * HOUR_MS, start_ms=0)
    facts = panel.run(H1, PanelDeps(lake, spec))
    assert facts.bars == {"discovery": 600, "validation": 200, "holdout": 200}


def test_a_bar_off_the_grid_is_left_out(lake: Lake, few_fields: None) -> None:
    table = random_klines(200, seed=4)
    odd = pa.array([START_MS + 7 * HOUR_MS + 1]).cast(KLINES.field("open_time").type)
    shifted = table.slice(7, 1).set_column(0, KLINES.field("open_time"), odd)
    put_klines(lake, "ODDUSDT", pa.concat_tables([table.slice(0, 7), shifted, table.slice(8)]))
    spec = spec_of("ODDUSDT", "AAUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    close = loaded(lake, spec, "discovery", "close").panel["close"][:200, 1]
    assert np.flatnonzero(np.isnan(close)).tolist() == [7]


def test_indicators_of_a_symbol_without_features_are_nan(lake: Lake, few_fields: None) -> None:
    with_features(lake, "AAUSDT")
    spec = spec_of("AAUSDT", "BBUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    found = loaded(lake, spec, "discovery").panel
    assert np.isfinite(found["rsi_14"][14:, 0]).all()
    assert np.isnan(found["rsi_14"][:, 1]).all()
    assert np.isfinite(found["close"][:, 1]).all()


def test_small_batches_give_the_same_panel(
    lake: Lake, few_fields: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_features(lake, "AAUSDT")
    one = panel.run(H1, PanelDeps(lake, spec_of("AAUSDT")))
    monkeypatch.setattr(panel, "_BATCH_BYTES", 1)
    two = panel.run(H1, PanelDeps(lake, replace(spec_of("AAUSDT"), salt="again")))
    assert one.snapshot == two.snapshot


def test_a_complete_panel_is_never_changed(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT")
    first = panel.run(H1, PanelDeps(lake, spec))
    before = lake.versions("runs")
    put_klines(lake, "AAUSDT", random_klines(BARS, seed=9))
    again = panel.run(H1, PanelDeps(lake, spec))
    assert again == replace(first, skipped=True)
    assert lake.versions("runs") == before


def test_a_panel_broken_off_is_made_anew(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT")
    first = panel.run(H1, PanelDeps(lake, spec))
    lake.delete(manifest_key(spec.run_id, Interval.H1))
    lake.delete(field_key(spec.run_id, Interval.H1, Segment.HOLDOUT, "close"))
    with pytest.raises(GiveUp, match="no panel at 1h"):
        loaded(lake, spec, "discovery")
    assert panel.run(H1, PanelDeps(lake, spec)) == first


def test_a_file_that_the_manifest_does_not_name_is_refused(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    key = field_key(spec.run_id, Interval.H1, Segment.DISCOVERY, "close")
    lake.write(key, lake.read(key), {"content_hash": "other"})
    with pytest.raises(GiveUp, match="not the file"):
        loaded(lake, spec, "discovery", "close")
    lake.delete(key)
    with pytest.raises(GiveUp, match="gone"):
        loaded(lake, spec, "discovery", "close")
    assert loaded(lake, spec, "discovery", "volume").panel.n_bars == 600


def test_refuses_what_it_cannot_cut(lake: Lake, few_fields: None) -> None:
    with pytest.raises(GiveUp, match="no 1h bar of GONEUSDT"):
        panel.run(H1, PanelDeps(lake, spec_of("GONEUSDT")))
    with pytest.raises(GiveUp, match="1M bars"):
        panel.run(PanelJob(Interval.MO1), PanelDeps(lake, spec_of("AAUSDT")))
    with pytest.raises(GiveUp, match="50 bars of 1h make segments of 30, 10, 10 bars"):
        panel.run(H1, PanelDeps(lake, spec_of("AAUSDT", bars=50)))


def test_unknown_segments_and_fields_say_so(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    with pytest.raises(GiveUp, match="no field moon, sun"):
        loaded(lake, spec, "discovery", "close", "moon", "sun")
    with pytest.raises(GiveUp, match="no segment whole"):
        loaded(lake, spec, "whole")


def test_scoring_given_expressions_takes_the_whole_range(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT", bars=50, kind=RunKind.EVALUATE)
    facts = panel.run(H1, PanelDeps(lake, spec))
    assert facts.bars == {"whole": 50}
    found = loaded(lake, spec, "whole", "close")
    assert found.scored == slice(0, 50)


def test_symbols_that_stopped_trading_are_named_and_an_outage_is_none(
    lake: Lake, few_fields: None
) -> None:
    put_klines(lake, "DEADUSDT", random_klines(BARS - 200, seed=3))
    put_klines(lake, "LATEUSDT", random_klines(BARS - 300, START_MS + 300 * HOUR_MS, seed=4))
    put_klines(lake, "OUTUSDT", random_klines(BARS - 40, seed=5))  # 40 hours without a bar
    spec = spec_of("AAUSDT", "BBUSDT", "DEADUSDT", "LATEUSDT", "OUTUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    manifest = read_manifest(lake, spec.run_id, Interval.H1)
    assert manifest is not None
    assert manifest.ended == ("DEADUSDT",)


def test_a_snapshot_of_before_that_was_noted_still_opens(lake: Lake, few_fields: None) -> None:
    spec = spec_of("AAUSDT", "BBUSDT")
    panel.run(H1, PanelDeps(lake, spec))
    key = manifest_key(spec.run_id, Interval.H1)
    text = json.loads(lake.read_bytes(key))
    del text["ended"]
    lake.write_bytes(key, json.dumps(text).encode())
    manifest = read_manifest(lake, spec.run_id, Interval.H1)
    assert manifest is not None
    assert manifest.ended is None
