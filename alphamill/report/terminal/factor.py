"""One judged factor in full: its gates, its figures on each segment and fold, and its origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.evaluation import Gate
from alphamill.report.caveats import returns_line, training_words, universe_words
from alphamill.report.legend import correlation
from alphamill.report.terminal.tables import empty_grid, empty_table
from alphamill.report.values import (
    NOTHING,
    VERDICT_STYLES,
    amount,
    moment,
    number,
    percent,
    plain,
    probability,
    real,
    turned,
    usd,
    whole,
)
from alphamill.runs.figures import JUDGED_SEGMENTS, SegmentFigures
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor

_NAME_COLUMNS = 13  # of the terminal, before what is said


def factor_view(run: PublishedRun, factor: JudgedFactor) -> RenderableType:
    """A factor of the run for the terminal, at any width from 80 columns on."""
    headline = f"\n{factor.verdict}, place {whole(factor.rank)}"
    parts: list[RenderableType] = [
        Text(plain(factor.traded, 600), style="bold"),
        Text(plain(factor.hypothesis or ""), style="dim"),
        Text(headline, VERDICT_STYLES[factor.verdict]),
    ]
    if factor.veto_reason:
        parts.append(Text(f"vetoed by final_verification: {plain(factor.veto_reason)}"))
    parts += [
        Padding(figures_table(factor), (1, 0)),
        Text(_luck(factor)),
        Padding(gates_table(factor.gates), (1, 0)),
        *(_line(*line) for line in (*_folds(run, factor), *_novelty(factor))),
        Text(""),
        *(_line(*line) for line in _origin(run, factor)),
    ]
    return Group(*parts)


def _line(name: str, text: str) -> RenderableType:
    """A name and what it says, folded under itself."""
    grid = empty_grid("", "")
    grid.columns[0].width, grid.columns[0].style = _NAME_COLUMNS, "dim"
    grid.add(name, text)
    return grid


def _turned(figure: float | None, digits: int, direction: int) -> str:
    """As the factor is traded: one that is sold is good where its values fall."""
    return number(turned(figure, direction), digits, signed=True)


def figures_table(factor: JudgedFactor) -> Table:
    """Its figures on each segment, side by side."""
    table = empty_table("", *(f">{segment}" for segment in JUDGED_SEGMENTS))
    segments = (factor.discovery, factor.validation, factor.holdout)

    def row(label: str, show: Callable[[SegmentFigures], str]) -> None:
        table.add(label, *map(show, segments))

    row("first bar (UTC)", lambda on: moment(on.start_ms))
    row("last bar", lambda on: moment(on.end_ms))
    row(
        correlation(factor.discovery.in_time),
        lambda on: _turned(on.association, 4, factor.direction),
    )
    row("t (Newey-West)", lambda on: _turned(on.association_t, 2, factor.direction))
    row("p", lambda on: probability(on.p_value))
    row("Sharpe a year, gross", lambda on: number(on.gross_sharpe, 2, signed=True))
    row("Sharpe a year, net", lambda on: number(on.net_sharpe, 2, signed=True))
    row("turnover a bar", lambda on: percent(on.turnover_per_bar))
    row("break-even cost, bps", lambda on: number(on.break_even_bps, 1))
    row("deepest drawdown", lambda on: percent(on.max_drawdown_frac))
    row("capacity, quote", lambda on: amount(on.capacity_quote))
    row("coverage", lambda on: percent(on.coverage))
    return table


def _luck(factor: JudgedFactor) -> str:
    """What each Sharpe ratio above is to be read with."""
    return (
        f"The Sharpe ratios are of the best of {whole(factor.n_trials)} trials "
        f"({number(factor.n_effective, 0)} effective): deflated "
        f"{number(factor.deflated_sharpe, 3)} "
        f"(effective {number(factor.deflated_sharpe_effective, 3)}, "
        f"uncapped {number(factor.deflated_sharpe_uncapped, 3)}); "
        f"BH p {probability(factor.bh_p)}; "
        f"probability of overfitting {number(factor.pbo, 2)}; "
        f"the call that named it cost {usd(factor.call_cost_usd_micros)}."
    )


def gates_table(gates: Sequence[Gate]) -> Table:
    """Every question that was asked, and whether it was passed."""
    table = empty_table("", "gate", ">value", ">needs", "for")
    for gate in gates:
        value, threshold = real(gate.value), real(gate.threshold)
        table.add(
            Text("✓" if gate.passed else "✗", style="green" if gate.passed else "red"),
            plain(gate.name, 40),
            NOTHING if value is None else f"{value:.4g}",
            NOTHING if threshold is None else f"{threshold:.4g}",
            gate.needed_for,
        )
    return table


def _folds(run: PublishedRun, factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    score, figures = run.discovery_score(factor), factor.discovery
    sign = factor.direction  # walk-forward has found its own, fold by fold
    folds = score.fold_rank_corrs if score else ()
    yield "folds", " ".join(_turned(fold, 3, sign) for fold in folds) or NOTHING
    yield "walk-forward", number(figures.walk_forward_rank_corr, 4, signed=True)
    same = percent(figures.cpcv_same_sign_frac, 0)
    yield "CPCV", f"{same} of the 28 ways to test two folds on the other six keep the sign"
    if score and score.decay:
        at = ", ".join(f"{_turned(ic, 3, sign)} at {h}" for h, ic in score.decay.items())
        yield "decay", f"{at} bars; half-life {number(figures.half_life_bars, 0)}"


def _novelty(factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    yield (
        "novelty",
        f"{number(factor.library_correlation, 2)} with the nearest better finalist; "
        f"residual t {number(factor.residual_t, 2, signed=True)}; "
        f"{percent(factor.shared_subtree_frac, 0)} of its "
        f"{whole(factor.complexity_nodes)} nodes shared",
    )
    if factor.earlier_nearest:
        yield (
            "library",
            f"{number(factor.earlier_correlation, 2, signed=True)} with "
            f"{plain(factor.earlier_nearest)} of {plain(factor.earlier_run, 40)}; "
            f"residual t {number(factor.earlier_residual_t, 2, signed=True)}",
        )


def _origin(run: PublishedRun, factor: JudgedFactor) -> Iterator[tuple[str, str]]:
    for line in universe_words(run):
        yield "universe", line
    yield "returns", returns_line(run.spec, factor.discovery.in_time)
    yield "training data", training_words(run)
    yield "hash", plain(factor.hash, 64)
    yield "snapshot", plain(factor.snapshot, 80)
    yield "code", f"alphamill {plain(factor.code_version, 20)}"
    yield (
        "holdout",
        f"shown to {whole(factor.holdout_looks)} factors so far, "
        f"{whole(factor.holdout_looks_before)} of them by earlier runs",
    )
    for call in run.calls_of(factor):
        yield (
            "call",
            f"{plain(call.tier, 30)}, {plain(call.model, 60)}: {whole(call.prompt_tokens)} prompt "
            f"tokens ({whole(call.cached_tokens)} cached), {whole(call.completion_tokens)} "
            f"completion, {usd(call.cost_usd_micros)}",
        )
