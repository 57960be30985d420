"""Tables for the terminal: pure functions from plain dicts to rich renderables.

Every cell is a `Text`, never a markup string, so that brackets in a model's words stay brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from alphamill.report.values import (
    NOTHING,
    elapsed,
    measure,
    moment,
    number,
    percent,
    pick,
    plain,
    usd,
    whole,
)

Row = Mapping[str, Any]
Cell = str | Text

VERDICT_STYLES = {"tradable": "bold green", "predictive": "cyan", "rejected": "dim"}
_BAR_CELLS = 24
_WIDE_COLUMNS = 120


def leaderboard_table(factors: Sequence[Row]) -> Leaderboard:
    """Factors in the order given: what they are, what they measured, and what the verdict is."""
    return Leaderboard(factors)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Figures with the factors beside them, or beneath them where the terminal is narrow.

    turn: turnover; N: trials of the run; net SR: annualised Sharpe ratio after costs.
    """

    factors: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        wide = options.max_width >= _WIDE_COLUMNS
        table = Table(
            title="Factors", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        table.add_column("#", justify="right", no_wrap=True)
        if wide:
            table.add_column("factor", min_width=30, max_width=90, overflow="fold")
        table.add_column("verdict", no_wrap=True)
        for name in ("IC val", "IC hold", "t val", "net SR", "turn", "N", "DSR", "cost"):
            table.add_column(name, justify="right", no_wrap=True)
        for position, factor in enumerate(self.factors, 1):
            cells = _factor_cells(position, factor)
            table.add_row(*_texts(cells if wide else [cells[0], *cells[2:]]))
        yield table
        if not self.factors:
            yield Text("no factors", style="dim")
        elif not wide:
            yield self._beneath()

    def _beneath(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        table.add_column(justify="right", no_wrap=True)
        table.add_column(overflow="fold")
        for position, factor in enumerate(self.factors, 1):
            table.add_row(*_texts(_factor_cells(position, factor)[:2]))
        return table


def _factor_cells(position: int, factor: Row) -> list[Cell]:
    rank = factor.get("rank")
    verdict = plain(factor.get("verdict"), 16)
    return [
        whole(position if rank is None else rank),
        plain(factor.get("expression")),
        Text(verdict, style=VERDICT_STYLES.get(verdict, "")),
        number(measure(factor, "validation", "rank_ic", "rank_ic_mean"), 4, signed=True),
        number(measure(factor, "holdout", "rank_ic", "rank_ic_mean"), 4, signed=True),
        number(measure(factor, "validation", "ic_t", "rank_ic_t"), 2, signed=True),
        number(factor.get("net_sharpe"), 2, signed=True),
        percent(factor.get("turnover")),
        whole(factor.get("trials")),
        number(factor.get("dsr"), 3),
        usd(factor.get("cost_usd_micros")),
    ]


def usage_table(usage: Row) -> Table:
    """Requests, tokens, money, errors and latency (ms) by day, tier and model; the total last."""
    totals = pick(usage, "totals") or {}
    table = Table(
        title="LLM usage", title_justify="left", show_footer=True, box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0), caption=_error_kinds(totals.get("errors")), caption_justify="left",
    )  # fmt: skip
    table.add_column("day, tier, model", footer=Text("total"), min_width=14, overflow="fold")
    headers = ("calls", "prompt", "cached", "output", "cost", "failed", "p50", "p99 ms")
    for header, value in zip(headers, _usage_cells(totals), strict=True):
        table.add_column(header, footer=Text(value), justify="right", no_wrap=True)
    for row in usage.get("by") or ():
        names = (plain(row.get(name), 60) for name in ("day", "tier", "model"))
        table.add_row(*_texts([" ".join(names), *_usage_cells(row)]))
    return table


def _usage_cells(row: Row) -> list[str]:
    counted = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
    errors = row.get("errors")
    return [
        *(whole(row.get(name)) for name in counted),
        usd(row.get("cost_usd_micros")),
        whole(sum(errors.values())) if isinstance(errors, Mapping) else NOTHING,
        whole(pick(row, "latency_ms", "p50")),
        whole(pick(row, "latency_ms", "p99")),
    ]


def _error_kinds(errors: object) -> Text | None:
    return (
        Text(f"failed: {errors_text(errors)}") if isinstance(errors, Mapping) and errors else None
    )


def errors_text(errors: object) -> str:
    """3 (timeout 2, http_500 1); 0 without any."""
    if not isinstance(errors, Mapping):
        return NOTHING
    total = sum(errors.values())
    kinds = ", ".join(f"{plain(kind, 40)} {whole(count)}" for kind, count in errors.items())
    return f"{whole(total)} ({kinds})" if total else "0"


def progress_table(counts: Mapping[str, Mapping[str, int]], elapsed_s: float) -> Table:
    """A bar a stage: jobs by state, as the ledger counts them (stage -> state -> jobs)."""
    table = Table(title=f"{elapsed(elapsed_s)} elapsed", title_justify="left", box=None)
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("done", "running", "waiting", "dead"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage, states in counts.items():
        done, running, failed = (
            sum(states.get(state, 0) for state in group) for group in (_DONE, _RUNNING, _FAILED)
        )
        waiting = max(0, sum(states.values()) - done - running - failed)
        dead = Text(whole(failed), style="bold red" if failed else "dim")
        bar = _bar(done, failed, running, waiting)
        table.add_row(*_texts([plain(stage, 40), bar, whole(done), whole(running),
                               whole(waiting), dead]))  # fmt: skip
    return table


def bars_line(facts: Row) -> Text:
    """Bars landed or compared, a second's, the exchange's limit in use, the time left."""
    line = Text()
    compared = facts.get("compared") or 0
    if compared:
        line.append(f"compared {whole(compared)} bars: ")
        found = [
            f"{whole(facts.get(kind))} {kind}" for kind in ("corrected", "appeared", "vanished")
        ]
        line.append(", ".join(found), style="yellow" if _changed(facts) else "")
    else:
        line.append(f"{whole(facts.get('bars'))} bars landed")
    line.append(f"; {whole(round(facts.get('bars_per_s') or 0))} a second")
    used, limit = facts.get("weight_used"), facts.get("weight_limit")
    if used is not None and limit:
        line.append(
            f"\nweight {whole(used)} of {whole(limit)} this minute ({percent(used / limit)})"
        )
        left_s = facts.get("left_s")
        line.append("" if left_s is None else f"; about {elapsed(left_s)} left")
    return line


def _changed(facts: Row) -> bool:
    return any(facts.get(kind) for kind in ("corrected", "appeared", "vanished"))


_DONE = ("done",)
_RUNNING = ("running",)
_FAILED = ("dead", "skipped", "cancelled")


def _bar(done: int, failed: int, running: int, waiting: int) -> Text:
    total = max(1, done + failed + running + waiting)
    bar, shown, reached = Text(), 0, 0
    for jobs, style in ((done, "green"), (failed, "red"), (running, "yellow")):
        reached += jobs
        cells = reached * _BAR_CELLS // total - shown
        bar.append("━" * cells, style=style)
        shown += cells
    return bar.append("─" * (_BAR_CELLS - shown), style="dim")


def gaps_table(gaps: Sequence[Row]) -> Table:
    """Stretches without bars: where, how many, and why."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("market", lambda row: plain(row.get("market"), 20)),
        ("symbol", lambda row: plain(row.get("symbol"), 40)),
        ("interval", lambda row: plain(row.get("interval"), 10)),
        ("from (UTC)", lambda row: moment(row.get("start_ms"))),
        ("to", lambda row: moment(row.get("end_ms"))),
        ("bars", lambda row: whole(row.get("bars"))),
        ("why", lambda row: plain(row.get("why"), 80)),
    ]
    return _listing("Missing bars", gaps, columns, right={"bars"}, empty="nothing is missing")


def models_table(models: Sequence[Row]) -> Table:
    """Models with their prices in USD per million tokens, and the tiers that use them."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("tier", lambda row: plain(row.get("tier"), 30)),
        ("model", lambda row: plain(row.get("model"), 80)),
        ("input", lambda row: _price(row.get("input"))),
        ("cached", lambda row: _price(row.get("cached_input"))),
        ("output", lambda row: _price(row.get("output"))),
        ("as of", lambda row: plain(row.get("as_of"), 20)),
        ("note", lambda row: plain(row.get("note"), 120)),
    ]
    right = {"input", "cached", "output"}
    return _listing("Models, USD per million tokens", models, columns, right, "no models")


def _price(value: object) -> str:
    shown = number(value, 4)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def checks_table(checks: Sequence[Row]) -> Table:
    """What `doctor` found: ok True passed, False failed, None not decided; and the cure."""
    table = Table(title="Checks", title_justify="left", box=None)
    for name in ("", "check", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for check in checks:
        mark, style = _MARKS.get(check.get("ok"), _MARKS[None])
        cells: list[Cell] = [
            Text(mark, style=style),
            plain(check.get("name"), 60),
            plain(check.get("detail") or ""),
            plain(check.get("cure") or ""),
        ]
        table.add_row(*_texts(cells))
    return table


_MARKS: dict[object, tuple[str, str]] = {
    True: ("ok", "green"), False: ("fails", "bold red"), None: ("note", "yellow"),
}  # fmt: skip


def _listing(
    title: str,
    rows: Iterable[Row],
    columns: Sequence[tuple[str, Callable[[Row], str]]],
    right: set[str],
    empty: str,
) -> Table:
    table = Table(title=title, title_justify="left")
    for name, _ in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*_texts([show(row) for _, show in columns]))
    if not table.row_count:
        table.add_row(Text(empty, style="dim"))
    return table


def _texts(cells: Iterable[Cell]) -> list[Text]:
    return [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
