"""How the offline LLM reads a prompt and words its reply, as any model would have to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from alphamill.llm.prompts.sections import Title
from alphamill.sim.llm.proposer import Idea, refine, scan

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_LISTED = re.compile(r"^\d+\. ([^|\n]+)", re.MULTILINE)
_FAILED = re.compile(r"^- \d+ x [^|\n]+ \| (.+)$", re.MULTILINE)
_COUNT = re.compile(r"Propose (\d+)")
_WRAPPED = re.compile(r"(?:rank|zscore)\((.*)\)")
_KEPT = 3


def answer(rng: Random, body: Mapping[str, Any]) -> dict[str, Any]:
    """The reply's JSON to a chat completion request, whichever tier asks."""
    messages: Sequence[Mapping[str, Any]] = body["messages"]
    system, user = str(messages[0].get("content", "")), str(messages[-1].get("content", ""))
    sections = _sections(user)
    if '"keep"' in system:
        return _review(_listed(sections.get(Title.FINALISTS, "")))
    worked = _listed(sections.get(Title.WORKED, ""))
    failed = _FAILED.findall(sections.get(Title.FAILED, ""))
    failed += sections.get(Title.TRIED, "").split("\n")
    failed += sections.get(Title.TAKEN, "").split("\n")
    slower = Title.TOO_FAST in sections
    theme = sections.get(Title.THEME, "").partition("candidates: ")[2].partition(":")[0]
    found = _COUNT.search(sections.get(Title.TASK, ""))
    count = min(int(found.group(1)), 50) if found else 5
    if "improved" in sections.get(Title.TASK, ""):
        return _proposal(refine(rng, count, worked, slower=slower))
    return _proposal(scan(rng, count, worked, failed, theme, slower=slower))


def _sections(text: str) -> dict[str, str]:
    parts = _SECTION.split(text)
    return {title.strip(): body for title, body in zip(parts[1::2], parts[2::2], strict=False)}


def _listed(text: str) -> list[str]:
    return [found.strip() for found in _LISTED.findall(text)]


def _proposal(ideas: Sequence[Idea]) -> dict[str, Any]:
    return {
        "candidates": [
            {
                "expression": idea.expression,
                "hypothesis": idea.hypothesis,
                "horizon_bars": None,
                "direction": None,
            }
            for idea in ideas
        ]
    }


def _review(factors: Sequence[str]) -> dict[str, Any]:
    """Keeps the first three; vetoes what only dresses up a factor listed before it."""
    veto = []
    seen: set[str] = set()
    for number, expression in enumerate(factors, 1):
        core = expression
        while found := _WRAPPED.fullmatch(core):
            core = found.group(1)
        if core in seen:
            veto.append({"index": number, "reason": "repeats an earlier factor in other words"})
        seen.add(core)
    vetoed = {entry["index"] for entry in veto}
    kept = [number for number in range(1, len(factors) + 1) if number not in vetoed]
    return {"keep": kept[:_KEPT], "veto": veto}
