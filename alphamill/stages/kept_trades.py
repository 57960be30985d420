"""A day's trades on their way into the lake: on the disk, never whole in memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphamill.bars import Layout, Trades
from alphamill.bars.bars import prices
from alphamill.bars.trades import DECIMALS
from alphamill.errors import Misconfigured
from alphamill.lake import Lake
from alphamill.lake.days import DaySeries

_TIME = pa.timestamp("us", tz="UTC")
TRADES = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # of the trade or of the aggregate
        pa.field("time", _TIME, nullable=False),  # of an aggregate its first fill
        pa.field("price", pa.float64(), nullable=False),  # quote per base
        pa.field("quantity", pa.float64(), nullable=False),  # base units; contracts on COIN-M
        pa.field("is_buyer_maker", pa.bool_(), nullable=False),  # True where the taker sold
    ]
)
AGG_TRADES = pa.schema(
    [
        *TRADES,
        pa.field("first_id", pa.int64(), nullable=False),  # of its fills
        pa.field("last_id", pa.int64(), nullable=False),
    ]
)
_WHOLE = {"id", "time", "first_id", "last_id"}
_ROWS = 1 << 19  # of a row group


class KeptTrades:
    """The trades that a reader was given last; a context."""

    def __init__(self, layout: Layout) -> None:
        self._schema = AGG_TRADES if layout.aggregates else TRADES
        self._path = ""
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._n_held = 0
        self._last_id = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    def begin(self) -> None:
        """Begin anew: what was added so far is forgotten. Raises Misconfigured without room."""
        self._drop()
        try:
            handle, self._path = tempfile.mkstemp(prefix="alphamill-", suffix=".parquet")
        except OSError as error:
            raise _no_room(error) from error
        os.close(handle)
        self._writer = pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            use_dictionary=False,
            column_encoding=dict.fromkeys(_WHOLE & {*self._schema.names}, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )
        self._last_id = -1

    def add(self, trades: Trades) -> None:
        """The next piece, in order of ids; a row that stands twice is kept once."""
        new = np.concatenate(([self._last_id], trades.id[:-1])) != trades.id
        self._last_id = int(trades.id[-1])
        self._held.append(self._table(trades if new.all() else trades[new]))
        self._n_held += self._held[-1].num_rows
        if self._n_held >= _ROWS:
            self._flush()

    def put(self, lake: Lake, series: DaySeries, time_ms: int) -> None:
        """Into the lake, whole, as those of the day that holds `time_ms`."""
        assert self._writer is not None  # noqa: S101  a reader has begun
        self._flush()
        try:
            self._writer.close()
        except OSError as error:
            raise _no_room(error) from error
        self._writer = None
        with pa.memory_map(self._path) as file:
            lake.write_bytes(series.key(time_ms), file.read_buffer())

    def _flush(self) -> None:
        if self._held and self._writer is not None:
            try:
                self._writer.write_table(pa.concat_tables(self._held), _ROWS)
            except OSError as error:
                raise _no_room(error) from error
        self._held, self._n_held = [], 0

    def _table(self, trades: Trades) -> pa.Table:
        columns = {
            "id": trades.id,
            "time": pa.array(trades.time_us).view(_TIME),
            "price": prices(trades.price, DECIMALS),
            "quantity": prices(trades.quantity, trades.quantity_decimals),
            "is_buyer_maker": trades.is_buyer_maker,
        }
        if trades.first_id is not None and trades.last_id is not None:
            columns |= {"first_id": trades.first_id, "last_id": trades.last_id}
        return pa.table(columns, schema=self._schema)

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._path:
            Path(self._path).unlink()
            self._path = ""
        self._held, self._n_held = [], 0


def _no_room(error: OSError) -> Misconfigured:
    return Misconfigured(
        "TMPDIR", f"a day's trades cannot be kept ({error})", "name a folder with room"
    )
