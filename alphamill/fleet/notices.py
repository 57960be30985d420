"""What a person is told of: the end of a run, a budget that stops one, an alarm.

Which notices are due is read from the fleet; `id` says what was told before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import requests

from alphamill.fleet.snapshot import Fleet, RunView
from alphamill.ledger import RunState
from alphamill.report.values import NOTHING, elapsed, plain, usd, whole
from alphamill.settings.notify import Destination

FRESH_MS = 3_600_000  # what is older was before anybody watched, or is old news
_PAUSE_S = 120.0  # a shorter pause of the exchange or a tier is its daily business
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. run: "" for an alarm. id: the same for the same thing; again_s: when to tell it
    again if it lasts; None: never.
    """

    id: str
    event: Literal["run_ended", "budget_stopped", "alarm"]
    title: str
    text: str
    run: str = ""
    state: str = ""
    again_s: int | None = None


def due(fleet: Fleet) -> Iterator[Notice]:
    """What there is to tell now, told before or not."""
    for run in fleet.runs:
        ended_ms = run.finished_ms
        if run.stopped_by and (ended_ms is None or fleet.at_ms - ended_ms < FRESH_MS):
            title = f"{run.id}: a budget stops it"
            spent = usd(run.account.spent_usd_micros) if run.account else NOTHING
            more = (
                f"{run.stopped_by} has no room for another call; {spent} of "
                f"{usd(run.cap_usd_micros)} spent. How to go on: alphamill status {run.id}"
            )
            name = f"{run.id}:budget:{run.cap_usd_micros}"
            yield Notice(name, "budget_stopped", title, more, run.id, run.state)
        if ended_ms is not None and fleet.at_ms - ended_ms < FRESH_MS:
            yield Notice(
                id=f"{run.id}:{ended_ms}",
                event="run_ended",
                title=f"{run.id}: {run.state}",
                text=_ended(run, ended_ms),
                run=run.id,
                state=run.state,
            )
    yield from _alarms(fleet)


def _ended(run: RunView, ended_ms: int) -> str:
    jobs = run.jobs
    words = [f"{whole(jobs.done)} of {whole(jobs.total)} jobs done"]
    if jobs.failed:
        words.append(f"{whole(jobs.failed)} failed")
    if run.account is not None:
        words.append(f"{usd(run.account.spent_usd_micros)} spent")
    words.append(f"in {elapsed(max(0, ended_ms - run.created_ms) / 1000)}")
    look = "status" if run.state == RunState.FAILED or run.kind != "mine" else "factors"
    return f"{', '.join(words)}. See: alphamill {look} {run.id}"


def _alarms(fleet: Fleet) -> Iterator[Notice]:
    if fleet.day.settled_calls and fleet.day.committed_usd_micros >= 0.9 * fleet.day_cap_usd_micros:
        yield _alarm(
            "day budget",
            f"{usd(fleet.day.committed_usd_micros)} of today's {usd(fleet.day_cap_usd_micros)} are "
            "spent or set aside",
        )
    for limit in {one.pool: one for one in fleet.limits if one.paused_s >= _PAUSE_S}.values():
        yield _alarm(
            f"pause {limit.pool}",
            f"{plain(limit.pool, 80)} may not be called for {elapsed(limit.paused_s)}: "
            f"{plain(limit.pause_reason, 200)}",
        )
    for circuit in fleet.circuits:
        if circuit.kind is not None and circuit.kind.refused:  # a person must do something
            where = f"{circuit.host} {circuit.model}".strip()
            yield _alarm(
                f"circuit {where}", f"{plain(where, 100)} refuses: {plain(circuit.cause, 200)}"
            )


def _alarm(what: str, text: str) -> Notice:
    return Notice(f"alarm:{what}", "alarm", "alphamill: alarm", text, again_s=6 * 3600)


def send(to: Destination, notice: Notice) -> None:
    """Post it. Raises requests.RequestException, whose text may hold the URL, if it is not taken.

    Text is sent as text: nothing that reads it is told to take it for markup.
    """
    body, auth, headers = _body(to, notice), None, {}
    if to.kind == "ntfy" and to.user:
        auth = (to.user, to.password)
    elif to.kind == "ntfy" and to.password:
        headers["Authorization"] = f"Bearer {to.password}"
    answer = requests.post(
        to.url, json=body, auth=auth, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False
    )
    if not answer.ok or answer.is_redirect:
        raise requests.HTTPError(f"HTTP {answer.status_code}", response=answer)


def _body(to: Destination, notice: Notice) -> dict[str, Any]:
    if to.kind == "ntfy":
        priority = 3 if notice.event == "run_ended" else 4
        named = {"topic": to.to, "title": notice.title, "message": notice.text}
        return {**named, "priority": priority}
    if to.kind == "telegram":
        return {"chat_id": to.to, "text": f"{notice.title}\n{notice.text}"}
    told = asdict(notice)
    del told["again_s"]
    return told
