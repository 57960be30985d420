"""Runs as producers submit and resume them: into the ledger, and their first jobs to the queues."""

from __future__ import annotations

from alphamill.flow import plan
from alphamill.jobs import RunSpec
from alphamill.ledger import Ledger, RunRecord, RunState


def submit(spec: RunSpec, ledger: Ledger, priority: int = 0) -> RunRecord:
    """Write the run and its jobs to the ledger and publish the first of them.

    Joins the run if the same thing was asked for before: nothing is done twice. A producer that
    dies half way leaves a run in `submitting`; submitting again completes it.
    """
    from workers.send import check_broker, publish

    check_broker()
    run = ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), priority)
    if run.state is RunState.SUBMITTING:
        ledger.add_jobs(run.id, plan(spec))
        run = ledger.seal(run.id)
    publish(ledger.feed(run.id))
    return run


def resume(run_id: str, ledger: Ledger, *, unfunded: bool = False) -> RunRecord:
    """Give dead, skipped and cancelled jobs another chance, and those that no budget paid for."""
    from workers.send import publish

    publish(ledger.resume(run_id, unfunded=unfunded))
    return ledger.open_run(run_id, "", {})  # joins: the run as it is now
