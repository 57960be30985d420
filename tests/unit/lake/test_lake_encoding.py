"""Which layout a column of a parquet file gets: one that every reader knows."""

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
    ("kind", "level"),
    [
        ("price", 1),  # digits that repeat nearby
        ("amount", 3),  # five decimals: digits that repeat further apart
        ("whole", 1),
        ("noise", 1),  # only sign and exponent can be packed
    ],
)
def test_digits_decide_how_far_a_column_is_searched(kind, level):
    layout = layout_of(column(kind))
    assert (layout.encoding, layout.level) == ("PLAIN", level)


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
    few, many = column("price"), column("amount")
    mixed = pa.chunked_array([few.chunk(0).slice(0, 100), *many.chunks])
    assert (layout_of(few).level, layout_of(mixed).level) == (1, 3)


# What Spark 3.5 and fastparquet read, of what parquet's writers choose from today.
KNOWN_TO_ALL = {"PLAIN", "RLE", "RLE_DICTIONARY", "DELTA_BINARY_PACKED"}


@pytest.mark.parametrize("kind", ["price", "amount", "whole", "noise", "gaps"])
def test_no_file_has_an_encoding_that_some_reader_refuses(tmp_path, kind):
    texts = pa.array(["a", None] * (N // 2))
    columns = {"x": column(kind), "name": texts, "flag": pa.array([True] * N)}
    columns |= {f"n{bits}": pa.array(range(N)).cast(f"int{bits}") for bits in (32, 64)}
    columns |= {"small": pa.array([1] * N, pa.int8()), "list": pa.array([[0.5, 1.0]] * N)}
    columns |= {"time": pa.array(range(N), pa.timestamp("ms", "UTC"))}
    Lake(str(tmp_path)).write("t.parquet", pa.table(columns), {})
    footer = pq.read_metadata(tmp_path / "t.parquet").row_group(0)
    for at in range(footer.num_columns):
        chunk = footer.column(at)
        assert {*chunk.encodings} <= KNOWN_TO_ALL, chunk.path_in_schema
        assert chunk.compression == "ZSTD"
