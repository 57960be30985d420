"""A control market mined in this process, from fetch to verdict, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alphamill.controls.markets import ControlMarket, exchange_of
from alphamill.controls.planted import OfflineChat, Search, spec_of
from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.ledger import JobRecord, JobState, RunRecord, RunState
from alphamill.llm.endpoint.client import Chat
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.scripted import ScriptedChat
from alphamill.mill import Mill
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import RunDeps
from alphamill.sim.market import Bars


@dataclass(frozen=True, slots=True)
class WorkedRun:
    """A run that was worked, and the mill that it was worked in."""

    mill: Mill
    spec: RunSpec
    jobs: list[JobRecord]

    @property
    def lake(self) -> Lake:
        """Where its results lie."""
        return self.mill.lake

    @property
    def deps(self) -> RunDeps:
        """What the stages that only compute worked with."""
        return RunDeps(self.lake, self.spec.run_id, self.spec)

    @property
    def record(self) -> RunRecord:
        """As a ledger would have it: failed if none of its goals was reached."""
        reached = any(job.goal and job.state is JobState.DONE for job in self.jobs)
        state = RunState.DONE if reached else RunState.FAILED
        return RunRecord(
            self.spec.run_id, self.spec.kind.value, self.spec.to_message(), state, 0, 0
        )

    @property
    def published(self) -> PublishedRun:
        """What it left in the lake; raises GiveUp if it failed."""
        return PublishedRun.open(self.lake, self.spec.run_id)

    @property
    def dead(self) -> list[JobRecord]:
        """Its jobs that failed, and those that needed them."""
        return [job for job in self.jobs if job.state is not JobState.DONE]

    def table(self, name: str) -> list[dict[str, Any]]:
        """Rows of a published table: trials, factors, calls."""
        return self.mill.table(self.spec, name)


def work_market(
    folder: Path,
    market: ControlMarket,
    search: Search | None = None,
    chat: Chat | None = None,
    /,
    change: Callable[[Bars], Bars] = lambda bars: bars,
    mill: dict[str, Any] | None = None,
    **spec: Any,
) -> WorkedRun:
    """Mine `market` into a lake at `folder`, without indicators unless `mill` says otherwise.

    chat: None for the offline proposer. change: of each symbol's bars, before the exchange has
    them. mill: other fields of `Mill`. spec: other fields of the run's RunSpec.
    """
    bars = {symbol: change(own) for symbol, own in market.bars().items()}
    made = Mill(
        Lake(str(folder)),
        exchange_of(market, bars),
        chat or OfflineChat(1),
        **{"indicators": False} | (mill or {}),
    )
    wanted = replace(spec_of(market, search or Search(), str(folder)), **spec)
    return WorkedRun(made, wanted, made.work(wanted))


class ProposingChat:
    """A model that proposes the same expressions in every call, and vetoes nothing.

    `requests` holds what it was asked.
    """

    def __init__(self, *expressions: str) -> None:
        self.expressions = expressions
        self.requests: list[ChatRequest] = []

    def complete(self, request: ChatRequest) -> ChatReply:
        """See `llm.endpoint.client.Chat`."""
        self.requests.append(request)
        reviews = '"keep"' in request.messages[0].content
        said = {"keep": [], "veto": []} if reviews else {"candidates": self._candidates()}
        return ScriptedChat([json.dumps(said)]).complete(request)

    def models(self) -> list[str]:
        """None."""
        return []

    def _candidates(self) -> list[dict[str, Any]]:
        return [
            {"expression": text, "hypothesis": "", "horizon_bars": None, "direction": None}
            for text in self.expressions
        ]
