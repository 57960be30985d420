"""The lake: parquet by key on a local disk or S3, klines by month, and what is missing."""

from alphamill.lake.klines import (
    KlineFacts,
    Partition,
    Span,
    load_partition,
    read_klines,
    read_partition,
    update_klines,
    write_klines,
)
from alphamill.lake.layout import Series, features_key, klines_key, run_key
from alphamill.lake.manifest import Entry, Manifest, Missing, manifest, partitions
from alphamill.lake.store import Lake, Unreadable

__all__ = [
    "Entry",
    "KlineFacts",
    "Lake",
    "Manifest",
    "Missing",
    "Partition",
    "Series",
    "Span",
    "Unreadable",
    "features_key",
    "klines_key",
    "load_partition",
    "manifest",
    "partitions",
    "read_klines",
    "read_partition",
    "run_key",
    "update_klines",
    "write_klines",
]
