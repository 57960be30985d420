"""One judged factor in full: its gates, its figures on each segment and fold, and its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.errors import GiveUp
from alphamill.ledger import RunRecord
from alphamill.report.terminal.tables import listing
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
    usd,
    whole,
)
from alphamill.runs.published import run_rows, signed
from alphamill.runs.schemas import association, association_t, in_time

Row = Mapping[str, Any]

_SEGMENTS = ("discovery", "validation", "holdout")
_SETTINGS = ("segments", "portfolio", "fees", "gates", "search")
_CALL = ("call_id", "tier", "model", "served_model", "prompt_tokens", "cached_tokens",
         "completion_tokens", "cost_usd_micros", "prompt_version")  # fmt: skip
_SHOWN = 10


def chosen(rows: Sequence[dict[str, Any]], text: str, run_id: str) -> dict[str, Any]:
    """The factor with this hash or unique beginning. Raises GiveUp, naming what there is."""
    fitting = [row for row in rows if row["hash"].startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(row["hash"] for row in (fitting or rows)[:_SHOWN]) or "(it has none)"
    raise GiveUp(f"{text!r} fits {len(fitting)} factors of {run_id}; name one of: {known}")


def run_settings(run: RunRecord) -> Row:
    """What the run's verdicts were given by."""
    return {name: run.spec.get(name) for name in _SETTINGS}


def with_origin(run: RunRecord, factors: Sequence[Row]) -> list[Row]:
    """The factors with `calls`, that led to them, and `discovery_score`, folds and decay in it."""
    scores = {
        row["hash"]: row["score"]
        for row in run_rows(run, "trials")
        if row["status"] == "evaluated" and row["score"]
    }
    calls: dict[str, list[Row]] = {}
    for call in run_rows(run, "calls"):
        parent = str(call["call_id"]).removesuffix(".repair")
        calls.setdefault(parent, []).append({name: call.get(name) for name in _CALL})
    return [
        {
            **factor,
            "calls": calls.get(str(factor.get("call_id")), []),
            "discovery_score": scores.get(factor["hash"]),
        }
        for factor in factors
    ]


def factor_view(factor: Row) -> RenderableType:
    """A factor of `with_origin` for the terminal, at any width from 80 columns on."""
    verdict = plain(factor["verdict"], 10)
    parts: list[RenderableType] = [
        Text(plain(signed(factor), 600), style="bold"),
        Text(plain(factor.get("hypothesis") or ""), style="dim"),
        Text(f"\n{verdict}, place {whole(factor['rank'])}", VERDICT_STYLES.get(verdict, "")),
        *(
            [Text(f"vetoed by final_verification: {plain(factor['veto_reason'])}")]
            if factor.get("veto_reason")
            else []
        ),
        Padding(_segments(factor), (1, 0)),
        Text(_luck(factor)),
        Padding(_gates(factor.get("gates") or ()), (1, 0)),
    ]
    parts += [_line(name, text) for name, text in (*_folds(factor), *_novelty(factor))]
    parts += [Text(""), *(_line(name, text) for name, text in _origin(factor))]
    return Group(*parts)


def _line(name: str, text: str) -> RenderableType:
    """A name and what it says, folded under itself."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=13, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(Text(name), Text(text))
    return grid


def _segments(factor: Row) -> Table:
    timed = in_time(factor, "discovery_")
    table = listing("", *(f">{name}" for name in _SEGMENTS))

    def row(label: str, *cells: str) -> None:
        table.add_row(Text(label), *map(Text, cells))

    def each(name: str) -> list[Any]:
        return [factor.get(f"{segment}_{name}") for segment in _SEGMENTS]

    row("first bar (UTC)", *map(moment, each("start_ms")))
    row("last bar", *map(moment, each("end_ms")))
    prefixes = [f"{segment}_" for segment in _SEGMENTS]
    values = (number(association(factor, prefix), 4, signed=True) for prefix in prefixes)
    row("rank correlation in time" if timed else "RankIC", *values)
    row("t (Newey-West)", *(number(association_t(factor, p), 2, signed=True) for p in prefixes))
    row("p", *map(probability, each("p_value")))
    row("Sharpe a year, gross", *(number(value, 2, signed=True) for value in each("gross_sharpe")))
    row("Sharpe a year, net", *(number(value, 2, signed=True) for value in each("net_sharpe")))
    row("turnover a bar", *map(percent, each("turnover_per_bar")))
    row("break-even cost, bps", *(number(value, 1) for value in each("break_even_bps")))
    row("deepest drawdown", *map(percent, each("max_drawdown_frac")))
    row("capacity, quote", *map(amount, each("capacity_quote")))
    row("coverage", *map(percent, each("coverage")))
    return table


def _luck(factor: Row) -> str:
    """What each Sharpe ratio above is to be read with."""
    return (
        f"The Sharpe ratios are of the best of {whole(factor['n_trials'])} trials "
        f"({number(factor.get('n_effective'), 0)} effective): deflated "
        f"{number(factor['deflated_sharpe'], 3)} "
        f"(effective {number(factor.get('deflated_sharpe_effective'), 3)}, "
        f"uncapped {number(factor.get('deflated_sharpe_uncapped'), 3)}); "
        f"BH p {probability(factor['bh_p'])}; "
        f"probability of overfitting {number(factor.get('pbo'), 2)}; "
        f"the call that named it cost {usd(factor.get('call_cost_usd_micros'))}."
    )


def _gates(gates: Sequence[Row]) -> Table:
    table = listing("", "gate", ">value", ">needs", "for")
    for gate in gates:
        value, threshold = real(gate["value"]), real(gate["threshold"])
        table.add_row(
            Text("✓" if gate["passed"] else "✗", style="green" if gate["passed"] else "red"),
            Text(plain(gate["name"], 40)),
            Text(NOTHING if value is None else f"{value:.4g}"),
            Text(NOTHING if threshold is None else f"{threshold:.4g}"),
            Text(plain(gate["needed_for"], 12)),
        )
    return table


def _folds(factor: Row) -> Iterator[tuple[str, str]]:
    score = factor.get("discovery_score") or {}
    folds = " ".join(number(value, 3, signed=True) for value in score.get("fold_rank_corrs") or ())
    yield "folds", folds or NOTHING
    yield "walk-forward", number(factor.get("discovery_walk_forward_rank_corr"), 4, signed=True)
    same = percent(factor.get("discovery_cpcv_same_sign_frac"), 0)
    yield "CPCV", f"{same} of the 28 ways to test two folds on the other six keep the sign"
    decay = score.get("decay") or {}
    if decay:
        at = ", ".join(f"{number(value, 3, signed=True)} at {h}" for h, value in decay.items())
        yield "decay", f"{at} bars; half-life {number(factor.get('discovery_half_life_bars'), 0)}"


def _novelty(factor: Row) -> Iterator[tuple[str, str]]:
    yield (
        "novelty",
        (
            f"{number(factor.get('library_correlation'), 2)} with the nearest better finalist; "
            f"residual t {number(factor.get('residual_t'), 2, signed=True)}; "
            f"{percent(factor.get('shared_subtree_frac'), 0)} of its "
            f"{whole(factor.get('complexity_nodes'))} nodes shared"
        ),
    )
    if factor.get("earlier_nearest"):
        yield (
            "library",
            (
                f"{number(factor.get('earlier_correlation'), 2, signed=True)} with "
                f"{plain(factor['earlier_nearest'])} of {plain(factor.get('earlier_run'), 40)}; "
                f"residual t {number(factor.get('earlier_residual_t'), 2, signed=True)}"
            ),
        )


def _origin(factor: Row) -> Iterator[tuple[str, str]]:
    yield "hash", plain(factor["hash"], 64)
    yield "snapshot", plain(factor.get("snapshot"), 80)
    yield "code", f"alphamill {plain(factor.get('code_version'), 20)}"
    yield (
        "holdout",
        (
            f"shown to {whole(factor.get('holdout_looks'))} factors so far, "
            f"{whole(factor.get('holdout_looks_before'))} of them by earlier runs"
        ),
    )
    for call in factor.get("calls") or ():
        yield (
            "call",
            (
                f"{plain(call['tier'], 30)}, {plain(call['model'], 60)}: "
                f"{whole(call['prompt_tokens'])} prompt tokens ({whole(call['cached_tokens'])} "
                f"cached), {whole(call['completion_tokens'])} completion, "
                f"{usd(call['cost_usd_micros'])}"
            ),
        )
