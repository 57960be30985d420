"""One self-contained page for a run: no script, no font, no image, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from alphamill.report.elements import Child, Element, element
from alphamill.report.legend import factors_legend
from alphamill.report.values import (
    NOTHING,
    amount,
    dollars,
    errors_text,
    milliseconds,
    moment,
    number,
    percent,
    plain,
    probability,
    real,
    usd,
    whole,
)

Row = Mapping[str, Any]
_SEGMENTS = ("discovery", "validation", "holdout")
_VERDICTS = ("tradable", "predictive", "rejected")
# Even text that slipped through the escaping could then load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_report(report: Row) -> str:
    """The page of a run, as HTML text. Every part may be missing.

    report: what `page.page_of` gives.
    """
    run = report.get("run") or {}
    factors = report.get("factors") or ()
    title = f"alphamill {plain(run.get('id') or 'report', 80)}"
    body = element(
        "main",
        _header(run, factors),
        _section("Factors", _factors(factors, run)),
        _section("Funnel", _funnel(report.get("funnel") or ())),
        _section("Segments", _segments(report.get("segments") or ())),
        _section("LLM usage", _usage(report.get("usage") or {})),
        _section("Caveats", _caveats(report.get("caveats") or ())),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Element(_style())),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def _style() -> str:
    return files("alphamill.report").joinpath("page.css").read_text(encoding="utf-8")


def _section(title: str, content: Child) -> Element | None:
    return element("section", element("h2", title), content) if content else None


def _header(run: Row, factors: Sequence[Row]) -> Element:
    facts = [
        ("state", plain(run.get("state"), 40)),
        ("market", plain(run.get("market"), 40)),
        ("symbols", _joined(run.get("symbols"))),
        ("intervals", _joined(run.get("intervals"))),
        ("range (UTC)", f"{moment(run.get('start_ms'))} to {moment(run.get('end_ms'))}"),
        ("strategy", plain(run.get("strategy") or NOTHING)),
        *_search(run),
    ]
    counts = {name: sum(f.get("verdict") == name for f in factors) for name in _VERDICTS}
    tiles = [
        element("div", element("b", str(count)), element("span", name), class_=f"tile {name}")
        for name, count in counts.items()
    ]
    notice = run.get("notice")
    return element(
        "header",
        element("h1", plain(run.get("id") or "Report", 80)),
        element("p", plain(notice, 600), class_="notice") if notice else None,
        element("div", tiles, class_="tiles"),
        element("dl", [[element("dt", name), element("dd", text)] for name, text in facts]),
    )


def _search(run: Row) -> Iterator[tuple[str, str]]:
    """What a Sharpe ratio of this run is to be read with."""
    trials, pbo = run.get("trials") or {}, run.get("pbo") or {}
    several = len(trials) > 1
    for interval in trials:
        at = f" at {plain(interval, 4)}" if several else ""
        yield f"trials{at}", whole(trials[interval])
        yield (
            f"overfitting{at}",
            (
                f"{number(pbo.get(interval), 2)} probability that the best of one half of "
                "validation is in the lower half of the other"
            ),
        )
    if run.get("spent"):
        yield "models", plain(run["spent"])


def _joined(values: object) -> str:
    if isinstance(values, str) or not isinstance(values, Iterable):
        return plain(values)
    return plain(", ".join(str(value) for value in values), 600)


def _factors(factors: Sequence[Row], run: Row) -> Child:
    if not factors:
        return element("p", "No factor came out of this run.")
    in_time = run.get("in_time") is True
    correlation = "rank corr. in time" if in_time else "RankIC"
    legend = factors_legend(in_time, real(run.get("participation_frac")) or 0.01)
    headers = ("#", "factor", "verdict", f"{correlation} d / v / h", "t val", "t hold",
               "Sharpe val", "Sharpe hold", "trials", "DSR", "BH p", "turn- over", "even bps",
               "folds", "capa- city", "call")  # fmt: skip
    rows = [_factor(position, factor) for position, factor in enumerate(factors, 1)]
    table = _table(headers, rows, text_columns=(1, 2))
    return [element("div", table, class_="scroll"), element("p", legend, class_="legend")]


def _factor(position: int, factor: Row) -> list[Child]:
    verdict = plain(factor.get("verdict"), 20)
    known = verdict if verdict in _VERDICTS else "unknown"
    rank = factor.get("rank")
    return [
        whole(position if rank is None else rank),
        _expression(factor),
        element("span", verdict, class_=f"verdict {known}"),
        _ics(factor),
        number(_measure(factor, "validation", "t"), 2, signed=True),
        number(_measure(factor, "holdout", "t"), 2, signed=True),
        number(factor.get("net_sharpe"), 2, signed=True),
        number(factor.get("holdout_net_sharpe"), 2, signed=True),
        whole(factor.get("trials")),
        number(factor.get("dsr"), 3),
        probability(factor.get("bh_p")),
        percent(factor.get("turnover")),
        number(factor.get("break_even_bps"), 1),
        percent(_pick(factor, "stability", "same_sign"), 0),
        amount(factor.get("capacity_quote")),
        dollars(factor.get("cost_usd_micros")),
    ]


def _expression(factor: Row) -> Element:
    """The factor, and folded away what was thought and found of it."""
    origin = " · ".join(
        plain(factor[name], 60) for name in ("tier", "symbol_of_origin", "hash") if factor.get(name)
    )
    details = [
        element("p", plain(factor["hypothesis"], 1200)) if factor.get("hypothesis") else None,
        element("p", origin, class_="origin") if origin else None,
        element("p", _beside(factor), class_="origin"),
        element("p", _folds(factor), class_="origin") if _folds(factor) else None,
        [_gate(*gate) for gate in _gates(factor)],
    ]
    code = element("code", plain(factor.get("expression"), 600))
    return element("details", element("summary", code), details)


def _beside(factor: Row) -> str:
    gross = number(factor.get("gross_sharpe"), 2, signed=True)
    return f"Sharpe before costs {gross} · coverage {percent(factor.get('coverage'))}"


def _folds(factor: Row) -> str:
    """What discovery says of the factor in parts; "" where nothing is known of them."""
    known = _pick(factor, "stability", "folds") or ()
    if not known:
        return ""
    folds = " ".join(number(value, 3, signed=True) for value in known)
    walked = number(_pick(factor, "stability", "walk_forward"), 3, signed=True)
    half_life = number(_pick(factor, "stability", "half_life_bars"), 0)
    return f"folds of discovery {folds} · walk-forward {walked} · half-life {half_life} bars"


def _gate(name: str, passed: bool, figures: str) -> Element:
    mark = "✓" if passed else "✗"
    kind = "gate passed" if passed else "gate failed"
    return element("div", f"{mark} {name} {figures}".rstrip(), class_=kind)


def _ics(factor: Row) -> Element:
    """The correlation on the three segments as figures over small bars from a zero line."""
    values = [_measure(factor, segment, "correlation") for segment in _SEGMENTS]
    numbers = [real(value) for value in values]
    top = max((abs(value) for value in numbers if value is not None), default=0.0)
    bars = []
    for position, value in enumerate(numbers):
        if value is not None and top > 0:
            height = 12 * abs(value) / top
            bars.append(
                element(
                    "rect", x=str(4 + 18 * position), width="12", height=f"{height:.2f}",
                    y=f"{14 - height if value > 0 else 14:.2f}",
                    class_="up" if value > 0 else "down",
                )
            )  # fmt: skip
    zero = element("line", x1="0", x2="58", y1="14", y2="14")
    label = " / ".join(number(value, 3, signed=True) for value in values)
    chart = element("svg", zero, bars, viewBox="0 0 58 28", width="58", height="28",
                    role="img", aria_label=label)  # fmt: skip
    return element("div", chart, element("small", label), class_="ics")


def _funnel(steps: Sequence[Row]) -> Child:
    top = max((real(step.get("count")) or 0.0 for step in steps), default=0.0)
    return [
        element(
            "div",
            element("span", plain(step.get("name"), 80)),
            element("i", style=f"width:{100 * (real(step.get('count')) or 0) / max(top, 1):.2f}%"),
            element("b", whole(step.get("count"))),
            class_="step",
        )
        for step in steps
    ]


def _segments(segments: Sequence[Row]) -> Child:
    if not segments:
        return None
    headers = ("segment", "interval", "from (UTC)", "to", "bars", "look-back", "embargo")
    shows: list[Callable[[Row], str]] = [
        lambda row: plain(row.get("name"), 40),
        lambda row: plain(row.get("interval"), 10),
        lambda row: moment(row.get("start_ms")),
        lambda row: moment(row.get("end_ms")),
        lambda row: whole(row.get("bars")),
        lambda row: whole(row.get("history_bars")),
        lambda row: whole(row.get("embargo_bars")),
    ]
    rows = [[show(row) for show in shows] for row in segments]
    return element("div", _table(headers, rows, text_columns=(0, 1, 2, 3)), class_="scroll")


def _usage(usage: Row) -> Child:
    by, totals = usage.get("by") or (), usage.get("totals")
    if not by and not totals:
        return None
    headers = ("day", "tier", "model", "requests", "prompt", "cached", "completion", "cost",
               "errors", "p50", "p99")  # fmt: skip
    rows = [
        [*(plain(row.get(name), 80) for name in ("day", "tier", "model")), *_usage_cells(row)]
        for row in by
    ]
    rows.append(["total", "", "", *_usage_cells(totals or {})])
    return element("div", _table(headers, rows, text_columns=(0, 1, 2)), class_="scroll totalled")


def _usage_cells(row: Row) -> list[str]:
    names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
    return [
        *(whole(row.get(name)) for name in names),
        usd(row.get("cost_usd_micros")),
        errors_text(row.get("errors")),
        milliseconds(_pick(row, "latency_ms", "p50")),
        milliseconds(_pick(row, "latency_ms", "p99")),
    ]


def _caveats(caveats: Sequence[object]) -> Child:
    if not caveats:
        return None
    return element("ul", [element("li", plain(caveat, 1000)) for caveat in caveats])


def _pick(row: Mapping[str, Any], *path: str) -> Any:
    """row[path[0]][path[1]]...; None wherever a step is missing."""
    found: Any = row
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _measure(factor: Mapping[str, Any], segment: str, *names: str) -> Any:
    """The first of `names` that a factor's segment has."""
    return next(
        (value for name in names if (value := _pick(factor, segment, name)) is not None), None
    )


def _gates(factor: Mapping[str, Any]) -> list[tuple[str, bool, str]]:
    """A factor's reasons as (text, passed, figures); a bare sentence counts as not passed."""
    found = []
    for reason in factor.get("reasons") or ():
        if isinstance(reason, Mapping):
            figures = ""
            if real(reason.get("value")) is not None:
                figures = f"{reason['value']:.4g}"
                if real(reason.get("threshold")) is not None:
                    figures += f" (needs {reason['threshold']:.4g})"
            name = reason.get("gate") or reason.get("name")
            found.append((plain(name, 80), reason.get("passed") is True, figures))
        else:
            found.append((plain(reason), False, ""))
    return found


def _table(
    headers: Sequence[str], rows: Iterable[Sequence[Child]], text_columns: tuple[int, ...]
) -> Element:
    def cells(tag: str, values: Sequence[Child]) -> list[Element]:
        return [
            element(tag, value, class_="text" if position in text_columns else "figure")
            for position, value in enumerate(values)
        ]

    head = element("thead", element("tr", cells("th", headers)))
    return element("table", head, element("tbody", [element("tr", cells("td", r)) for r in rows]))
