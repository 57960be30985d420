"""verify: the holdout is opened once for each finalist, the look is counted, the verdict given."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import alphamill
from alphamill.evaluation import Grade, Score, Segment, TrialFacts, judge
from alphamill.factors import check
from alphamill.factors.look_ahead import sees_no_future
from alphamill.frames import Interval
from alphamill.jobs import Facts, VerifyJob
from alphamill.lake import Lake, run_key
from alphamill.language import read_expression
from alphamill.runs.holdout_looks import Looks, count_looks
from alphamill.runs.known_factors import KnownFactors
from alphamill.runs.library import Moment, admit, look_up
from alphamill.runs.panels import read_manifest
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import JUDGED_SEGMENTS
from alphamill.runs.schemas import (
    SCORE_COLUMNS,
    STABILITY_COLUMNS,
    VERDICTS,
    Row,
    RunDeps,
    interval_key,
    read_rows,
    read_trials,
    score_of,
    write_rows,
)


@dataclass(frozen=True, slots=True)
class VerifyFacts(Facts):
    """The file of the verdicts, and how many factors have which grade."""

    key: str
    counts: dict[str, int]


def run(job: VerifyJob, deps: RunDeps) -> VerifyFacts:
    """Judge every finalist of the interval."""
    ranking = by_hash(deps.lake, deps.run_id, "ranking", job.interval)
    vetoes = by_hash(deps.lake, deps.run_id, "veto", job.interval)
    validated = by_hash(deps.lake, deps.run_id, "validation", job.interval)
    trials = {
        row["hash"]: row
        for row in reversed(read_trials(deps.lake, deps.run_id, job.interval))
        if row["status"] == "evaluated"
    }
    finalists = sorted((row for row in ranking.values() if row["finalist"]), key=_rank)
    readers = segment_readers(deps, job.interval)
    opened = [row for row in finalists if not vetoes.get(row["hash"], {}).get("vetoed")]
    looks = count_looks(opened, readers[Segment.HOLDOUT].panel(()), deps)
    rows: list[Row] = []
    settled = False
    while not settled:  # once more for each run that admits factors meanwhile
        earlier = KnownFactors(
            look_up(deps.lake, deps.spec, job.interval, Moment.END), readers[Segment.VALIDATION]
        )
        rows = [
            verdict_row(ranked, trials[ranked["hash"]], validated[ranked["hash"]],
                        vetoes.get(ranked["hash"], {}), looks, earlier, readers, deps)
            for ranked in finalists
        ]  # fmt: skip
        admitted = [row for row in rows if row["verdict"] != Grade.REJECTED]
        settled = admit(deps.lake, deps.spec, job.interval, admitted)
    key = interval_key(deps.run_id, "verdicts", job.interval, "verdicts")
    write_rows(deps.lake, key, rows, VERDICTS)
    return VerifyFacts(key, dict(Counter(row["verdict"] for row in rows)))


def segment_readers(deps: RunDeps, interval: Interval) -> dict[Segment, SegmentReader]:
    """A reader of each of the run's three segments."""
    return {
        segment: SegmentReader(deps.lake, deps.run_id, interval, segment, deps.spec.groups)
        for segment in JUDGED_SEGMENTS
    }


def _rank(row: Row) -> int:
    return int(row["rank"])


def by_hash(lake: Lake, run_id: str, kind: str, interval: Interval) -> dict[str, Row]:
    """An interval's rows of one kind by their factors' hashes."""
    rows = read_rows(lake, run_key(run_id, f"{kind}/interval={interval.value}"))
    return {row["hash"]: row for row in rows}


def verdict_row(
    ranked: Row,
    trial: Row,
    validated: Row,
    veto: Row,
    looks: Looks,
    earlier: KnownFactors,
    readers: dict[Segment, SegmentReader],
    deps: RunDeps,
) -> Row:
    """VERDICTS of one finalist; the holdout stays shut for one that was vetoed."""
    factor = read_expression(trial["expression"])
    discovery, validation = score_of(trial), score_of(validated)
    vetoed = bool(veto.get("vetoed"))
    holdout = None
    if not vetoed:
        holdout = readers[Segment.HOLDOUT].score(factor, deps.spec, discovery.direction)
    validating, known = readers[Segment.VALIDATION], readers[Segment.DISCOVERY]
    novelty = earlier.measure(validating.values(factor), discovery.direction, deps.spec)
    certified = sees_no_future(factor, known.panel(factor.columns).panel, known.labels())
    verdict = judge(
        discovery,
        validation,
        holdout,
        trials=TrialFacts(
            ranked["n_trials"], ranked["n_effective"], ranked["sharpe_variance"], ranked["bh_p"]
        ),
        thresholds=deps.spec.gates,
        library_correlation=_likest(ranked, novelty),
        look_ahead_ok=certified,
        check_faults=check(factor),
        looks_before=looks.before,
    )
    plain = verdict.to_dict()
    veto_reason = veto.get("reason") or ""
    reasons = [f"Vetoed by final_verification: {veto_reason}"] if vetoed else plain["reasons"]
    return {
        **{name: trial[name] for name in ("hash", "expression", "interval", "hypothesis", "tier",
                                          "symbol", "call_id", "call_cost_usd_micros", "round",
                                          "lookback_bars")},
        **{name: ranked[name] for name in ("rank", "n_trials", "n_effective", "bh_p",
                                           "library_correlation", "n_clusters", "pbo",
                                           "discovery_pbo", "residual_rank_ic", "residual_t",
                                           "shared_subtree_frac", "complexity_nodes")},
        **novelty,
        "verdict": Grade.REJECTED.value if vetoed else plain["grade"],
        "direction": discovery.direction,
        "veto_reason": veto_reason,
        "kept_by_model": bool(veto.get("kept")),
        "look_ahead_ok": certified,
        "holdout_looks": looks.so_far if holdout else 0,
        "holdout_looks_before": looks.before if holdout else 0,
        "deflated_sharpe": plain["deflated_sharpe"],
        "deflated_sharpe_effective": plain["deflated_sharpe_effective"],
        "deflated_sharpe_uncapped": plain["deflated_sharpe_uncapped"],
        "reasons": json.dumps(reasons),
        "gates": json.dumps(plain["gates"]),
        "code_version": alphamill.__version__,
        "snapshot": _snapshot(deps, trial["interval"]),
        **_numbers(Segment.DISCOVERY, discovery, SCORE_COLUMNS + STABILITY_COLUMNS),
        **_numbers(Segment.VALIDATION, validation),
        **(_numbers(Segment.HOLDOUT, holdout) if holdout else {}),
        **_dates(readers),
    }  # fmt: skip


def _likest(ranked: Row, novelty: Mapping[str, Any]) -> float:
    """The largest |correlation| with a better finalist or with what earlier runs admitted."""
    within, earlier = ranked["library_correlation"], novelty.get("earlier_correlation", 0.0)
    return max(float(within), abs(float(earlier)))


def _snapshot(deps: RunDeps, interval: str) -> str:
    manifest = read_manifest(deps.lake, deps.run_id, Interval(interval))
    return manifest.snapshot if manifest else ""


def _numbers(segment: Segment, result: Score, names: Sequence[str] = SCORE_COLUMNS) -> Row:
    plain = result.to_dict()
    return {f"{segment.value}_{name}": plain[name] for name in names}


def _dates(readers: dict[Segment, SegmentReader]) -> Row:
    """First and last bar that is scored, by segment; both are open times."""
    dates: Row = {}
    for name, reader in readers.items():
        segment = reader.panel(())
        scored = segment.panel.times_ms[segment.scored]
        dates[f"{name.value}_start_ms"] = int(scored[0])
        dates[f"{name.value}_end_ms"] = int(scored[-1])
    return dates
