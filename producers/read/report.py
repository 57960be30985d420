"""`alphamill report`: one HTML page of a run, without a script and readable anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from alphamill.errors import Misconfigured
from alphamill.evaluation import Segment, one_way_bps
from alphamill.frames import Interval
from alphamill.lake import Lake
from alphamill.ledger import RunRecord
from alphamill.report.caveats import (
    funding_line,
    looks_line,
    spent_line,
    survivors_line,
    unmeasured_lines,
)
from alphamill.report.html import render_report
from alphamill.runs.failures import FailureGroup
from alphamill.runs.find import finished_run
from alphamill.runs.panels import read_manifest
from alphamill.runs.published import (
    OFFLINE_NOTICE,
    Row,
    offline,
    run_rows,
    run_troubles,
    run_usage,
    signed,
)
from alphamill.runs.schemas import UNMEASURED, association, association_t, in_time
from alphamill.settings import FeeSettings, PortfolioSettings, SegmentSettings
from producers import options

_SEGMENTS = (Segment.DISCOVERY, Segment.VALIDATION, Segment.HOLDOUT)
_READ = ("evaluated", "duplicate", "fault", "unclean")  # candidates that were read as an expression


@click.command()
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Default: RUN.html in the current folder.")  # fmt: skip
@options.json_option
@options.exits
def report(run: str, out: Path | None, as_json: bool) -> None:
    """Write a finished run's report as one HTML page and say where it lies.

    \b
    Example:
      alphamill report mine-1f2e --out report.html
    """
    record = finished_run(options.settings(), run, ("mine", "evaluate"))
    usage = run_usage(record) if record.kind == "mine" else {"by": []}
    page = render_report(run_report(record, usage, run_troubles(record)))
    path = (out or Path(f"{record.id}.html")).resolve()
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            "--out", f"cannot write {path} ({error.strerror})", "name another file"
        ) from error
    if as_json:
        options.print_json({"run_id": record.id, "path": str(path)})
    else:
        click.echo(str(path))


def run_report(run: RunRecord, usage: Row, failures: Sequence[FailureGroup]) -> Row:
    """What `render_report` takes, from the run's record and its parquet."""
    mined = run.kind == "mine"
    trials = run_rows(run, "trials")
    verdicts = run_rows(run, "factors") if mined else []
    spec = run.spec
    return {
        "run": {
            "id": run.id,
            "kind": run.kind,
            "state": run.state.value,
            "in_time": any(in_time(row) for row in trials),
            "notice": OFFLINE_NOTICE if offline(run) else "",
            **{
                name: spec.get(name)
                for name in ("market", "symbols", "intervals", "start_ms", "end_ms", "strategy")
            },
            **(_search(run, verdicts) if mined else {}),
        },
        "factors": _factors(verdicts, trials) if mined else [_given(row) for row in trials],
        "funnel": _funnel(trials, verdicts) if mined else [],
        "segments": _segments(run),
        "usage": usage if usage["by"] else {},
        "caveats": [*unmeasured_lines(trials), *_caveats(run, verdicts, failures)],
    }


def _search(run: RunRecord, verdicts: Sequence[Row]) -> Row:
    """What the search was; the probability of overfitting of each interval."""
    trials = {row["interval"]: row["n_trials"] for row in verdicts}
    pbo = {row["interval"]: row.get("pbo") for row in verdicts}
    return {
        "trials": trials,
        "pbo": pbo,
        "spent": spent_line(run_rows(run, "calls"), verdicts),
    }


def _stability(row: Row, discovery: Row) -> Row:
    """What discovery's folds say of the factor."""
    return {
        "folds": discovery.get("fold_rank_corrs") or (),
        "walk_forward": row.get("discovery_walk_forward_rank_corr"),
        "same_sign": row.get("discovery_cpcv_same_sign_frac"),
        "half_life_bars": row.get("discovery_half_life_bars"),
    }


def _judged(row: Row, discovery: Row) -> Row:
    """discovery: the whole score that the verdict began with."""
    failed = [gate for gate in row["gates"] or () if not gate["passed"]]
    passed = [gate for gate in row["gates"] or () if gate["passed"]]
    veto = [f"vetoed by final_verification: {row['veto_reason']}"] if row["veto_reason"] else []
    return {
        "expression": signed(row),
        **{name: row[name] for name in ("rank", "verdict", "hypothesis", "tier",
                                        "hash", "bh_p")},
        **{
            segment.value: {
                "correlation": association(row, f"{segment.value}_"),
                "t": association_t(row, f"{segment.value}_"),
            }
            for segment in _SEGMENTS
        },
        "net_sharpe": row["validation_net_sharpe"],
        "gross_sharpe": row["validation_gross_sharpe"],
        "holdout_net_sharpe": row["holdout_net_sharpe"],
        "break_even_bps": row["validation_break_even_bps"],
        "cost_usd_micros": row.get("call_cost_usd_micros"),
        "turnover": row["validation_turnover_per_bar"],
        "coverage": row["validation_coverage"],
        "dsr": row["deflated_sharpe"],
        "capacity_quote": row.get("validation_capacity_quote"),
        "stability": _stability(row, discovery),
        "trials": row["n_trials"],
        "symbol_of_origin": row["symbol"],
        "reasons": [*veto, *({**gate, "gate": f"{gate['name']}: {gate['meaning']}"}
                             for gate in [*failed, *passed])],
    }  # fmt: skip


def _factors(verdicts: Sequence[Row], trials: Sequence[Row]) -> list[Row]:
    scores = {row["hash"]: row["score"] for row in trials if row["status"] == "evaluated"}
    return [_judged(row, scores.get(row["hash"]) or {}) for row in verdicts]


def _given(row: Row) -> Row:
    return {
        "expression": row["expression"] or row["proposed"],
        "verdict": "in-sample" if row["status"] == "evaluated" else row["status"],
        "hash": row["hash"],
        "discovery": {"correlation": association(row), "t": association_t(row)},
        "net_sharpe": row["net_sharpe"],
        "gross_sharpe": row["gross_sharpe"],
        "trials": row.get("n_trials"),
        "dsr": row.get("deflated_sharpe"),
        "break_even_bps": row["break_even_bps"],
        "turnover": row["turnover_per_bar"],
        "coverage": row["coverage"],
        "capacity_quote": row.get("capacity_quote"),
        "reasons": [row["reason"]] if row["reason"] else [],
    }


def _funnel(trials: Sequence[Row], verdicts: Sequence[Row]) -> list[Row]:
    def verdict(*names: str) -> int:
        return sum(row["verdict"] in names for row in verdicts)

    return [
        {"name": name, "count": count}
        for name, count in (
            ("proposed", sum(row["status"] != UNMEASURED for row in trials)),
            ("read as an expression", sum(row["status"] in _READ for row in trials)),
            ("measured on discovery", sum(row["status"] == "evaluated" for row in trials)),
            ("same sign on validation", sum(_keeps_sign(row) for row in trials)),
            ("finalists", sum(bool(row["finalist"]) for row in trials)),
            ("predictive", verdict("predictive", "tradable")),
            ("tradable", verdict("tradable")),
        )
    ]


def _keeps_sign(row: Row) -> bool:
    later = association(row, "validation_")
    return bool(later is not None and row["direction"] and later * row["direction"] > 0)


def _segments(run: RunRecord) -> list[Row]:
    lake = Lake(run.spec["lake"])
    rows: list[Row] = []
    for name in run.spec["intervals"]:
        interval = Interval(name)
        panel = read_manifest(lake, run.id, interval)
        for segment, facts in panel.segments.items() if panel else ():
            own_ms = facts.start_ms + facts.history_bars * interval.ms
            rows.append(
                {
                    "name": segment.value,
                    "interval": name,
                    "start_ms": own_ms,
                    "end_ms": facts.start_ms + facts.bars * interval.ms,
                    "bars": facts.bars - facts.history_bars,
                    "history_bars": facts.history_bars,
                    "embargo_bars": facts.embargo_bars,
                }
            )
    order = [segment.value for segment in Segment]
    return sorted(rows, key=lambda row: (row["interval"], order.index(row["name"])))


def _caveats(
    run: RunRecord, verdicts: Sequence[Row], failures: Sequence[FailureGroup]
) -> list[str]:
    caveats = [
        _trading(
            SegmentSettings.model_validate(run.spec.get("segments") or {}),
            PortfolioSettings.model_validate(run.spec.get("portfolio") or {}),
        ),
        _costs(FeeSettings.model_validate(run.spec.get("fees") or {})),
    ]
    caveats += [line for line in (survivors_line(run), funding_line(run)) if line]
    if run.kind == "evaluate":
        caveats.insert(0, "All figures are in-sample, over the whole range: there is no verdict.")
    looks = looks_line(verdicts)
    if looks:
        caveats.append(looks)
    caveats += [
        f"Missing: {group.jobs} {group.stage} job(s) {group.state}: {group.reason}"
        for group in failures[:10]
    ]
    return caveats


def _trading(cut: SegmentSettings, book: PortfolioSettings) -> str:
    """When a signal is traded, for how long, and in what amounts."""
    lag = cut.entry_lag_bars
    when = {0: "at that very close, which flatters", 1: "at the next bar's open"}.get(
        lag, f"{lag} bars later at the open"
    )
    by = {"quantile": f"the extreme of {book.quantiles} quantiles", "zscore": "z-score"}.get(
        book.weighting, "rank"
    )
    return (
        f"A signal at the close of a bar is traded {when} and held for {cut.horizon_bars} bars. "
        f"Books are weighted by {by} across symbols, below three symbols by each one's z-score in "
        f"time; capacity allows a trade {100 * book.participation_frac:g} % of its bar's volume."
    )


def _costs(fees: FeeSettings) -> str:
    """What a unit of traded value costs, and of what that is made up."""
    parts = f"{fees.taker_bps:g} bps of taker fee and {fees.spread_bps:g} bps of half spread"
    if fees.maker_frac:
        parts = (
            f"{100 * (1 - fees.maker_frac):g} % taken at {parts}, {100 * fees.maker_frac:g} % "
            f"filled as maker at {fees.maker_bps:g} bps"
        )
    return (
        f"Costs: {one_way_bps(fees):g} bps one way ({parts}); market impact is not in them, and "
        "funding on futures where its rates are known."
    )
