"""A run's panels in the lake: three segments of time, one file a field, and who may see what.

`runs/run=ID/panel/interval=1h/segment=discovery/close.parquet`, and what the snapshot holds in
`runs/run=ID/snapshot/interval=1h/manifest.json`, since some readers refuse a folder with more than
parquet. The manifest is written last and never again: a run's data cannot change under it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from alphamill.errors import GiveUp
from alphamill.evaluation import Segment
from alphamill.frames import KLINES, FloatArray, IntArray, Interval, Panel
from alphamill.lake import Lake, run_key
from alphamill.lake.listings import symbol_of
from alphamill.universe.record import Universe


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One segment's panel.

    start_ms: open time of its first bar, history included. bars: all bars, history included.
    history_bars: leading bars of the segment before, for look-back only. embargo_bars: bars after
    them whose labels or signals may overlap the segment before. fields: name -> content hash.
    """

    start_ms: int
    bars: int
    history_bars: int
    embargo_bars: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewListing:
    """A coin that took over a name: since when, and its first open over the last close before."""

    start_ms: int
    price_ratio: float


@dataclass(frozen=True, slots=True)
class PanelManifest:
    """What a panel snapshot holds. `snapshot` is a hash of all of its content.

    symbols: its columns. A coin that took over the name of another is a column of its own, named
    like "LUNAUSDT@2022-05-31" (`lake.listings`). ended: those that stopped trading before the panel
    ends; None in a snapshot of before they were noted. funding_unknown: bars a symbol whose funding
    the lake does not know; None on spot, which pays none, and in a snapshot without it.
    new_listings: by column; None in a snapshot of before they were told apart. universe: who
    belongs when; None where all do at all times. died: of its members, those that trade no more by
    the master list of the day died_as_of; None where there was no list.
    """

    interval: Interval
    symbols: tuple[str, ...]
    missing: tuple[str, ...]  # asked for, without a bar that trades in the range
    snapshot: str
    segments: Mapping[Segment, SegmentFacts]
    ended: tuple[str, ...] | None = None
    funding_unknown: Mapping[str, int] | None = None
    new_listings: Mapping[str, NewListing] | None = None
    universe: Universe | None = None
    died: tuple[str, ...] | None = None
    died_as_of: str = ""


@dataclass(frozen=True, slots=True)
class SegmentPanel:
    """A segment's panel. Only the bars of `scored` may be scored; those before warm factors up."""

    panel: Panel
    history_bars: int
    embargo_bars: int

    @property
    def scored(self) -> slice:
        """The rows that count. Labels near the end that need a later bar are NaN by themselves."""
        return slice(self.history_bars + self.embargo_bars, self.panel.n_bars)


_MANIFEST = TypeAdapter(PanelManifest)
_HOLDS, _REFUSED = "manifest.json", "refused.json"


def load_panel(
    lake: Lake,
    run_id: str,
    interval: Interval,
    segment: Segment | str,
    fields: Collection[str] | None = None,
) -> SegmentPanel:
    """A segment with just the fields asked for (default: all).

    Raises GiveUp if the run has no such panel, segment or field, or if a file is not the one that
    the manifest names.
    """
    segment = Segment(segment)
    manifest = read_manifest(lake, run_id, interval)
    if manifest is None:
        raise GiveUp(f"run {run_id} has no panel at {interval}")
    facts = manifest.segments.get(segment)
    if facts is None:
        raise GiveUp(f"the panel of run {run_id} has no segment {segment.value}")
    names = list(facts.fields) if fields is None else list(dict.fromkeys(fields))
    unknown = [name for name in names if name not in facts.fields]
    if unknown:
        raise GiveUp(f"the panel of run {run_id} has no field {', '.join(unknown)}")
    values = {
        name: _read_field(lake, field_key(run_id, interval, segment, name), manifest, facts, name)
        for name in names
    }
    times_ms = facts.start_ms + interval.ms * np.arange(facts.bars, dtype=np.int64)
    panel = Panel(interval, times_ms, manifest.symbols, values)
    return SegmentPanel(panel, facts.history_bars, facts.embargo_bars)


def read_manifest(lake: Lake, run_id: str, interval: Interval) -> PanelManifest | None:
    """What the run's panel holds, or None before it is complete. GiveUp for a damaged one."""
    for key in (manifest_key(run_id, interval), _old_key(run_id, interval, _HOLDS)):
        try:
            return _MANIFEST.validate_json(lake.read_bytes(key))
        except FileNotFoundError:
            continue
        except ValidationError as error:
            raise GiveUp(f"{key} is damaged: {error.errors()[0]['msg']}") from error
    return None


def write_last_bars(
    lake: Lake,
    run_id: str,
    interval: Interval,
    times_ms: IntArray,
    symbols: Sequence[str],
    fields: Mapping[str, FloatArray],
) -> None:
    """Write the last bars of discovery: symbol, open_time and a column a field.

    times_ms: (bars,); fields: name -> (bars, symbols).
    """
    columns: dict[str, Any] = {
        "symbol": pa.array(np.repeat(np.array(symbols), len(times_ms))),
        "open_time": pa.array(np.tile(times_ms, len(symbols)), pa.int64()).cast(
            pa.timestamp("ms", tz="UTC")
        ),
    }
    for name, values in fields.items():
        columns[name] = pa.array(values.T.ravel())
    lake.write(_last_bars_key(run_id, interval), pa.table(columns), {})


def load_last_bars(lake: Lake, run_id: str, interval: Interval, symbol: str) -> pa.Table:
    """A symbol's last discovery bars with every field, oldest first; no row for a missing one.

    Of several coins under the symbol the last that trades there.
    """
    import pyarrow.compute as pc  # makes its functions as it is imported: 30 ms

    try:
        table = lake.read(_last_bars_key(run_id, interval))
    except FileNotFoundError:
        table = lake.read(_old_key(run_id, interval, "segment=discovery/_last_bars.parquet"))
    names = [name for name in table["symbol"].unique().to_pylist() if symbol_of(name) == symbol]
    coins = [table.filter(pc.equal(table["symbol"], name)) for name in names]
    trading = [rows for rows in coins if pc.any(pc.is_finite(rows["close"])).as_py()]
    return [table.slice(0, 0), *coins[:1], *trading][-1]


def _last_bars_key(run_id: str, interval: Interval) -> str:
    return run_key(run_id, f"last_bars/interval={interval.value}/discovery.parquet")


def write_manifest(lake: Lake, run_id: str, manifest: PanelManifest) -> None:
    """Seal a panel. Every field of it must have been written before."""
    data = asdict(manifest)
    text = json.dumps(data, indent=1, sort_keys=True)
    lake.write_bytes(manifest_key(run_id, manifest.interval), text.encode())


def snapshot_of(
    hashes: Mapping[Segment, Mapping[str, str]], universe: Universe | None = None
) -> str:
    """A hash of all that a panel holds: of each segment's fields, and of who belongs when."""
    digest = hashlib.sha256()
    for segment, fields in hashes.items():
        for field in sorted(fields):
            digest.update(f"{segment.value} {field} {fields[field]}\n".encode())
    if universe is not None:
        digest.update(f"universe {universe.digest}\n".encode())
    return digest.hexdigest()


def write_refusal(lake: Lake, run_id: str, interval: Interval, reason: str) -> None:
    """Say why the run has no panel at that interval."""
    text = json.dumps({"reason": reason}, indent=1)
    lake.write_bytes(_refusal_key(run_id, interval), text.encode())


def read_refusal(lake: Lake, run_id: str, interval: Interval) -> str | None:
    """Why the run has no panel at that interval; None if it has one, or none was tried yet."""
    for key in (_refusal_key(run_id, interval), _old_key(run_id, interval, _REFUSED)):
        with contextlib.suppress(FileNotFoundError):
            reason = json.loads(lake.read_bytes(key))["reason"]
            return None if read_manifest(lake, run_id, interval) else str(reason)
    return None


def _refusal_key(run_id: str, interval: Interval) -> str:
    return run_key(run_id, f"snapshot/interval={interval.value}/{_REFUSED}")


def manifest_key(run_id: str, interval: Interval) -> str:
    """The key of a panel's manifest."""
    return run_key(run_id, f"snapshot/interval={interval.value}/{_HOLDS}")


def _old_key(run_id: str, interval: Interval, name: str) -> str:
    """Where runs of November 2026 have them: beside the segments."""
    return run_key(run_id, f"panel/interval={interval.value}/{name}")


def field_key(run_id: str, interval: Interval, segment: Segment, field: str) -> str:
    """The key of one field of a segment."""
    folder = f"panel/interval={interval.value}/segment={segment.value}"
    return run_key(run_id, f"{folder}/{field}.parquet")


def write_field(
    lake: Lake, key: str, times_ms: IntArray, symbols: tuple[str, ...], values: FloatArray
) -> str:
    """Write float64 (bars, symbols) as open_time and a column a symbol; the content's hash.

    NaN is null in the file, so that a filter of any reader finds what it should.
    """
    digest = content_hash(times_ms, symbols, values)
    columns: dict[str, Any] = {
        "open_time": pa.array(times_ms, pa.int64()).cast(KLINES.field("open_time").type)
    }
    for position, symbol in enumerate(symbols):
        columns[symbol] = pa.array(np.ascontiguousarray(values[:, position]), from_pandas=True)
    lake.write(key, pa.table(columns), {"content_hash": digest})
    return digest


def content_hash(times_ms: IntArray, symbols: tuple[str, ...], values: FloatArray) -> str:
    """A hash of what a field holds, however it is stored."""
    digest = hashlib.sha256(",".join(symbols).encode())
    digest.update(times_ms.tobytes())
    digest.update(values.tobytes())
    return digest.hexdigest()


def _read_field(
    lake: Lake, key: str, manifest: PanelManifest, facts: SegmentFacts, name: str
) -> FloatArray:
    try:
        stated = lake.metadata(key).get("content_hash")
        table = lake.read(key, manifest.symbols)
    except FileNotFoundError as error:
        raise GiveUp(f"{key} is gone; submit the run again with another salt") from error
    if stated != facts.fields[name] or table.num_rows != facts.bars:
        raise GiveUp(f"{key} is not the file that the panel's manifest names")
    values = np.empty((facts.bars, len(manifest.symbols)))
    for position, symbol in enumerate(manifest.symbols):
        values[:, position] = table[symbol].to_numpy()
    return values
