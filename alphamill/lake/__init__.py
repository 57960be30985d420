"""The lake: parquet by key on a local disk or S3: klines, what is missing, what changed.

In a notebook `alphamill.lake(path)` opens one to be read: see docs/python.md.
"""

import sys
from typing import TYPE_CHECKING, Any

from alphamill.on_demand import OnDemand

if TYPE_CHECKING:
    from alphamill.lake.corrections import (
        CORRECTIONS,
        Change,
        bar_change,
        compared_at_ms,
        read_corrections,
        record_corrections,
    )
    from alphamill.lake.layout import (
        AnySeries,
        FundingSeries,
        IndexSeries,
        MarkSeries,
        MetricsSeries,
        PremiumSeries,
        Series,
        run_key,
        stated_in,
    )
    from alphamill.lake.manifest import Entry, Manifest, Missing, manifest, partitions
    from alphamill.lake.months import (
        MonthFacts,
        Partition,
        load_partition,
        read_klines,
        read_partition,
        read_series,
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
    "IndexSeries",
    "Lake",
    "Manifest",
    "MarkSeries",
    "MetricsSeries",
    "Missing",
    "MonthFacts",
    "Partition",
    "PremiumSeries",
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
    "read_series",
    "record_corrections",
    "run_key",
    "stated_in",
    "update_partition",
    "write_klines",
]


class _Opens(OnDemand):
    """This package, which a notebook calls: `import alphamill as am; am.lake(path)`."""

    def __call__(self, uri: Any = None) -> Any:
        """See `alphamill.notebook.lake.open_lake`, which stands above this room."""
        from alphamill import open_lake

        return open_lake(uri)


sys.modules[__name__].__class__ = _Opens
