"""The same work on many cores of this machine, with a bar that shows how far it is."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import Pool
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def in_processes(
    work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, what: str, *, quiet: bool
) -> Iterator[Any]:
    """Results as they come. Ctrl-C ends the processes before it goes on to the caller.

    Their temporary files lie in a folder of this process, since who is ended cannot clear away.
    """
    if not tasks:
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="alphamill-bench-") as scratch,
        Progress(*columns, console=Console(stderr=True), disable=quiet) as progress,
        _pool(min(jobs, len(tasks)), scratch) as pool,
    ):
        bar = progress.add_task(what, total=len(tasks))
        for result in pool.imap_unordered(work, tasks):
            progress.advance(bar)
            yield result


def _pool(jobs: int, scratch: str) -> Pool:
    """Processes that ignore Ctrl-C from their first instruction: the parent alone answers it."""
    context = multiprocessing.get_context("spawn")  # arrow and numba have threads: no fork
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # spawned processes inherit it
    try:
        return context.Pool(jobs, _begin, (scratch,))
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(scratch: str) -> None:
    import pyarrow as pa

    tempfile.tempdir = scratch
    pa.set_cpu_count(1)  # the processes are the parallelism
