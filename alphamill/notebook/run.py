"""`am.run(id)`: what a run found, as frames; and waiting for one that is under way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

from alphamill.errors import AlphamillError, GiveUp
from alphamill.jobs import RunKind
from alphamill.lake import Lake, run_key
from alphamill.ledger import ENDED, RedisLedger, RunRecord, RunState
from alphamill.notebook.lake import open_lake
from alphamill.notebook.names import unknown
from alphamill.redis_store import connect
from alphamill.runs.failures import group_failures
from alphamill.runs.finished import published_runs
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import by_strength
from alphamill.runs.under_way import job_totals, record_of
from alphamill.settings import load_settings

_LOOK_EVERY_S = 0.5
_REASONS = 3  # kinds of failure that an error tells


class Run:
    """A run, by its id. Its tables lie in the lake once it is done, and need no Redis.

    Money is in integer micro-dollars, times in UTC epoch ms; what is not known is None or NaN.
    docs/data.md says what every column is.

        run = am.run()                                  # the newest that has results
        run.factors()[["verdict", "expression", "holdout_net_sharpe"]]
        run.calls().groupby("model")["cost_usd_micros"].sum() / 1e6
    """

    def __init__(self, run_id: str, store: Lake) -> None:
        self.id = run_id
        self._store = store
        self._published: PublishedRun | None = None

    @property
    def results(self) -> PublishedRun:
        """The same as objects: settings, factors with their gates, what is missing.

        Raises GiveUp for a run that is not done, saying how far it is.
        """
        if self._published is None:
            if self.id not in published_runs(self._store):
                raise GiveUp(self._why_not())
            self._published = PublishedRun.open(self._store, self.id)
        return self._published

    @property
    def state(self) -> str:
        """done, or as the ledger has it: submitting, running, failed, cancelled."""
        if self._is_published:
            return (self._resumed() or RunState.DONE).value
        return str(record_of(_ledger(), self.id).state)

    @property
    def _is_published(self) -> bool:
        return self._published is not None or self.id in published_runs(self._store)

    def _resumed(self) -> RunState | None:
        """Of a run with results, that it goes on; None if it does not, or nobody can be asked."""
        try:
            record = _ledger().run(self.id)
        except AlphamillError:
            return None
        return record.state if record and record.state.active else None

    def factors(self) -> pd.DataFrame:
        """The finalists with their verdicts, the best first: `#` is the number on the board.

        Raises GiveUp of an `evaluate` run, which gives no verdict: its figures are its trials.
        """
        return self._mined("factors", "its expressions and their figures: run.trials()")

    def trials(self) -> pd.DataFrame:
        """Every candidate, or expression given, whatever became of it: `status` and `reason`.

        Of an `evaluate` run a row an expression, interval and horizon; `#` is the board's number.
        """
        frame = self._table("trials")
        if self.results.kind is RunKind.MINE:
            return frame
        rows = self.results.trials
        places = {id(row): place for place, row in enumerate(rows)}
        ranked = frame.iloc[[places[id(row)] for row in by_strength(rows)]]
        return ranked.set_axis(frame.index)

    def calls(self) -> pd.DataFrame:
        """Every attempt at a model call: tokens, cost, latency. GiveUp of an `evaluate` run."""
        return self._mined("calls", "no model was asked")

    def wait(self, timeout_s: float | None = None, *, quiet: bool = False) -> Run:
        """This run, when it is done; its progress is shown on stderr unless `quiet`.

        Raises GiveUp for a run that failed or was cancelled, with the reasons, and TimeoutError
        after `timeout_s`; the run goes on.
        """
        if self._is_published and self._resumed() is None:
            return self
        self._published = None  # what it had found before it was resumed
        ledger = _ledger()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        told = ""
        while (record := record_of(ledger, self.id)).state not in ENDED:
            jobs = job_totals(record.counts)
            said = f"{self.id}: {jobs.settled} of {jobs.total} jobs"
            if said != told and not quiet:
                print(f"\r{said}", end="", file=sys.stderr, flush=True)  # noqa: T201  to be seen
                told = said
            if until_s is not None and time.monotonic() > until_s:
                raise TimeoutError(f"{said} after {timeout_s:g} s; the run goes on")
            time.sleep(_LOOK_EVERY_S)
        if told:
            print(f"\r{self.id}: {record.state}", file=sys.stderr)  # noqa: T201  likewise
        if record.state is not RunState.DONE:
            raise GiveUp(_failed(record, ledger))
        return self

    def _mined(self, name: str, instead: str) -> pd.DataFrame:
        if self.results.kind is not RunKind.MINE:
            raise GiveUp(f"{self.id} is an {self.results.kind} run and has no {name}; {instead}")
        return self._table(name)

    def _table(self, name: str) -> pd.DataFrame:
        lake = self.results.lake
        frame: pd.DataFrame = lake.read(run_key(self.id, f"{name}.parquet")).to_pandas()
        frame.insert(0, "run", self.id)  # as the path says, so that frames of runs can be joined
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="#")
        return frame

    def _why_not(self) -> str:
        where = f"{self.id} has no results in {self._store.uri}"
        try:
            record = record_of(_ledger(), self.id)
        except AlphamillError as error:
            return f"{where} ({error})"
        jobs = job_totals(record.counts)
        if record.state.active:
            return f"{where} yet: {jobs.settled} of {jobs.total} jobs; wait for it: run.wait()"
        return _failed(record, _ledger())

    def __repr__(self) -> str:
        return f"<run {self.id}>"


def _failed(record: RunRecord, ledger: RedisLedger) -> str:
    groups = group_failures(ledger.dead(record.id))[:_REASONS]
    reasons = "".join(f"; {group.stage}: {group.reason}" for group in groups)
    return f"{record.id} {record.state}{reasons}; go on with: alphamill resume {record.id}"


def run(run_id: str | None = None, lake: str | Path | None = None) -> Run:
    """The run with this id or its unique beginning; None: the newest that has results.

    lake: where they lie; by default in the lake of the settings, and a run that has none there yet
    is looked up in Redis. Raises GiveUp, naming the nearest and what there is.
    """
    store = Lake(load_settings().lake_uri) if lake is None else open_lake(lake).store
    done = published_runs(store)
    if run_id is None:
        if not done:
            raise GiveUp(f"no run has results in {store.uri}; submit one: am.submit.mine(...)")
        return Run(done[0], store)
    fitting = [one for one in done if one.startswith(run_id)]
    if len(fitting) == 1 or run_id in done:
        return Run(run_id if run_id in done else fitting[0], store)
    if fitting:
        raise GiveUp(f"{run_id!r} fits {len(fitting)} runs; name one of: {', '.join(fitting[:8])}")
    if lake is not None:
        raise unknown("run", run_id, done, f" in {store.uri}")
    return _under_way(run_id, store, done)


def _under_way(run_id: str, store: Lake, done: list[str]) -> Run:
    try:
        records = list(_ledger().runs())
    except AlphamillError as error:
        missing = unknown("run", run_id, done, f" in {store.uri}").reason
        raise GiveUp(f"{missing}; nor is it known whether one is under way: {error}") from error
    fitting = [record for record in records if record.id.startswith(run_id)]
    if len(fitting) != 1:
        known = [*dict.fromkeys([*done, *(record.id for record in records)])]
        raise unknown("run", run_id, known)
    return Run(fitting[0].id, Lake(fitting[0].spec["lake"]))


def _ledger() -> RedisLedger:
    settings = load_settings()
    return RedisLedger(connect(settings), settings.ledger)


__all__ = ["Run", "run"]
