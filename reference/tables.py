"""Every parquet table and run.json, from their schemas; words from the rows' own classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache

import pyarrow as pa

from alphamill.evaluation import Segment
from alphamill.frames import tables
from alphamill.jobs import RunSpec
from alphamill.lake import corrections
from alphamill.ledger import JobRecord, JobState
from alphamill.live import follow_up, signals, waited
from alphamill.llm.journal.records import CallRecord
from alphamill.runs import schemas
from alphamill.runs.failures import Unasked, missing_row
from alphamill.runs.figures import JUDGED_SEGMENTS, DiscoveryFigures, Measures
from alphamill.runs.rows import (
    Admission,
    JudgedFactor,
    RankedTrial,
    ReviewedFinalist,
    Trial,
    ValidatedTrial,
)
from reference.markdown import code, page, table, words
from reference.sources import first_paragraph, schema_comments, told

# title: (where, schema, the classes whose words its columns have)
_RUN_TABLES: Mapping[str, tuple[str, pa.Schema, Sequence[type]]] = {
    "trials.parquet of a mining run": ("runs/run=ID", schemas.MINED_TRIALS, (Trial, Measures)),
    "trials.parquet of an evaluate run": ("runs/run=ID", schemas.GIVEN_TRIALS, (Trial, Measures)),
    "factors.parquet": ("runs/run=ID", schemas.VERDICTS, (JudgedFactor, DiscoveryFigures)),
    "calls.parquet": ("runs/run=ID", schemas.CALLS, (CallRecord,)),
    "proposals": ("runs/run=ID/proposals", schemas.PROPOSALS, (Trial,)),
    "trials of discovery": ("runs/run=ID/trials", schemas.TRIALS, (Trial, Measures)),
    "validation": ("runs/run=ID/validation", schemas.VALIDATION, (ValidatedTrial, Measures)),
    "ranking.parquet": ("runs/run=ID/ranking", schemas.RANKING, (RankedTrial,)),
    "veto.parquet": ("runs/run=ID/veto", schemas.VETO, (ReviewedFinalist,)),
    "admitted.parquet": ("library", schemas.LIBRARY, (Admission,)),
}
_PREFIXES = tuple(f"{segment.value}_" for segment in JUDGED_SEGMENTS)
_SEGMENTS = {
    Segment.DISCOVERY: "what the models are told about",
    Segment.VALIDATION: "ranks",
    Segment.HOLDOUT: "opened once, for finalists",
}


def tables_page() -> str:
    """Market data, then what a run leaves."""
    features = "`open_time`, and one float64 column an [indicator](indicators.md)."
    parts = [
        "## Market data",
        *_market("klines", tables.KLINES, tables),
        *_market("funding", tables.FUNDING, tables),
        *_market("corrections", corrections.CORRECTIONS, corrections),
        *_market("signals", signals.SIGNALS, signals),
        *_market("parity", follow_up.PARITY, follow_up),
        *_market("waiting", waited.WAITING, waited),
        "### features",
        features,
        "## Runs",
        *_run_json(),
    ]
    for title, (where, schema, kinds) in _RUN_TABLES.items():
        said = {name: text for kind in reversed(kinds) for name, text in told(kind).items()}
        rows = [
            (code(field.name), str(field.type), words(meaning(field.name, said)))
            for field in schema
        ]
        row = words(first_paragraph(kinds[0]))
        parts += [f"### {title}", row, f"`{where}`", table(_HEAD, rows)]
    about = (
        "[The lake](../data.md) says where each lies and how to read it. What has no value is "
        "null and never NaN; what a path states (`interval=`, `run=`) is a column of its folder "
        "and not of the file. Prefixes: "
        + ", ".join(f"`{segment.value}_` ({_SEGMENTS[segment]})" for segment in JUDGED_SEGMENTS)
        + "."
    )
    return page("Tables", about, *parts)


_HEAD = ("column", "type", "meaning")
# Columns that a row makes when it is written, with the property that says what they are.
_MADE = {"score": Trial.score, "cost_difference_usd_micros": CallRecord.cost_difference_usd_micros}


def meaning(column: str, said: Mapping[str, str]) -> str:
    """What its rows say of a column, or of the figure behind its segment's prefix; else others."""
    for prefix in ("", *_PREFIXES):
        bare = column.removeprefix(prefix)
        if column.startswith(prefix) and (text := said.get(bare) or _anywhere().get(bare)):
            return text
    return ""


@cache
def _anywhere() -> dict[str, str]:
    """What any of the rows says of a column: a hash is a hash in each table."""
    kinds = [
        kind for _, _, kinds in reversed(list(_RUN_TABLES.values())) for kind in reversed(kinds)
    ]
    made = {name: first_paragraph(prop) for name, prop in _MADE.items()}
    return made | {name: text for kind in kinds for name, text in told(kind).items()}


def _market(title: str, schema: pa.Schema, module: object) -> list[str]:
    said = schema_comments(module)
    rows = [
        (
            code(one.name),
            str(one.type),
            "" if one.nullable else "never null",
            words(said.get(one.name, "")),
        )
        for one in schema
    ]
    return [f"### {title}", table(("column", "type", "null", "meaning"), rows)]


def _run_json() -> list[str]:
    spec = told(RunSpec)
    blank = JobRecord("", "", "", {}, JobState.DEAD)
    return [
        "### run.json",
        "JSON: what was asked for and what is missing; written when a run is published.",
        table(
            ("key", "meaning"),
            (
                (code("run"), "the run's id"),
                *(
                    (code(f"spec.{one.name}"), words(spec.get(one.name, "")))
                    for one in fields(RunSpec)
                ),
                *(
                    (code(f"missing[].{name}"), "of a job that the run ended without")
                    for name in missing_row(blank)
                ),
                *(
                    (code(f"unasked[].{one.name}"), words(first_paragraph(Unasked)))
                    for one in fields(Unasked)
                ),
            ),
        ),
    ]
