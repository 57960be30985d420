"""`alphamill prompt` and `alphamill operators`: what models are told."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import asdict
from typing import Any

import click

from alphamill.errors import Misconfigured, RetryLater
from alphamill.factors import DIFFERENCES, OPERATORS, dialect_table
from alphamill.jobs import RunKind
from alphamill.ledger import RedisLedger
from alphamill.redis_store import connect
from alphamill.runs.find import find_run
from alphamill.runs.under_way import chosen_call, prompt_sent
from alphamill.settings import Tier
from producers import options
from producers.read.named import one_run, run_argument


@click.command()
@click.argument("tier", type=click.Choice([tier.value for tier in Tier]))
@run_argument
@click.option("--call", metavar="ID", help="A call's id or its beginning; default: the latest.")
@options.json_option
@options.exits
def prompt(tier: str, word: str | None, run: str | None, call: str | None, as_json: bool) -> None:
    """Show a prompt word for word as it was sent: from the journal, or from the lake.

    RUN is an id or its unique beginning; default: the newest.

    Calls are listed in runs/run=ID/calls.parquet. --json adds the reply. Of a run that has finished
    this needs no Redis.

    \b
    Example:
      alphamill prompt quick_scan mine-1f2e
    """
    run = one_run(word, run)
    settings = options.settings()
    try:
        client = connect(settings)
        record = find_run(RedisLedger(client, settings.ledger), run, () if run else (RunKind.MINE,))
        sent, messages = prompt_sent(client, record.id, tier, call)
    except (Misconfigured, RetryLater):
        from alphamill.lake import Lake  # parquet is read where Redis has nothing to say
        from alphamill.runs.finished import published_run
        from alphamill.runs.prompts_sent import kept_prompt

        found = published_run(Lake(settings.lake_uri), run, (RunKind.MINE,))
        if found is None:
            raise
        sent = chosen_call(found.calls, found.id, tier, call)
        messages = kept_prompt(found.lake, sent)
    if as_json:
        options.print_json(sent.to_row() | {"messages": [asdict(message) for message in messages]})
        return
    click.echo(
        f"{sent.call_id}, {sent.tier}, {sent.model}, temperature {sent.temperature:g}, "
        f"prompt version {sent.prompt_version}, {sent.status.value}"
    )
    for message in messages:
        click.secho(f"\n----- {message.role} -----", bold=True)
        click.echo(shown(message.content))


def shown(text: str) -> str:
    """Text of a prompt for a terminal: what it would obey, other than a new line, is shown as ?."""
    return "".join(
        "?" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c
        for c in text
    )


@click.command()
@click.option("--dialects", is_flag=True, help="Where other dialects compute other numbers.")
@options.json_option
@options.exits
def operators(dialects: bool, as_json: bool) -> None:
    """Show the factor language's manual: fields, rules, operators, indicators.

    \b
    Example:
      alphamill operators
    """
    if as_json:
        rows = [asdict(row) for row in DIFFERENCES] if dialects else map(_operator, OPERATORS)
        options.print_json(list(rows))
        return
    if dialects:
        click.echo(dialect_table())
        return
    from alphamill.language import readers_manual

    click.echo(readers_manual(), nl=False)


def _operator(name: str) -> dict[str, Any]:
    operator = OPERATORS[name]
    return {
        "name": operator.name,
        "signature": operator.name + operator.signature,
        "params": [
            {
                "name": param.name,
                "kind": param.kind.value,
                "low": _finite(param.low),
                "high": _finite(param.high),
                "default": param.default,
            }
            for param in operator.params
        ],
        "over": operator.family.value,
        "meaning": operator.meaning,
        "example": operator.example,
        "history": operator.history.value,
        "aliases": list(operator.aliases),
        "symbol": operator.symbol,
        "commutative": operator.commutative,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
