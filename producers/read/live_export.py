"""`alphamill live export`: a factor as a file that computes it without alphamill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alphamill.errors import FactorError, GiveUp
from alphamill.jobs import RunKind
from alphamill.settings import Settings
from producers import options
from producers.read.live_named import one_live

if TYPE_CHECKING:
    from alphamill.live.export import Exported


@click.command()
@click.argument("factor", metavar="[FACTOR]", required=False)
@click.option(
    "--to",
    "form",
    type=click.Choice(["pandas", "freqtrade", "json"]),
    required=True,
    help="A module with factor(frame), a strategy, or the tree.",
)
@click.option("--live", "live_id", metavar="LIVE", help="Whose factor; default: the newest live.")
@click.option("--run", metavar="RUN", help="Or a mining run's, whatever its verdict.")
@click.option("--expr", "expression", metavar="EXPR", help="Or an expression.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there instead of to the terminal.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@options.exits
def export(
    factor: str | None,
    form: str,
    live_id: str | None,
    run: str | None,
    expression: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Write a factor as a file that computes it without alphamill.

    FACTOR is a number or hash of the live or run. `pandas` is a Python module over numpy and pandas
    alone; `freqtrade` a strategy that follows the live's signals, or computes by itself; `json` the
    expression's tree with what is known of it.

    \b
    Example:
      alphamill live export 1 --to pandas --out factor.py
      alphamill live export 1 --live live-3f0c --to freqtrade --out user_data/strategies/mined.py
      alphamill live export --expr "-ts_zscore(close, 24)" --to json
    """
    from alphamill.live.export import json_text, pandas_text, strategy_text, write_new

    settings = options.settings()
    exported = _exported(settings, factor, live_id, run, expression)
    text = {"pandas": pandas_text, "freqtrade": strategy_text, "json": json_text}[form](exported)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        write_new(out, text, force)
    except FileExistsError as error:
        raise click.UsageError(f"{out} is there already; --force writes over it") from error
    except OSError as error:
        raise GiveUp(f"{out} cannot be written: {error.strerror}") from error
    click.echo(f"{exported.factor.text} is in {out}", err=True)


def _exported(
    settings: Settings, text: str | None, live_id: str | None, run: str | None, expr: str | None
) -> Exported:
    from alphamill.live.export import from_expression, from_live, from_run

    if sum(one is not None for one in (live_id, run, expr)) > 1:
        raise click.UsageError("a factor is of --live, of --run or --expr: give one of them")
    if expr is not None:
        if text is not None:
            raise click.UsageError("--expr is the factor: FACTOR names another")
        try:
            return from_expression(expr)
        except FactorError as error:
            raise click.UsageError(f"--expr: {error}") from error
    if text is None:
        raise click.UsageError("which FACTOR? give its number or hash, or an expression by --expr")
    if run is not None:
        from alphamill.runs.finished import finished_run

        return from_run(finished_run(settings, run, (RunKind.MINE, RunKind.COMBINE)), text)
    _, entry, _ = one_live(settings, live_id)
    return from_live(entry.id, entry.spec, text)
