"""A market replayed from a folder of recordings."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from alphamill.errors import Misconfigured
from alphamill.frames import FloatArray, IntArray, Interval, Market, Wide, is_symbol
from alphamill.sim.market.bars import Bars, BoolArray, Settlements

_FILE = re.compile(r"(?P<symbol>\w+)-(?P<interval>\d{1,2}[smhdwM])\.parquet")
_CONTRACT = re.compile(r"\w+_(PERP|\d{6})-")  # symbols that only futures have
_log = logging.getLogger(__name__)
_FUNDING = "-fundingRate.parquet"
_NAMED = 20  # of the files that are not served
_HOUR_MS = 3_600_000
_PRICES = ("open", "high", "low", "close", "volume")
_EXTRAS = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
_INTERVALS = tuple(Interval)  # shortest first


class ReplaySource:
    """Recordings `SYMBOL-INTERVAL.parquet`, served exactly as recorded.

    The folder is either one market (`market` says which) or holds `spot`, `um`, `cm` folders.
    Columns: open_time (int64 or timestamp, ms), open, high, low, close, volume, and optionally
    quote_volume, trades, taker_buy_base, taker_buy_quote. Stand-ins for what a recording lacks:
    quote_volume is volume x (high + low + close) / 3, the others are 0. Funding, where it is
    recorded: `SYMBOL-fundingRate.parquet` of funding_time, funding_rate and, where it is known, a
    rate_type that says Special. Only recorded intervals are served; nothing is derived from them.
    Files are read when first asked for. What is named otherwise is not served, and said in the log.
    """

    def __init__(self, folder: Path, market: Market = Market.SPOT) -> None:
        self._folder = folder
        self._files: dict[tuple[Market, str], dict[Interval, Path]] = {}
        self._read: dict[Path, Bars] = {}
        self._rates: dict[tuple[Market, str], Path] = {}
        self._settled: dict[Path, Settlements] = {}
        for name in Market:
            self._find(folder / name, name)
        if self._files:
            self._say_beside(folder)
        else:
            if market is Market.SPOT:
                _refuse_futures(folder)
            self._find(folder, market)
        if not self._files:
            raise Misconfigured(
                "replay", f"{folder} has no SYMBOL-INTERVAL.parquet", "name a folder of recordings"
            )

    def symbols(self, market: Market) -> Sequence[str]:
        """Recorded symbols, sorted."""
        return sorted(symbol for where, symbol in self._files if where is market)

    def intervals(self, market: Market, symbol: str) -> Sequence[Interval]:
        """Recorded intervals, shortest first."""
        return sorted(self._files.get((market, symbol), {}), key=_INTERVALS.index)

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """The recording, or None."""
        path = self._files.get((market, symbol), {}).get(interval)
        if path is None:
            return None
        if path not in self._read:
            self._read[path] = read_recording(path)
        return self._read[path]

    def funding(self, market: Market, symbol: str) -> Settlements | None:
        """The recording `SYMBOL-fundingRate.parquet`, or None."""
        path = self._rates.get((market, symbol))
        if path is None or not market.has_funding:
            return None
        if path not in self._settled:
            self._settled[path] = read_funding_recording(path)
        return self._settled[path]

    def metrics(self, market: Market, symbol: str) -> None:  # noqa: ARG002  of the Protocol
        """None: recordings have none."""
        return

    def prices(self, market: Market, symbol: str, kind: Wide, interval: Interval) -> None:  # noqa: ARG002
        """None: recordings have none."""
        return

    def describe(self) -> Mapping[str, Any]:
        """Every recording with its first and last open time and its rows."""
        markets: dict[str, dict[str, dict[str, Any]]] = {}
        for (market, symbol), files in sorted(self._files.items()):
            ranges = markets.setdefault(market, {}).setdefault(symbol, {})
            for interval in files:
                bars = self.bars(market, symbol, interval)
                if bars is not None and len(bars):
                    ranges[interval] = {
                        "first_open_ms": int(bars.open_ms[0]),
                        "last_open_ms": int(bars.open_ms[-1]),
                        "rows": len(bars),
                    }
        return {"kind": "replay", "folder": self._folder.name, "markets": markets}

    def _say_beside(self, folder: Path) -> None:
        """Recordings beside the folders of markets belong to none of them."""
        beside = [path.name for path in sorted(folder.glob("*.parquet"))]
        if beside:
            _log.warning(
                "%s: %d files lie beside the folders of markets and are not served: %s",
                folder,
                len(beside),
                ", ".join(map(ascii, beside[:_NAMED])),
            )

    def _find(self, folder: Path, market: Market) -> None:
        passed_over = []
        for path in sorted(folder.glob("*.parquet")):
            # Some file systems (HFS+) give back other code points than those of the exchange.
            name = unicodedata.normalize("NFC", path.name)
            match = _FILE.fullmatch(name)
            if match and is_symbol(match["symbol"]) and match["interval"] in _INTERVALS:
                files = self._files.setdefault((market, match["symbol"]), {})
                files[Interval(match["interval"])] = path
            elif name.endswith(_FUNDING) and is_symbol(name.removesuffix(_FUNDING)):
                self._rates[market, name.removesuffix(_FUNDING)] = path
            else:
                passed_over.append(path.name)
        if passed_over:
            _log.warning(
                "%s: %d files are not named SYMBOL-INTERVAL.parquet and not served: %s",
                folder,
                len(passed_over),
                ", ".join(map(ascii, passed_over[:_NAMED])),
            )


def _refuse_futures(folder: Path) -> None:
    """Raise Misconfigured for recordings of futures, which would be served as spot."""
    where = folder.resolve()
    if where.name in (Market.USD_M, Market.COIN_M):
        raise Misconfigured(
            "replay",
            f"{where} is named as a market of futures, and its files would be served as spot",
            f"name the folder above it: {where.parent}",
        )
    found = [
        path.name
        for path in sorted(where.glob("*.parquet"))
        if path.name.endswith(_FUNDING) or _CONTRACT.match(path.name)
    ]
    if found:
        raise Misconfigured(
            "replay",
            f"{where} holds futures ({found[0]}), which would be served as spot",
            f"move its files into {where / Market.USD_M} (COIN-M: {Market.COIN_M}), name {where}",
        )


def read_recording(path: Path) -> Bars:
    """Bars of one parquet file, missing columns replaced by their stand-ins.

    Raises Misconfigured if a column is missing, times repeat, or a number is not finite.
    """
    times, columns = _columns(path, "open_time", _PRICES, _EXTRAS)
    nothing = np.zeros(len(times))
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3
    columns.setdefault("quote_volume", np.round(columns["volume"] * typical, 8))
    trades = columns.pop("trades", nothing).astype(np.int64)
    for name in ("taker_buy_base", "taker_buy_quote"):
        columns.setdefault(name, nothing)
    try:
        return Bars(open_ms=times, trades=trades, **columns)
    except ValueError as error:
        raise Misconfigured("replay", f"{path.name}: {error}", "repair the recording") from error


def read_funding_recording(path: Path) -> Settlements:
    """Settlements of one parquet file; hours are counted between them, marks are not recorded.

    Raises Misconfigured if a column is missing, or a number is not finite.
    """
    stamps, columns = _columns(path, "funding_time", ("funding_rate",))
    hours = np.rint(np.diff(stamps, prepend=stamps[:1] - 8 * _HOUR_MS) / _HOUR_MS)
    rates, marks = columns["funding_rate"], np.zeros(len(stamps))
    return Settlements(stamps, rates, hours.astype(np.int64), marks, _special(path, len(stamps)))


def _special(path: Path, rows: int) -> BoolArray:
    """Which rows of a file of funding, in order of time, are Special payments."""
    table = pq.read_table(path)
    if "rate_type" not in table.column_names:
        return np.zeros(rows, dtype=bool)
    order = np.argsort(table["funding_time"].cast("int64").to_numpy(), kind="stable")
    told = np.array(table["rate_type"].to_pylist(), dtype=object)
    special: BoolArray = told[order] == "Special"
    return special


def _columns(
    path: Path, time: str, needed: Sequence[str], optional: Sequence[str] = ()
) -> tuple[IntArray, dict[str, FloatArray]]:
    """The times of one parquet file and its columns, in order of time."""
    table = pq.read_table(path)
    missing = [name for name in (time, *needed) if name not in table.column_names]
    if missing:
        raise Misconfigured(
            "replay",
            f"{path.name} lacks {', '.join(missing)}",
            "alphamill sim exchange --help names the columns of a recording",
        )
    times = table[time].cast("int64").to_numpy()
    order = np.argsort(times, kind="stable")
    columns = {
        name: np.asarray(table[name].to_numpy(), dtype=np.float64)[order]
        for name in (*needed, *optional)
        if name in table.column_names
    }
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise Misconfigured("replay", f"{path.name} has numbers that are not finite", "drop them")
    return times[order], columns
