"""Which layout a column of a parquet file gets."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphamill.lake import Lake
from alphamill.lake.encoding import layout_of

N = 20_000


def column(kind):
    rng = np.random.default_rng(3)
    made = {
        "price": lambda: np.round(100 + np.cumsum(rng.normal(0, 0.02, N)), 2),
        "amount": lambda: np.round(rng.lognormal(5, 0.7, N), 5),
        "whole": lambda: np.floor(rng.lognormal(9, 1, N)),
        "noise": lambda: rng.normal(size=N),
        "gaps": lambda: np.where(rng.random(N) < 0.5, np.nan, 1.5),
    }
    return pa.chunked_array([pa.array(made[kind]())])


@pytest.mark.parametrize(
    ("kind", "encoding", "level"),
    [
        ("price", "PLAIN", 1),  # digits that repeat nearby
        ("amount", "PLAIN", 3),  # five decimals: digits that repeat further apart
        ("whole", "BYTE_STREAM_SPLIT", 1),  # bytes that are zero
        ("noise", "BYTE_STREAM_SPLIT", 1),  # only sign and exponent can be packed
    ],
)
def test_digits_decide_how_a_column_is_laid_out(kind, encoding, level):
    layout = layout_of(column(kind))
    assert (layout.encoding, layout.level) == (encoding, level)


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (pa.array([1, 2], pa.int64()), "DELTA_BINARY_PACKED"),
        (pa.array([1, 2], pa.timestamp("ms")), "DELTA_BINARY_PACKED"),
        (pa.array([1, 2], pa.int8()), "PLAIN"),
        (pa.array([True, False]), None),
        (pa.array(["a", None]), None),
        (pa.array([], pa.float64()), "PLAIN"),
        (pa.array([None, None], pa.float64()), "PLAIN"),
        (pa.array([1.5, None], pa.float64()), "PLAIN"),
    ],
)
def test_other_columns_have_the_layout_of_their_type(values, encoding):
    assert layout_of(pa.chunked_array([values])).encoding == encoding


@pytest.mark.parametrize("kind", ["price", "amount", "whole", "noise", "gaps"])
def test_every_layout_comes_back_exact_and_as_plain_doubles(tmp_path, kind):
    lake, table = Lake(str(tmp_path)), pa.table({"x": column(kind)})
    lake.write("t.parquet", table, {})
    assert np.array_equal(lake.read("t.parquet")["x"], table["x"], equal_nan=True)
    stored = pq.read_metadata(tmp_path / "t.parquet")
    assert stored.schema.column(0).physical_type == "DOUBLE"
    assert stored.schema.column(0).logical_type.type == "NONE"
    assert stored.row_group(0).column(0).total_compressed_size < 8.05 * N


def test_all_chunks_of_a_column_are_looked_at():
    few, noise = column("price"), column("noise")
    mixed = pa.chunked_array([few.chunk(0).slice(0, 100), *noise.chunks])
    assert layout_of(mixed).encoding == "BYTE_STREAM_SPLIT"
