"""Once an hour the bars of what is followed are read again, and what was published held to them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from alphamill.errors import AlphamillError
from alphamill.jobs import FetchJob
from alphamill.stages.fetch import FetchDeps
from alphamill.stages.fetch import run as run_fetch
from alphamill.stages.registry import task_name
from workers.app import app
from workers.resources import Resources, resources

if TYPE_CHECKING:
    from alphamill.live.register import Entry

_log = logging.getLogger(__name__)

CHECK_LIVES = task_name("check_lives")


@app.task(name=CHECK_LIVES, send_events=False)  # type: ignore[untyped-decorator]  # Celery has no types
def check_lives() -> str:
    """Check the parity of every live. Two at once do the same twice, and no harm."""
    from alphamill.live.register import Register

    process = resources()
    lake = process.lake(process.settings.lake_uri)
    said = []
    entries, damaged = Register(lake).survey()
    for problem in damaged.values():
        said.append(problem)
        _log.warning("not all lives can be read: %s", problem)
    for entry in entries:
        try:
            said.append(f"{entry.id}: {_check(process, entry)}")
        except AlphamillError as error:  # the next hour tries again
            said.append(f"{entry.id}: {error}")
            _log.warning("live %s is not checked: %s", entry.id, error)
    return "; ".join(said) or "nothing is followed"


def _check(process: Resources, entry: Entry) -> str:
    # It loads pandas, a quarter of what a worker of any pool takes to start.
    from alphamill.live.follow_up import check, fetch_bars

    market, lake = entry.spec.market, process.lake(process.settings.lake_uri)
    exchange = process.exchange(market)
    deps = FetchDeps(exchange, lake, process.archive(market), process.clock)

    def fetch(job: FetchJob) -> object:
        return run_fetch(job, deps)

    now_ms = exchange.server_time_ms()
    if problem := fetch_bars(entry, fetch, lake, now_ms):
        _log.info("live %s: not all bars could be read yet: %s", entry.id, problem)
    parity, checked = check(lake, entry, now_ms)
    if not parity.holds:
        first = next(one for one in parity.differences if one.because is None)
        _log.error(
            "live %s: row %d (%s) differs from batch for no known reason: alphamill live parity",
            entry.id,
            first.seq,
            first.symbol,
        )
    return f"{parity.rows} rows compared, {checked.rows} in all"
