"""What searches of a run's own bars found, as tables: with nothing in them, a factor, or as are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from alphamill import controls
from alphamill.report.terminal.control_arms import DEMANDS, Lines
from alphamill.report.terminal.tables import TextTable
from alphamill.report.values import dollars, number, percent, plain, whole

if TYPE_CHECKING:
    from alphamill.controls.models import Excess, Price

# Searches of noise that another auditor's gate let through at its 5 % level: "garden", roadmap of
# 19 September 2026.
NOISE_ANCHOR = {"searches": 419, "claiming": 15}


def noise_table(found: controls.NoiseCount) -> Table:
    """What searches of a run's own bars with worthless returns came to."""
    lines = Lines()
    most, level = DEMANDS["noise_called_frac_at_most"], DEMANDS["ks_p_at_least"]
    searches, passed = NOISE_ANCHOR["searches"], NOISE_ANCHOR["claiming"]
    lines.say(
        "searches that claim anything",
        f"{found.claiming} of {found.seeds}",
        f"a factor admitted; 95 %: {percent(found.low_frac)} to {percent(found.high_frac)} "
        f"(Clopper-Pearson). Published of another auditor: {passed} of {searches} "
        f"({percent(passed / searches)})",
        f"at most {percent(most, 0)}",
        found.claiming_frac <= most if found.seeds else None,
    )
    lines.say(
        "  factors claimed a search",
        f"{number(found.mean_claims, 3)}, {found.worst_claims}",
        "mean of seeds, worst of seeds",
    )
    lines.say(
        "  best t on validation",
        f"{number(found.mean_best_t)}, {number(found.worst_best_t)}",
        "of each search's best trial, which is luck alone: mean of seeds, worst of seeds",
    )
    lines.say("  trials", whole(found.trials), "over all searches; each counts in its verdicts")
    lines.say(
        "p-values uniform on noise",
        number(found.ks_p, 3),
        "p of Kolmogorov and Smirnov, one p-value a search (its first trial's on validation)",
        f"at least {level}",
        None if found.ks_p != found.ks_p else found.ks_p >= level,
    )
    if found.incomplete:
        lines.say(
            "searches left out",
            whole(found.incomplete),
            "a job of theirs failed, or a budget was spent; the same command does them again",
            "none",
            good=False,
        )
    return lines.table


def power_table(rows: Sequence[controls.PowerCount]) -> Table:
    """A strength a row: what was planted, what of it was seen alone, and what a search found."""
    table = TextTable(box=None, padding=(0, 2, 0, 0))
    columns = ("IC", "realised: mean, lowest", "judged alone: predictive", "met", "found: admitted")
    for name in (*columns, "other claims", "left out"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        power = row.power
        table.add(
            number(power.target_ic, 3),
            f"{number(row.mean_ic, 4)}, {number(row.lowest_ic, 4)}",
            _with_interval(power.predictive_alone, power.planted, row.alone),
            f"{power.met} of {power.mined}",
            _with_interval(power.found, power.mined, row.found),
            whole(row.false_claims),
            whole(row.incomplete),
        )
    table.caption = (
        "alone: as the only trial. met: a trial was the formula in other words. found: a factor "
        "that stands for it was admitted. other claims: searches that admitted something else "
        "alone. In brackets: 95 %, Clopper-Pearson, of seeds of the same bars."
    )
    return table


def _with_interval(part: int, of: int, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{part} of {of} ({percent(low, 0)} to {percent(high, 0)})"


def models_tables(rows: Sequence[controls.ModelCount]) -> list[Table]:
    """What each configuration's candidates became and cost; what it found beyond luck, how fast."""
    bought = _models_table("count", "a search: mean, worst", "tokens each", "dollars each (95 %)")
    for row in rows:
        for one in row.yields:
            bought.add(
                plain(row.name, 30) if one is row.yields[0] else "",
                one.stage,
                whole(one.count),
                f"{number(one.mean, 1)}, {whole(one.worst)}",
                _each(one.tokens, whole),
                _each(one.usd_micros, dollars),
            )
        bought.add_section()
    bought.caption = (
        "valid: parsed, its units fit, measured or known already. new: not proposed before, nor in "
        "the library. predictive: admitted, tradable ones too. Of what was paid, over all searches "
        "(Garwood's interval of the count)."
    )
    beyond = _models_table(
        "searches",
        "calls: failed",
        "dollars",
        "passes validation, over luck",
        "admitted, over luck",
    )
    beyond.columns[1].header = "models"
    beyond.add_column("p50, p99 ms", justify="right")
    for row in rows:
        left_out = f" ({row.incomplete} left out)" if row.incomplete else ""
        beyond.add(
            plain(row.name, 30),
            plain(row.models, 60),
            whole(row.searches) + left_out,
            f"{whole(row.calls)}: {whole(row.failed_attempts)}",
            dollars(row.cost_usd_micros),
            _over(row.passes, percent),
            _over(row.admitted, lambda value: number(value, 2, signed=True)),
            f"{whole(row.latency_p50_ms)}, {whole(row.latency_p99_ms)}",
        )
    beyond.caption = (
        "over luck: less what as many random formulas came to on the same bars; mean of searches, "
        "worst of searches, 95 % of the mean (Student). p50: mean of searches, p99: the worst."
    )
    return [bought, beyond]


def _models_table(*columns: str) -> TextTable:
    table = TextTable(box=None, padding=(0, 2, 0, 0))
    table.add_column("configuration", overflow="fold")
    table.add_column("of each", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _each(price: Price, shown: Callable[[object], str]) -> str:
    if price.each != price.each:
        return f"over {shown(price.low)}"
    return f"{shown(price.each)} ({shown(price.low)} to {shown(price.high)})"


def _over(excess: Excess, shown: Callable[[object], str]) -> str:
    return (
        f"{shown(excess.mean)}, {shown(excess.worst)} ({shown(excess.low)} to {shown(excess.high)})"
    )
