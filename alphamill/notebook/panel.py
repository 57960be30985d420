"""A panel with labels: from a lake, or from and to a frame of pandas or polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from alphamill import frames
from alphamill.errors import GiveUp
from alphamill.frames import FloatArray, IntArray, Interval
from alphamill.notebook.names import interval_named, unknown

if TYPE_CHECKING:
    import polars as pl

_TIME, _SYMBOL = "open_time", "symbol"


class Panel(frames.Panel):
    """PANEL with labels: fields -> float64 (bars, symbols), on one regular grid of bars.

    `panel["close"]` is the plain array, whose rows are `panel.times` (open times, UTC) and whose
    columns are `panel.symbols`; NaN where the exchange has no bar.

        panel = am.lake().panel(["BTCUSDT", "ETHUSDT"], "1h", "2024-01-01")
        panel.to_pandas("close")               # open_time x symbol
        panel.to_pandas()                      # (open_time, symbol) x field, as alphalens has it
        am.Panel.from_pandas(frame)            # the reverse of the latter
    """

    __slots__ = ()

    @property
    def times(self) -> pd.DatetimeIndex:
        """Open times of the rows, UTC."""
        return time_index(self.times_ms)

    def to_pandas(self, field: str | None = None) -> pd.DataFrame:
        """All fields: rows (open_time, symbol), a float64 column a field. One field: wide,

        rows open_time, columns symbols. Every bar of the grid is a row; NaN where there is none.
        Raises GiveUp for a field that the panel lacks.
        """
        if field is not None:
            if field not in self.fields:
                raise unknown("field", field, self.fields, " in the panel")
            return wide(self, self.fields[field])
        index = pd.MultiIndex.from_product([self.times, self.symbols], names=[_TIME, _SYMBOL])
        return pd.DataFrame(
            {name: values.ravel() for name, values in self.fields.items()}, index=index
        )

    def to_polars(self) -> pl.DataFrame:
        """All fields: open_time (ms, UTC), symbol, and a Float64 column a field. Needs polars."""
        polars = _polars()
        times = np.repeat(self.times_ms, len(self.symbols))
        columns = {_TIME: times, _SYMBOL: list(self.symbols) * self.n_bars}
        frame: pl.DataFrame = polars.DataFrame(
            columns | {name: values.ravel() for name, values in self.fields.items()}
        ).with_columns(polars.col(_TIME).cast(polars.Datetime("ms", "UTC")))
        return frame

    @classmethod
    def from_pandas(
        cls,
        frame: pd.DataFrame | Mapping[str, pd.DataFrame],
        interval: str | Interval | None = None,
    ) -> Self:
        """From what `to_pandas` gives: rows (open_time, symbol), or columns of these names.

        frame: or field -> a wide frame (open_time x symbol). Times without a zone are UTC; rows may
        come in any order, and a bar that has none is NaN. interval: the bars' length; by default
        the shortest step seen. Raises GiveUp for rows that come twice, lie off the grid or have no
        number.
        """
        if isinstance(frame, Mapping):
            stacked = {name: one.stack(future_stack=True) for name, one in frame.items()}
            frame = pd.DataFrame(stacked)
            frame.index.names = [_TIME, _SYMBOL]
        if set(frame.index.names) >= {_TIME, _SYMBOL}:
            frame = frame.reset_index()
        for needed in (_TIME, _SYMBOL):
            if needed not in frame.columns:
                raise GiveUp(
                    f"a frame needs {_TIME} and {_SYMBOL}, as columns or as its index; "
                    f"this one has no {needed}"
                )
        times = pd.DatetimeIndex(pd.to_datetime(frame[_TIME], utc=True))
        times_ms = times.as_unit("ms").asi8
        names = [str(name) for name in frame.columns if name not in (_TIME, _SYMBOL)]
        columns = {name: _numbers(name, frame[name]) for name in names}
        return cls._of_rows(times_ms, frame[_SYMBOL].astype(str).to_numpy(), columns, interval)

    @classmethod
    def from_polars(cls, frame: pl.DataFrame, interval: str | Interval | None = None) -> Self:
        """From what `to_polars` gives; otherwise as `from_pandas`. Null is NaN."""
        polars = _polars()
        for needed in (_TIME, _SYMBOL):
            if needed not in frame.columns:
                raise GiveUp(f"a frame needs the columns {_TIME} and {_SYMBOL}; no {needed} here")
        times = frame[_TIME].cast(polars.Datetime("ms")).cast(polars.Int64).to_numpy()
        symbols = np.array(frame[_SYMBOL].to_list(), dtype=object)
        names = [name for name in frame.columns if name not in (_TIME, _SYMBOL)]
        columns = {
            name: np.array(frame[name].cast(polars.Float64).fill_null(np.nan)) for name in names
        }
        return cls._of_rows(times, symbols, columns, interval)

    @classmethod
    def _of_rows(
        cls,
        times_ms: IntArray,
        symbols: Any,
        columns: Mapping[str, FloatArray],
        interval: str | Interval | None,
    ) -> Self:
        if not len(times_ms):
            raise GiveUp("the frame has no row")
        opens = np.unique(times_ms)
        length = _interval_of(opens) if interval is None else interval_named(interval)
        names = tuple(dict.fromkeys(symbols.tolist()))
        number = {name: at for at, name in enumerate(names)}
        places = np.array([number[name] for name in symbols.tolist()])
        rows, beside = np.divmod(times_ms - opens[0], length.ms)
        if beside.any():
            first = pd.Timestamp(times_ms[np.flatnonzero(beside)[0]], unit="ms", tz="UTC")
            raise GiveUp(f"{first} does not lie on the grid of {length} bars from the first on")
        shape = (int(rows.max()) + 1, len(names))
        cells = rows * shape[1] + places
        if len(np.unique(cells)) < len(cells):
            twice = np.flatnonzero(np.bincount(cells) > 1)[0]
            time = pd.Timestamp(opens[0] + twice // shape[1] * length.ms, unit="ms", tz="UTC")
            raise GiveUp(f"{names[twice % shape[1]]} at {time} comes twice")
        fields = {}
        for name, column in columns.items():
            values = np.full(shape, np.nan)
            values.ravel()[cells] = column
            fields[name] = values
        grid_ms = opens[0] + length.ms * np.arange(shape[0], dtype=np.int64)
        return cls(length, grid_ms, names, fields)

    def __repr__(self) -> str:
        span = f"{self.times[0]:%Y-%m-%d %H:%M} to {self.times[-1]:%Y-%m-%d %H:%M} UTC"
        return (
            f"<Panel {self.n_bars:,} bars of {self.interval} x {len(self.symbols)} symbols, "
            f"{span}: {', '.join(self.fields)}>"
        )


def time_index(times_ms: IntArray) -> pd.DatetimeIndex:
    """Open times as UTC timestamps of millisecond resolution."""
    stamps = pd.DatetimeIndex(times_ms.astype("datetime64[ms]"), tz="UTC")
    return stamps.rename(_TIME)


def wide(panel: frames.Panel, values: FloatArray) -> pd.DataFrame:
    """Values (bars, symbols) with the panel's labels: rows open_time, columns symbol."""
    columns = pd.Index(panel.symbols, name=_SYMBOL)
    return pd.DataFrame(values, index=time_index(panel.times_ms), columns=columns)


def _numbers(name: str, column: pd.Series[Any]) -> FloatArray:
    try:
        numbers: FloatArray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise GiveUp(f"column {name} has values that are no number ({error})") from error
    return numbers


def _interval_of(opens_ms: IntArray) -> Interval:
    """The interval whose length is the shortest step."""
    if len(opens_ms) < 2:
        raise GiveUp("one bar does not say its length: give interval='1h'")
    step = int(np.diff(opens_ms).min())
    found = [one for one in Interval if one is not Interval.MO1 and one.ms == step]
    if not found:
        raise GiveUp(f"the shortest step, {step / 60_000:g} minutes, is no interval: give interval")
    return found[0]


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise ImportError("polars is not installed here: pip install polars") from error
    return polars
