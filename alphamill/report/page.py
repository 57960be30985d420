"""What a run's page shows, from the published run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphamill.evaluation import Grade, Score, Segment
from alphamill.jobs import RunKind
from alphamill.report.caveats import page_caveats, spent_line
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import UNMEASURED, JudgedFactor, Measures, Trial

_READ = ("evaluated", "duplicate", "fault", "unclean")  # candidates that were read as an expression


def page_of(run: PublishedRun) -> dict[str, Any]:
    """What `html.render_report` takes."""
    mined, spec = run.kind is RunKind.MINE, run.spec
    usage = run.usage()
    return {
        "run": {
            "id": run.id,
            "kind": run.kind,
            "state": "done",
            "in_time": any(trial.discovery.in_time for trial in run.trials),
            "notice": OFFLINE_NOTICE if run.offline else "",
            "market": spec.market,
            "symbols": spec.symbols,
            "intervals": spec.intervals,
            "start_ms": spec.start_ms,
            "end_ms": spec.end_ms,
            "strategy": spec.strategy,
            "participation_frac": spec.portfolio.participation_frac,
            **(_search(run) if mined else {}),
        },
        "factors": (
            [_judged(factor, run.discovery_score(factor)) for factor in run.factors]
            if mined
            else [_given(trial) for trial in run.trials]
        ),
        "funnel": _funnel(run) if mined else [],
        "segments": _segments(run),
        "usage": usage if usage["by"] else {},
        "caveats": page_caveats(run),
    }


def _search(run: PublishedRun) -> dict[str, Any]:
    """What the search was; the probability of overfitting of each interval."""
    return {
        "trials": {factor.interval: factor.n_trials for factor in run.factors},
        "pbo": {factor.interval: factor.pbo for factor in run.factors},
        "spent": spent_line(run),
    }


def _correlation(figures: Measures) -> dict[str, float | None]:
    return {"correlation": figures.association, "t": figures.association_t}


def _judged(factor: JudgedFactor, score: Score | None) -> dict[str, Any]:
    validation = factor.validation
    veto = [f"vetoed by final_verification: {factor.veto_reason}"] if factor.veto_reason else []
    in_order = sorted(factor.gates, key=lambda gate: gate.passed)  # what failed comes first
    return {
        "expression": factor.signed,
        "rank": factor.rank,
        "verdict": factor.verdict,
        "hypothesis": factor.hypothesis,
        "tier": factor.tier,
        "hash": factor.hash,
        "bh_p": factor.bh_p,
        "discovery": _correlation(factor.discovery),
        "validation": _correlation(validation),
        "holdout": _correlation(factor.holdout),
        "net_sharpe": validation.net_sharpe,
        "gross_sharpe": validation.gross_sharpe,
        "holdout_net_sharpe": factor.holdout.net_sharpe,
        "break_even_bps": validation.break_even_bps,
        "cost_usd_micros": factor.call_cost_usd_micros,
        "turnover": validation.turnover_per_bar,
        "coverage": validation.coverage,
        "dsr": factor.deflated_sharpe,
        "capacity_quote": validation.capacity_quote,
        "stability": {
            "folds": score.fold_rank_corrs if score else (),
            "walk_forward": factor.discovery.walk_forward_rank_corr,
            "same_sign": factor.discovery.cpcv_same_sign_frac,
            "half_life_bars": factor.discovery.half_life_bars,
        },
        "trials": factor.n_trials,
        "symbol_of_origin": factor.symbol,
        "reasons": [
            *veto,
            *(gate.to_dict() | {"gate": f"{gate.name}: {gate.meaning}"} for gate in in_order),
        ],
    }


def _given(trial: Trial) -> dict[str, Any]:
    figures = trial.discovery
    return {
        "expression": trial.text,
        "verdict": "in-sample" if trial.evaluated else trial.status,
        "hash": trial.hash,
        "discovery": _correlation(figures),
        "net_sharpe": figures.net_sharpe,
        "gross_sharpe": figures.gross_sharpe,
        "trials": trial.n_trials,
        "dsr": trial.deflated_sharpe,
        "break_even_bps": figures.break_even_bps,
        "turnover": figures.turnover_per_bar,
        "coverage": figures.coverage,
        "capacity_quote": figures.capacity_quote,
        "reasons": [trial.reason] if trial.reason else [],
    }


def _funnel(run: PublishedRun) -> list[Mapping[str, Any]]:
    counts = {
        "proposed": sum(trial.status != UNMEASURED for trial in run.trials),
        "read as an expression": sum(trial.status in _READ for trial in run.trials),
        "measured on discovery": sum(trial.evaluated for trial in run.trials),
        "same sign on validation": sum(_keeps_sign(trial) for trial in run.trials),
        "finalists": sum(bool(trial.finalist) for trial in run.trials),
        "predictive": sum(factor.admitted for factor in run.factors),
        "tradable": sum(factor.verdict is Grade.TRADABLE for factor in run.factors),
    }
    return [{"name": name, "count": count} for name, count in counts.items()]


def _keeps_sign(trial: Trial) -> bool:
    later = trial.validation.association
    return later is not None and later * (trial.direction or 0) > 0


def _segments(run: PublishedRun) -> list[dict[str, Any]]:
    rows = [
        {
            "name": segment.value,
            "interval": panel.interval.value,
            "start_ms": facts.start_ms + facts.history_bars * panel.interval.ms,
            "end_ms": facts.start_ms + facts.bars * panel.interval.ms,
            "bars": facts.bars - facts.history_bars,
            "history_bars": facts.history_bars,
            "embargo_bars": facts.embargo_bars,
        }
        for panel in run.manifests
        for segment, facts in panel.segments.items()
    ]
    order = [segment.value for segment in Segment]
    return sorted(rows, key=lambda row: (row["interval"], order.index(str(row["name"]))))
