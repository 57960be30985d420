"""`alphamill report`: one HTML page of a run, without a script and readable anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from alphamill.errors import Misconfigured
from alphamill.jobs import RunKind
from alphamill.report.page import page_of, render
from alphamill.runs.find import finished_run
from producers import options


@click.command()
@click.argument("run")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: RUN.html in the current folder.",
)
@options.json_option
@options.exits
def report(run: str, out: Path | None, as_json: bool) -> None:
    """Write a finished run's report as one HTML page and say where it lies.

    \b
    Example:
      alphamill report mine-1f2e --out report.html
    """
    found = finished_run(options.settings(), run, (RunKind.MINE, RunKind.EVALUATE))
    path = (out or Path(f"{found.id}.html")).resolve()
    try:
        path.write_text(render(page_of(found)), encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            "--out", f"cannot write {path} ({error.strerror})", "name another file"
        ) from error
    if as_json:
        options.print_json({"run_id": found.id, "path": str(path)})
    else:
        click.echo(str(path))
