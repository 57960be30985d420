"""What lies in a run's files, for readers that know nothing of alphamill."""

import math

import numpy as np
import pyarrow as pa
import pytest

from alphamill.evaluation import Segment
from alphamill.frames import Interval
from alphamill.lake import Lake
from alphamill.runs.panels import (
    PanelManifest,
    SegmentFacts,
    field_key,
    load_last_bars,
    load_panel,
    manifest_key,
    read_manifest,
    read_refusal,
    write_field,
    write_manifest,
    write_refusal,
)
from alphamill.runs.rows import RankedTrial, Trial
from alphamill.runs.schemas import (
    MINED_TRIALS,
    RANKING,
    TRIALS,
    interval_key,
    read_interval,
    read_rows,
    read_trials,
    rows_in,
    trials_key,
    write_rows,
)
from alphamill.settings import Tier

RUN, H1 = "mine-1f2e3d4c5b6a7988", Interval.H1


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def trial(**more):
    own = {"interval": H1, "status": "parsed", "round": 3, "tier": "quick_scan", "symbol": ""}
    return Trial(**own | more)


def test_what_the_path_states_is_in_the_row_and_not_in_the_file(lake):
    key, rows = trials_key(RUN, H1, 3, Tier.QUICK_SCAN, 0), [trial(hash="a"), trial(hash="b")]
    write_rows(lake, key, rows, TRIALS)
    assert not {"interval", "round", "tier", "run"} & {*lake.read(key).column_names}
    assert read_trials(lake, RUN, H1) == rows
    assert rows_in(lake, key)[1]["run"] == RUN
    published = f"runs/run={RUN}/trials.parquet"
    write_rows(lake, published, rows, MINED_TRIALS)
    assert {"interval", "round", "tier"} <= {*lake.read(published).column_names}
    assert read_rows(lake, f"runs/run={RUN}", Trial)[-2:] == rows


def test_a_file_of_older_code_has_its_own_columns(lake):
    key = trials_key(RUN, H1, 3, Tier.QUICK_SCAN, 0)
    lake.write(key, pa.Table.from_pylist([trial(hash="a").to_row()], schema=TRIALS), {})
    assert read_trials(lake, RUN, H1) == [trial(hash="a")]


def test_a_number_that_cannot_be_had_is_null_and_is_computed_with_as_nan(lake):
    numbers = dict.fromkeys(
        ("oriented_t", "bh_p", "n_effective", "sharpe_variance", "discovery_pbo", "pbo"), math.nan
    )
    row = RankedTrial(
        hash="a", expression="close", direction=1, n_trials=4, n_clusters=1, **numbers
    )
    key = interval_key(RUN, "ranking", H1, "ranking")
    write_rows(lake, key, [row], RANKING)
    stored = lake.read(key)
    assert [stored[name].null_count for name in numbers] == [1] * len(numbers)
    (back,) = read_interval(lake, RUN, "ranking", H1, RankedTrial)
    assert all(math.isnan(getattr(back, name)) for name in numbers)
    assert (back.library_correlation, back.n_trials) == (None, 4)


def sealed(lake, values):
    times = np.arange(len(values), dtype=np.int64) * H1.ms
    symbols = ("BTCUSDT", "ETHUSDT")
    key = field_key(RUN, H1, Segment.WHOLE, "close")
    fields = {"close": write_field(lake, key, times, symbols, values)}
    whole = SegmentFacts(0, len(values), 0, 0, fields)
    return key, PanelManifest(H1, symbols, (), "x", {Segment.WHOLE: whole})


def test_a_panel_has_null_in_the_file_and_nan_in_memory(lake):
    values = np.array([[1.5, np.nan], [np.nan, np.nan], [0.1 + 0.2, -0.0]])
    key, made = sealed(lake, values)
    write_manifest(lake, RUN, made)
    assert [lake.read(key)[name].null_count for name in made.symbols] == [1, 2]
    back = load_panel(lake, RUN, H1, Segment.WHOLE).panel["close"]
    assert back.tobytes() == values.tobytes()
    assert [key for key in lake.list(f"runs/run={RUN}/panel") if key[-8:] != ".parquet"] == []


def test_a_panel_of_older_code_is_found_where_it_lies(lake):
    _, made = sealed(lake, np.ones((3, 2)))
    write_manifest(lake, RUN, made)
    folder = f"runs/run={RUN}/panel/interval=1h"
    lake.write_bytes(f"{folder}/manifest.json", lake.read_bytes(manifest_key(RUN, H1)))
    lake.delete(manifest_key(RUN, H1))
    assert read_manifest(lake, RUN, H1) == made
    bars = pa.table({"symbol": ["BTCUSDT", "ETHUSDT"], "close": [1.0, 2.0]})
    lake.write(f"{folder}/segment=discovery/_last_bars.parquet", bars, {})
    assert load_last_bars(lake, RUN, H1, "ETHUSDT")["close"].to_pylist() == [2.0]


def test_a_refusal_of_older_code_is_found_where_it_lies(lake):
    write_refusal(lake, RUN, H1, "no bar")
    new = f"runs/run={RUN}/snapshot/interval=1h/refused.json"
    assert read_refusal(lake, RUN, H1) == "no bar"
    lake.write_bytes(f"runs/run={RUN}/panel/interval=1h/refused.json", lake.read_bytes(new))
    lake.delete(new)
    assert read_refusal(lake, RUN, H1) == "no bar"
