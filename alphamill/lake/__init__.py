"""The lake: parquet by key on a local disk or S3: klines, what is missing, what changed."""

from alphamill.lake.corrections import (
    CORRECTIONS,
    Change,
    bar_change,
    compared_at_ms,
    read_corrections,
    record_corrections,
)
from alphamill.lake.layout import AnySeries, FundingSeries, Series, run_key, stated_in
from alphamill.lake.manifest import Entry, Manifest, Missing, manifest, partitions
from alphamill.lake.months import (
    MonthFacts,
    Partition,
    load_partition,
    read_klines,
    read_partition,
    update_partition,
    write_klines,
)
from alphamill.lake.store import Lake, Unreadable

__all__ = [
    "CORRECTIONS",
    "AnySeries",
    "Change",
    "Entry",
    "FundingSeries",
    "Lake",
    "Manifest",
    "Missing",
    "MonthFacts",
    "Partition",
    "Series",
    "Unreadable",
    "bar_change",
    "compared_at_ms",
    "load_partition",
    "manifest",
    "partitions",
    "read_corrections",
    "read_klines",
    "read_partition",
    "record_corrections",
    "run_key",
    "stated_in",
    "update_partition",
    "write_klines",
]
