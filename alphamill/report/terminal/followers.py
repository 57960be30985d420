"""What followers tell of themselves: the state of lives, problems, dead letters, parity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from alphamill.live.condition import Condition, DeadLetter, ParityResult, Standing
from alphamill.report.terminal.tables import TextTable, empty_grid, empty_table
from alphamill.report.values import NOTHING, counted, elapsed, moment, percent, plain, whole

_IDLE_SHOWN = 5
_STYLES = {"followed": "", "stopped": "dim"}


def parity_text(parity: ParityResult | None) -> str:
    """What all checks of a live came to, in a line."""
    if parity is None:
        return "not checked yet"
    if not parity.values:
        return f"nothing to compare yet, checked {moment(parity.at_ms)} UTC"
    equal = parity.counts.get("equal", 0)
    named = parity.values - equal - parity.unexplained
    return (
        f"{percent(equal / parity.values, 3)} of {counted(parity.values, 'value')} equal to batch "
        f"to the bit, {whole(named)} differ for a named bar, {whole(parity.unexplained)} for no "
        f"known reason; checked {moment(parity.at_ms)} UTC"
    )


def letters_text(count: int, newest: DeadLetter) -> str:
    """Rows that a webhook did not take."""
    rows = (
        f"row {newest.first}"
        if newest.first == newest.last
        else (f"rows {newest.first} to {newest.last}")
    )
    return (
        f"{counted(count, 'dead letter')} of the webhook, the newest {moment(newest.at_ms)} UTC: "
        f"{rows} not taken ({plain(newest.reason, 80)})"
    )


LETTERS_CURE = "the rows are in the lake (live signals --json); mend the receiver, later rows go on"


def standing_text(how: Standing) -> Text:
    """The state of a live, in its colour."""
    return Text(how.state, style=_STYLES.get(how.state, "yellow"))


def troubles(how: Standing) -> Iterator[tuple[str, str]]:
    """What is the matter with a live, and the cure."""
    if how.state == "not followed" and not how.problems:
        yield (
            "nobody follows it",
            "a worker of the pool stream takes it up within seconds: alphamill doctor says if one "
            "is here",
        )
    for one in how.problems:
        yield f"{plain(one.text, 300)} (since {moment(one.since_ms)} UTC)", plain(one.cure, 200)
    if how.live is not None and how.live.idle:
        named = [f"{plain(name)} ({plain(said)})" for name, said in how.live.idle.items()]
        more = f" and {len(named) - _IDLE_SHOWN} more" if len(named) > _IDLE_SHOWN else ""
        yield (
            f"not traded: {', '.join(named[:_IDLE_SHOWN])}{more}",
            "they are not waited for and count against the quorum; follow the others alone: live "
            "start",
        )
    if how.letter is not None:
        yield letters_text(how.letters, how.letter), LETTERS_CURE
    if how.live is not None and (parity := how.live.parity) and parity.unexplained:
        yield unexplained(parity)


def unexplained(parity: ParityResult) -> tuple[str, str]:
    """Values that must not be."""
    what = f"{counted(parity.unexplained, 'value')} differ from batch for no known reason"
    return what, "alphamill live parity names the rows; do not trade on it until that is found"


def troubles_grid(found: Sequence[tuple[str, str]]) -> TextTable:
    """A line each, and the cure beneath."""
    grid = empty_grid("", "")
    for what, cure in found:
        line = Text(what, style="yellow")
        if cure:
            line.append(f"\n-> {cure}", style="bold")
        grid.add(Text("!", style="bold red"), line)
    return grid


def problem_lines(told: Sequence[Condition]) -> list[str]:
    """A line for each thing that is the matter with what is followed."""
    lines = []
    for condition in told:
        for one in condition.problems:
            of = f"{one.of}: " if one.of.startswith("live-") else ""
            lines.append(f"{condition.market} {of}{one.text}: {one.cure}")
        for live in condition.lives:
            if live.letter is not None:
                lines.append(f"{live.live}: {letters_text(live.letters, live.letter)}")
            if live.parity is not None and live.parity.unexplained:
                lines.append(f"{live.live}: {': '.join(unexplained(live.parity))}")
    return lines


def followed_rows(told: Sequence[Condition]) -> list[list[str]]:
    """A row a live that is followed, under FOLLOWED."""
    return [
        [
            live.live,
            f"{live.market} {live.interval}",
            whole(live.rows),
            "on time" if (late_s := live.behind_s(condition.at_ms)) < 1 else elapsed(late_s),
            _share(live.parity),
            NOTHING if live.parity is None else whole(live.parity.unexplained),
            NOTHING if live.parity is None else moment(live.parity.at_ms),
            condition.who,
        ]
        for condition in told
        for live in condition.lives
    ]


FOLLOWED = ("live", "market", ">rows", ">behind", ">equal", ">unexplained", "checked1", "by2")


def _share(parity: ParityResult | None) -> str:
    if parity is None or not parity.values:
        return NOTHING
    return percent(parity.counts.get("equal", 0) / parity.values, 3)


def followed_table(told: Sequence[Condition]) -> TextTable:
    """What is followed, where there is room."""
    table = empty_table(*(name.rstrip("12") for name in FOLLOWED[:-2]))
    for row in followed_rows(told):
        table.add(*row[:-2])
    return table
