"""`alphamill resume` and `alphamill cancel`."""

from __future__ import annotations

from functools import partial

import click

from alphamill.ledger import RedisLedger
from alphamill.redis_store import connect
from alphamill.runs.fetch_rate import FetchRate
from alphamill.runs.find import find_run
from producers import options, submit
from producers.submit.resumption import resume_run


@click.command()
@click.argument("run")
@click.option(
    "--budget-usd",
    type=click.FloatRange(min=0, max=1_000_000, min_open=True),
    help="The run may spend so much in all from now on; more than it might before.",
)
@click.option("--wait", is_flag=True, help="Show progress until the run has ended.")
@options.exits
def resume(run: str, budget_usd: float | None, wait: bool) -> None:
    """Go on with a run: what failed, was cancelled, or had no money to ask its models.

    What is done stays done, and settled model calls are not paid again. Where a budget kept models
    from being asked, they are asked now, if there is money: with a higher --budget-usd, or after
    00:00 UTC where the day's budget was in the way. All that came after those calls is computed
    anew, from the old replies and the new ones, and judged anew: every expression ever tried
    still counts, and so does every look at the holdout.

    \b
    Example:
      alphamill resume mine-1f2e3d4c5b6a7988 --wait
      alphamill resume mine-1f2e3d4c5b6a7988 --budget-usd 5 --wait
    """
    micros = None if budget_usd is None else options.micros(budget_usd)
    settings = options.settings()
    client = connect(settings)
    ledger = RedisLedger(client, settings.ledger)
    found = find_run(ledger, run)
    record = resume_run(found, ledger, client, settings, micros, partial(click.echo, err=True))
    if wait:
        record = submit.watched(ledger, record.id, FetchRate(client, settings), client)
        submit.show_result(record)
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
