"""A small market that was mined: factors that are bought, sold and vetoed, with their sheets."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.scripted import ScriptedChat
from alphamill.report.factor.tear_sheet import Sheets, TearSheet, subjects
from alphamill.runs.published import PublishedRun
from alphamill.sim.market import PlantedFactor
from alphamill.testing import work_market
from alphamill.testing.mill import ProposingChat

BOUGHT, SOLD, THIRD = "-ts_zscore(close, 24)", "ts_mean(returns, 60)", "-ts_rank(volume, 24)"
MARKET = ControlMarket(5, 9, 1500, (PlantedFactor(BOUGHT, 0.1),))


class VetoingChat(ProposingChat):
    """Proposes, and vetoes the last of three finalists."""

    def complete(self, request: ChatRequest) -> ChatReply:
        if '"keep"' not in request.messages[0].content:
            return super().complete(request)
        said = {"keep": [], "veto": [{"index": 3, "reason": "a copy"}]}
        return ScriptedChat([json.dumps(said)]).complete(request)


@pytest.fixture(scope="session")
def mined(tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    chat = VetoingChat(BOUGHT, SOLD, THIRD)
    search = Search(rounds=1, candidates=3, decoys=False)
    return work_market(tmp_path_factory.mktemp("mined"), MARKET, search, chat).published


@pytest.fixture(scope="session")
def sheets(mined: PublishedRun) -> Sequence[TearSheet]:
    return Sheets(mined).of(subjects(mined))
