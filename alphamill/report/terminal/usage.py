"""Token usage and cost as tables, from the report that `usage.build_report` makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import plain, real, usd, whole

_WIDE_COLUMNS = 120
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


def tiers_table(report: Mapping[str, Any]) -> UsageTable:
    """A report of one run: a line a tier and model (and day, where there are several)."""
    days = len({row["day"] for row in report["by"]}) > 1
    names = ("tier", "model", "day") if days else ("tier", "model")
    labels = [[plain(row[name], 40) for name in names] for row in report["by"]]
    return UsageTable("tier, model", labels, report["by"], report["totals"], latencies=True)


def runs_table(report: Mapping[str, Any]) -> UsageTable:
    """A report of all runs: a line a day and run."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in report["by"]:
        rows.setdefault((row["day"], row["run"]), []).append(row)
    keyed = sorted(rows.items())
    labels = [[day, plain(run, 40)] for (day, run), _ in keyed]
    return UsageTable(
        "day, run", labels, [_added(of_run) for _, of_run in keyed], report["totals"], False
    )


def _added(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    total: dict[str, Any] = {"errors": {}}
    for row in rows:
        for name in ("requests", *_TOKENS, "cost_usd_micros"):
            total[name] = total.get(name, 0) + row[name]
        for kind, count in row["errors"].items():
            total["errors"][kind] = total["errors"].get(kind, 0) + count
    return total


@dataclass(frozen=True, slots=True)
class UsageTable:
    """Rows under their labels, the total last. A narrow terminal gets rounded token counts."""

    header: str
    labels: Sequence[Sequence[str]]
    rows: Sequence[Mapping[str, Any]]
    totals: Mapping[str, Any]
    latencies: bool

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        wide = options.max_width >= _WIDE_COLUMNS
        figures = [">calls", ">prompt", ">cached", ">output", ">cost", ">failed"]
        table = empty_table(
            self.header, *figures, *([">p50", ">p99 ms"] if self.latencies else []), wide=wide
        )
        table.show_footer = True
        totals = ["total", *self._cells(self.totals, wide)]
        for column, total in zip(table.columns, totals, strict=True):
            column.footer = Text(total)
        for label, row in zip(self.labels, self.rows, strict=True):
            # Where a line would not fit, a model stands under its tier.
            between = "\n" if self.latencies and not wide else "  "
            table.add(between.join(label), *self._cells(row, wide))
        yield table
        if errors := self.totals.get("errors"):
            kinds = ", ".join(f"{plain(kind, 40)} {whole(n)}" for kind, n in errors.items())
            yield Text(f"failed: {kinds}", style="yellow")
        for said in (*doubts(self.totals), provider_difference(self.totals)):
            if said:
                yield Text(said, style="yellow")

    def _cells(self, row: Mapping[str, Any], wide: bool) -> list[str]:
        tokens = whole if wide else rounded
        cells = [
            whole(row["requests"]),
            *(tokens(row[name]) for name in _TOKENS),
            usd(row["cost_usd_micros"]),
            whole(sum(row["errors"].values())),
        ]
        if self.latencies:
            cells += [whole(row["latency_ms"]["p50"]), whole(row["latency_ms"]["p99"])]
        return cells


def doubts(totals: Mapping[str, Any]) -> list[str]:
    """What of the cost is estimated, read the dearer way, or may be more than one call each."""
    estimated, doubted = totals.get("estimated_requests", 0), totals.get("doubted_requests", 0)
    again = totals.get("gateway_retries", 0)
    said = []
    if estimated:
        cost = usd(totals["estimated_cost_usd_micros"])
        said.append(
            f"estimated: {cost} for {_calls(estimated)} without usable token counts or a known "
            "price, charged as reserved"
        )
    if doubted:
        said.append(f"contradictory token counts: {_calls(doubted)}, read the dearer way")
    if again:
        said.append(f"gateways made {_calls(again)} more than were asked for: they may be billed")
    return said


def _calls(count: int) -> str:
    return f"{whole(count)} {'call' if count == 1 else 'calls'}"


def provider_difference(totals: Mapping[str, Any]) -> str:
    """What providers say of the calls that they priced, against our table; "" if none did."""
    theirs = totals.get("provider_cost_usd_micros", 0)
    ours = totals.get("compared_cost_usd_micros", 0)
    if not theirs and not ours:
        return ""
    said = f"providers state {usd(theirs)} for calls that the price table has at {usd(ours)}"
    if theirs == ours:
        return f"{said}: the same"
    return f"{said}: {usd(abs(theirs - ours))} {'more' if theirs > ours else 'less'}"


def rounded(count: object) -> str:
    """A count in at most six characters: 99,999, 123k, 12.3M, 4.5G."""
    known = real(count) or 0.0
    for unit, size in (("", 1), ("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if known / size < (99_999.5 if not unit else 999.5):
            digits = 1 if unit not in ("", "k") and known / size < 99.95 else 0
            return f"{known / size:,.{digits}f}{unit}"
    return f"{known:.1e}"
