"""`alphamill resume` and `alphamill cancel`."""

from __future__ import annotations

import click

from alphamill.ledger import RedisLedger
from alphamill.redis_store import connect
from alphamill.runs.fetch_rate import FetchRate
from alphamill.runs.find import find_run
from producers import options
from producers.read.result import show_result
from producers.submit.submission import watched
from workers import flows


@click.command()
@click.argument("run")
@click.option("--wait", is_flag=True, help="Show progress until the run has ended.")
@options.exits
def resume(run: str, wait: bool) -> None:
    """Give a run's dead, skipped and cancelled jobs another chance.

    What is done stays done, and settled model calls are not paid again.

    \b
    Example:
      alphamill resume mine-1f2e3d4c5b6a7988 --wait
    """
    settings = options.settings()
    client = connect(settings)
    ledger = RedisLedger(client, settings.ledger)
    record = flows.resume(find_run(ledger, run).id, ledger)
    if wait:
        record = watched(ledger, record.id, FetchRate(client, settings))
        show_result(record)
    click.echo(record.id)
    if wait and not record.whole:
        raise SystemExit(options.EXIT_FAILED)


@click.command()
@click.argument("run")
@options.exits
def cancel(run: str) -> None:
    """Stop a run: no further job of it starts; a call already sent is still paid.

    \b
    Example:
      alphamill cancel mine-1f2e3d4c5b6a7988
    """
    settings = options.settings()
    ledger = RedisLedger(connect(settings), settings.ledger)
    record = find_run(ledger, run)
    click.echo(f"{record.id} {ledger.cancel(record.id).state}")
