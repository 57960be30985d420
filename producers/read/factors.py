"""`alphamill factors`: the leaderboard of a run that has finished, or one factor of it in full."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

from alphamill.evaluation.by_group import Grouping
from alphamill.jobs import RunKind
from alphamill.report.caveats import universe_words, unmeasured_lines
from alphamill.report.terminal.combinations import combination_view, combinations_board
from alphamill.report.terminal.factor import factor_view
from alphamill.report.terminal.leaderboard import run_board, trials_board
from alphamill.runs.combined import COMBINATIONS, WEIGHTS
from alphamill.runs.finished import finished_run
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import JudgedFactor
from alphamill.runs.schemas import GIVEN_TRIALS, VERDICTS
from alphamill.runs.training import training_to_json
from producers import options
from producers.read.by_group import by_option, show_by
from producers.read.named import run_and_factor, run_option

_SETTINGS = ("segments", "portfolio", "fees", "gates", "search")  # what verdicts were given by
_CALL = (
    *("call_id", "tier", "model", "served_model", "prompt_tokens", "cached_tokens"),
    *("completion_tokens", "cost_usd_micros", "prompt_version"),
)


@click.command()
@click.argument("words", nargs=-1, metavar="[RUN] [FACTOR]")
@run_option
@by_option
@options.json_option
@options.exits
def factors(words: tuple[str, ...], run: str | None, by: Grouping | None, as_json: bool) -> None:
    """Show what a mining run found: figures, verdicts and reasons; or all there is of one FACTOR.

    RUN is an id or its unique beginning; default: the newest with results. FACTOR is its number on
    the board, or its hash or the beginning of that: every gate, the figures on all segments, the
    folds of discovery, what it cost; with --by its RankIC by hour of the decision, phase, weekday,
    year, regime or coin instead. Of an `evaluate` run the given expressions are shown. --json
    has every column, the settings, and in `unmeasured` why an interval has no figure.

    \b
    Example:
      alphamill factors
      alphamill factors mine-1f2e 1
      alphamill factors 9c41d2
      alphamill factors mine-1f2e 1 --by hour
    """
    run, factor = run_and_factor(words, run)
    kinds = (RunKind.MINE, RunKind.EVALUATE, RunKind.COMBINE)
    found = finished_run(options.settings(), run, kinds)
    if by is not None:
        if factor is None:
            raise click.UsageError("--by takes one FACTOR apart: name it by its number or hash")
        show_by(found, factor, by, as_json)
        return
    if as_json:
        options.print_json(_as_json(found, factor))
        return
    console = Console()
    console.print(Text(found.id))
    if found.offline:
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    console.print(_view(found, factor) if factor else _board(found))


def _board(run: PublishedRun) -> RenderableType:
    return combinations_board(run) if run.kind is RunKind.COMBINE else run_board(run)


def _view(run: PublishedRun, factor: str) -> RenderableType:
    if run.kind is RunKind.MINE:
        return factor_view(run, run.factor(factor))
    if run.kind is RunKind.COMBINE:
        return combination_view(run, run.factor(factor))
    return trials_board(run.trials, run.given(factor))


def _as_json(run: PublishedRun, factor: str | None) -> dict[str, Any]:
    said = {
        "run_id": run.id,
        "offline_proposer": run.offline,
        "settings": {name: run.plain_spec.get(name) for name in _SETTINGS}
        | {
            "horizons_bars": list(run.spec.horizons),
            "portfolio": run.spec.portfolio.model_dump(mode="json"),
            "search": run.spec.search.model_dump(mode="json"),
        },
        "unmeasured": unmeasured_lines(run.trials),
        "returns_clipped": False,  # nothing here clips one
        "universe": universe_words(run),
        "training_data": training_to_json(run.trained_models, run.manifests),
    }
    if run.kind is RunKind.COMBINE:
        own = run.factor(factor).hash if factor else None
        rows = [one for one in run.combined if own in (None, one.judged.hash)]
        weights = [one.to_json(WEIGHTS) for one in run.weights]
        return said | {
            "combinations": [one.to_json(COMBINATIONS) for one in rows],
            "weights": [one for one in weights if one["method"] in {row.method for row in rows}],
        }
    if run.kind is not RunKind.MINE:
        trials = run.given(factor) if factor else run.trials
        return said | {"trials": [trial.to_json(GIVEN_TRIALS) for trial in trials]}
    chosen = [run.factor(factor)] if factor else run.factors
    return said | {"factors": [_with_origin(run, one) for one in chosen]}


def _with_origin(run: PublishedRun, factor: JudgedFactor) -> dict[str, Any]:
    """Its columns, the calls that led to it, and all that discovery said of it."""
    score = run.discovery_score(factor)
    return factor.to_json(VERDICTS) | {
        "calls": [{name: getattr(call, name) for name in _CALL} for call in run.calls_of(factor)],
        "discovery_score": score.to_dict() if score else None,
    }
