"""Which code did a run's jobs: workers of different code give figures that are not of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alphamill.ledger import JobState, RunRecord


@dataclass(frozen=True, slots=True)
class Share:
    """A build and how many of a run's jobs it did.

    build: its short name, "" for code that did not say. version, code, libraries (name -> version,
    with the interpreter's and the machine's): what is behind it; empty where nobody remembers.
    """

    build: str
    jobs: int
    version: str = ""
    code: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)


def shares(run: RunRecord, known: Mapping[str, Mapping[str, Any]], also: str = "") -> list[Share]:
    """Of the jobs that a run has done, the largest first; [] where none of them said.

    known: what is behind short names. also: the build of one more job, which is being done.
    """
    counts = dict(run.builds)
    if also:
        counts[also] = counts.get(also, 0) + 1
    done = sum(states.get(JobState.DONE, 0) for states in run.counts.values()) + bool(also)
    untold = done - sum(counts.values())
    if counts and untold > 0:
        counts[""] = untold
    found = [Share(build, jobs, **_behind(known.get(build))) for build, jobs in counts.items()]
    return sorted(found, key=lambda share: (-share.jobs, share.build))


def _behind(told: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: told[name] for name in ("version", "code", "libraries")} if told else {}


def builds_line(found: Sequence[Share]) -> str:
    """That a run's jobs were done by different builds, and in what these differ; "" by one."""
    if len(found) < 2:
        return ""
    usual, *others = found
    said = [f"{usual.build or 'code that did not say'} ({_jobs(usual.jobs)})"]
    for other in others:
        name = other.build or "code that did not say which it is"
        unlike = _unlike(other, usual)
        said.append(f"{name} ({_jobs(other.jobs)}{': ' if unlike else ''}{unlike})")
    return (
        f"Computed by workers of different code or libraries: {', '.join(said)}. Figures may not "
        "be of one kind: restart all workers on one version, and run it with --again."
    )


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _unlike(other: Share, usual: Share) -> str:
    """For example "numpy 1.26.4 instead of 2.1.0"."""
    if not other.code or not usual.code:
        return ""
    parts = []
    if other.version != usual.version:
        parts.append(f"alphamill {other.version} instead of {usual.version}")
    elif other.code != usual.code:
        parts.append("other source files")
    parts += [
        f"{name} {other.libraries[name]} instead of {usual.libraries[name]}"
        for name in sorted(other.libraries.keys() & usual.libraries.keys())
        if other.libraries[name] != usual.libraries[name]
    ]
    return ", ".join(parts)
