"""The newest row of the 101 formulas at a bar's close, beside KunQuant's stream mode.

Both get the same bars in turn, in one process and thread: KunQuant a row of every field pushed, one
run and its outputs read, ours a Panel of the window made and `factors.Tail` asked, as a live's
engine does. Formulas are the 82 that KunQuant predefines; `adv20` is the mean of the volume there,
so it is here. Processor milliseconds a bar, medians; limits are ratios of theirs: 1.5 at 56
symbols, 1.0 at 512. Ours must have the bits of `compute` over the whole history. How far the values
of both agree is printed; KunQuant rounds the paper's windows where we cut them, has no
constant terms and has 0 for a correlation that is none.

KunQuant keeps running sums and compiles to C++ (some seconds, with g++, before it is timed); it is
left out where it or g++ is missing (pip install kunquant).
Run: python benchmarks/live_stream_peer.py [--bars 300] [--short]
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

from alphamill.evaluation.ranks import Ranked
from alphamill.factors import Factor, Tail, compute_many, parse, zoo
from alphamill.frames import Interval, Panel
from alphamill.grid import open_ms
from alphamill.testing import random_fields

Array = np.ndarray
LIMITS = {56: 1.5, 512: 1.0}
FIRST = 438_000  # number of the first bar
WARM_UP = 300  # bars; the formulas look back 250
FIELDS = ("open", "close", "high", "low", "volume", "amount")


def panel_of(fields: dict[str, Array], start: int, stop: int) -> Panel:
    times_ms = open_ms(Interval.H1, FIRST + start) + Interval.H1.ms * np.arange(stop - start)
    symbols = tuple(f"S{number}" for number in range(fields["close"].shape[1]))
    return Panel(
        Interval.H1, times_ms, symbols, {name: v[start:stop] for name, v in fields.items()}
    )


def formulas() -> dict[int, Factor]:
    """By their number: those without groups and capitalisations, which are KunQuant's."""
    return {
        number: parse(re.sub(r"adv(\d+)", r"ts_mean(volume, \1)", entry.expression))
        for number, entry in enumerate(zoo("alpha101"), 1)
        if "group_" not in entry.expression and "cap" not in entry.expression
    }


class Stream:
    """KunQuant's."""

    def __init__(self, library: object, numbers: Sequence[int], n_symbols: int) -> None:
        from KunQuant.runner import KunRunner

        executor = KunRunner.createSingleThreadExecutor()
        self._stream = KunRunner.StreamContext(executor, library.getModule("alphas"), n_symbols)
        self._inputs = {name: self._stream.queryBufferHandle(name) for name in FIELDS}
        self._outputs = [self._stream.queryBufferHandle(f"alpha{n:03d}") for n in numbers]

    def newest(self, fields: dict[str, Array], bar: int) -> Array:
        for name, handle in self._inputs.items():
            self._stream.pushData(handle, fields[name][bar])
        self._stream.run()
        return np.stack([self._stream.getCurrentBuffer(one) for one in self._outputs])


def compile_peer(numbers: Sequence[int], folder: str) -> object | None:
    try:
        from KunQuant.Driver import KunCompilerConfig
        from KunQuant.jit import cfake
        from KunQuant.Op import Builder, Input, Output
        from KunQuant.predefined import Alpha101
        from KunQuant.Stage import Function
    except ImportError as error:
        print(f"KunQuant left out: {error}")
        return None
    builder = Builder()
    with builder:
        data = Alpha101.AllData(**{name: Input(name) for name in FIELDS})
        for number in numbers:
            Output(getattr(Alpha101, f"alpha{number:03d}")(data), f"alpha{number:03d}")
    cpu = Path("/proc/cpuinfo")
    wide = cpu.exists() and "avx512vl" in cpu.read_text()
    config = KunCompilerConfig(
        input_layout="STREAM",
        output_layout="STREAM",
        dtype="double",
        blocking_len=8 if wide else 4,
        partition_factor=8,
        options={"opt_reduce": False, "fast_log": True},
    )
    try:
        return cfake.compileit(
            [("alphas", Function(builder.ops), config)],
            "alphas",
            cfake.CppCompilerConfig(),
            tempdir=folder,
            keep_files=True,
        )
    except (OSError, RuntimeError) as error:  # no g++
        print(f"KunQuant left out: {error}")
        return None


def check(factors: Sequence[Factor], fields: dict[str, Array], newest: Array) -> None:
    """That rows of the last bars are those of the whole history; newest: (bars, ...)."""
    n_bars = len(fields["close"])
    for index, values in compute_many(factors, panel_of(fields, 0, n_bars)):
        ours = newest[:, index].view(np.int64)
        whole = values[-len(newest) :].view(np.int64)
        nan = np.isnan(newest[:, index]) & np.isnan(values[-len(newest) :])
        assert ((ours == whole) | nan).all(), factors[index]
    assert np.isfinite(newest).mean() > 0.9


def alike(ours: Array, theirs: Array, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
    """The formulas with the same values, to six digits, and of the others those that order symbols
    alike: a rank correlation of 0.99 in the mean, either sign.
    """
    same, ordered = [], []
    for at, number in enumerate(numbers):
        one, two = ours[:, at], theirs[:, at]
        known = np.isfinite(one) & np.isfinite(two)
        if not known.any():
            continue
        near = np.abs(one - two) <= 1e-6 * np.maximum(np.abs(one), np.median(np.abs(one[known])))
        if (near | ~known).mean() >= 0.99:
            same.append(number)
            continue
        ranks = [Ranked.of(np.where(known, values, np.nan)).average for values in (one, two)]
        one, two = (values - np.nanmean(values, axis=1, keepdims=True) for values in ranks)
        spread = np.nansum(one**2, axis=1) * np.nansum(two**2, axis=1)
        cross = np.nansum(one * two, axis=1)[spread > 0] / np.sqrt(spread[spread > 0])
        if len(cross) and abs(cross.mean()) >= 0.99:
            ordered.append(number)
    return same, ordered


Rows = tuple[list[float], list[Array]]
"""Processor milliseconds of bars, and their values."""


def take(spent: Rows, run: Callable[[], Array]) -> None:
    start = time.process_time()
    values = run()
    spent[0].append((time.process_time() - start) * 1000)
    spent[1].append(values)


def in_turn(
    peer: Stream | None, factors: Sequence[Factor], fields: dict[str, Array], bars: int
) -> tuple[Rows, Rows]:
    """Of ours and of theirs, over the last `bars` bars."""
    tail, first = Tail(factors), len(fields["close"]) - bars
    own = {name: values for name, values in fields.items() if name != "amount"}
    ours: Rows = ([], [])
    theirs: Rows = ([], [])
    for bar in range(len(fields["close"])):
        if peer is not None:
            take(theirs, partial(peer.newest, fields, bar))
        if bar >= first - 5:  # the first plans, and loads the kernels
            take(ours, lambda at=bar: tail.newest(panel_of(own, at - tail.lookback_bars, at + 1)))
    check(factors, own, np.array(ours[1][-20:]))
    return (ours[0][-bars:], ours[1][-bars:]), (theirs[0][-bars:], theirs[1][-bars:])


def report(said: str, ours: Rows, theirs: Rows, limit: float, numbers: Sequence[int]) -> bool:
    """Print it; whether the limit is kept."""
    (spent, values), (peer_spent, peer_values) = ours, theirs
    ratio = float(np.median(spent) / np.median(peer_spent))
    assert np.isfinite(ratio), "no ratio"
    same, ordered = alike(np.array(values), np.array(peer_values), numbers)
    print(
        f"{said}; KunQuant {np.median(peer_spent):.2f}, p99 {np.quantile(peer_spent, 0.99):.2f}: "
        f"{ratio:.2f} times (limit {limit})\n  values of {len(same)} formulas are alike, and those "
        f"of {len(ordered)} in the same order; not of {sorted({*numbers} - {*same} - {*ordered})}",
        flush=True,
    )
    return ratio <= limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=300)
    parser.add_argument("--short", action="store_true", help="56 symbols, 20 bars, no limit")
    asked = parser.parse_args()
    bars = 20 if asked.short else asked.bars
    by_number = formulas()
    numbers, factors = tuple(by_number), list(by_number.values())
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        library = compile_peer(numbers, folder)
        for n_symbols, limit in list(LIMITS.items())[: 1 if asked.short else None]:
            fields = random_fields(WARM_UP + bars, n_symbols)
            fields["amount"] = fields["quote_volume"]  # KunQuant's name for it
            peer = None if library is None else Stream(library, numbers, n_symbols)
            ours, theirs = in_turn(peer, factors, fields, bars)
            said = (
                f"{n_symbols} symbols x {len(factors)} formulas, {bars} bars: "
                f"{np.median(ours[0]):.2f} ms, p99 {np.quantile(ours[0], 0.99):.2f}, bit-equal to "
                "the whole history"
            )
            if peer is None:
                print(said, flush=True)
            else:
                kept &= report(said, ours, theirs, limit, numbers)
    if not kept and not asked.short:
        raise SystemExit("slower than the limit")


if __name__ == "__main__":
    main()
