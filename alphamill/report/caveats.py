"""What belongs to every figure of a run: its cost, its looks at the holdout, its survivors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.ledger import RunRecord
from alphamill.report.values import usd, whole
from alphamill.runs.funnel import ADMITTED, spending
from alphamill.runs.library import KNOWN
from alphamill.runs.panels import read_manifest
from alphamill.runs.published import run_rows
from alphamill.runs.schemas import UNMEASURED

Row = Mapping[str, Any]


def remarks(run: RunRecord, factors: Sequence[Row]) -> list[str]:
    """A mining run's sentences, those that have something to say."""
    trials = run_rows(run, "trials")
    said = (
        *unmeasured_lines(trials),
        spent_line(run_rows(run, "calls"), factors),
        looks_line(factors),
        known_line(trials),
        survivors_line(run),
        funding_line(run),
    )
    return [sentence for sentence in said if sentence]


def spent_line(calls: Sequence[Row], factors: Sequence[Row]) -> str:
    """For example "$0.007754 for 27 calls; $0.003877 a factor that was not rejected"."""
    answers, cost, unknown = spending(calls)
    held = sum(factor["verdict"] in ADMITTED for factor in factors)
    line = f"{usd(cost)} for {whole(answers)} model {'call' if answers == 1 else 'calls'}"
    line += f", {usd(unknown)} more possibly billed" if unknown else ""
    return line + (f"; {usd((cost + unknown) / held)} a factor not rejected" if held else "")


def unmeasured_lines(trials: Sequence[Row]) -> list[str]:
    """Why nothing at all could be measured at an interval; none where something was."""
    lines = []
    for interval in dict.fromkeys(row["interval"] for row in trials):
        own = [row for row in trials if row["interval"] == interval]
        if any(row["status"] == "evaluated" for row in own):
            continue
        reasons = Counter(row["reason"] or row["status"] for row in own)
        reason, count = reasons.most_common(1)[0]
        of = "" if own[0]["status"] == UNMEASURED else f" ({whole(count)} of {whole(len(own))})"
        lines.append(f"Nothing could be measured at {interval}: {reason}{of}.")
    return lines


def known_line(trials: Sequence[Row]) -> str:
    """How many trials say what earlier runs admitted; "" for none."""
    known = sum(
        str(row.get(name) or "").startswith(KNOWN)
        for row in trials
        for name in ("reason", "why_not_finalist")
    )
    return f"{whole(known)} trials say what earlier runs have in the library." if known else ""


def looks_line(factors: Sequence[Row]) -> str:
    """How often the holdout was looked at; "" if it was not opened."""
    looks = [factor["holdout_looks"] or 0 for factor in factors]  # 0: vetoed, and never shown
    most, own = max(looks, default=0), sum(map(bool, looks))
    if not most:
        return ""
    before = max(factor.get("holdout_looks_before") or 0 for factor in factors)
    others = "" if most == own else f", {whole(before)} of them by earlier runs"
    others += ": the hurdle of its t is raised for each of those" if before else ""
    return f"The bars of the holdout were shown to {whole(most)} factors so far{others}."


def survivors_line(run: RunRecord) -> str:
    """What the run's universe says about delisted coins; "" where nothing is known of it."""
    lake = Lake(run.spec["lake"])
    panels = [read_manifest(lake, run.id, Interval(name)) for name in run.spec["intervals"]]
    known = [panel for panel in panels if panel is not None and panel.ended is not None]
    if not known:
        return ""
    ended = sorted({symbol for panel in known for symbol in panel.ended or ()})
    symbols = {symbol for panel in known for symbol in panel.symbols}
    if not ended:
        return (
            f"Survivorship: each of the {len(symbols)} symbols still traded at the end of the "
            "range. Coins that collapsed and were delisted are missing, which flatters whatever "
            "buys what has fallen."
        )
    return (
        f"{len(ended)} of {len(symbols)} symbols stopped trading within the range; their last "
        f"returns are in every figure: {', '.join(ended[:8])}{', ...' if ended[8:] else ''}."
    )


def funding_line(run: RunRecord) -> str:
    """Where a futures run could not charge funding; "" on spot and where all of it is known."""
    if not Market(run.spec["market"]).has_funding:
        return ""
    lake = Lake(run.spec["lake"])
    panels = [read_manifest(lake, run.id, Interval(name)) for name in run.spec["intervals"]]
    made = [panel for panel in panels if panel is not None]
    if any(panel.funding_unknown is None for panel in made):
        return "Funding was not fetched when this run was made: no figure charges it."
    unknown: Counter[str] = Counter()
    for panel in made:
        unknown.update({name: bars for name, bars in (panel.funding_unknown or {}).items() if bars})
    if not unknown:
        return ""
    worst = [f"{symbol} {whole(bars)}" for symbol, bars in unknown.most_common(8)]
    return (
        f"Funding is not known in {whole(unknown.total())} bars, where none is charged: "
        f"{', '.join(worst)}{', ...' if len(unknown) > 8 else ''}."
    )
