"""The gateway against llmock, a provider simulator that we did not write: quotas and faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import ModuleType

import fakeredis
import pytest
from llmock.ratelimit import LimitSettings
from llmock.scenarios import Delay, Fail, Reply
from llmock.testing import LLMockServer
from llmock.verdict import judge

from alphamill.clock import SystemClock
from alphamill.errors import RetryLater
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.call import Call, PaidReply
from alphamill.llm.endpoint import failures
from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.records import CallStatus
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.replies import read_proposal
from alphamill.llm.routes import OneEndpoint
from alphamill.settings import TierSettings
from tests.deadlines import slowness

PATIENCE_S = 30.0  # a busy machine may take long for an answer that comes
SOON_S = 1.0  # for one that does not
TIER = TierSettings(
    model="gpt-4o-mini", fallbacks=("gpt-4o",), max_tokens=50, requests_per_minute=6000
)
CALL = Call(
    run="run",
    call_id="a",
    tier="quick_scan",
    tier_settings=TIER,
    messages=(Message("system", "manual"), Message("user", "data")),
    caps=Caps(1_000_000, 1_000_000),
)


@pytest.fixture
def server() -> Iterator[LLMockServer]:
    with LLMockServer() as running:
        yield running


class World:
    """A gateway at the server, and a worker's patience."""

    def __init__(self, server: LLMockServer, patience_s: float) -> None:
        client = fakeredis.FakeRedis()
        self.journal = RedisJournal(client)
        self.counted: list[str] = []
        url = server.base_url("openai")
        gate = TierGate(RedisLimiter(client), tier_pool("quick_scan", url, TIER), 5.0)
        self.chat = OpenAIChat(url, None, patience_s)
        prices = PriceTable.shipped()
        routes = OneEndpoint(self.chat, prices, {"quick_scan": gate})
        self.gateway = Gateway(routes, prices, self.journal, self, SystemClock())

    def record(self, _: object) -> None:
        """Counted elsewhere."""

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        self.counted.append(error_class)

    def insist(self, tries: int = 5) -> PaidReply:
        """Ask as the ledger does: again after the wait that the failure states."""
        for _ in range(tries - 1):
            try:
                return self.gateway.ask(CALL)
            except RetryLater as error:
                time.sleep(min(error.after_s, 3.0))
        return self.gateway.ask(CALL)


@pytest.fixture
def world(server: LLMockServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("alphamill.llm.gateway.BACKOFF_BASE_S", 0.05)
    made = World(server, PATIENCE_S)
    yield made
    made.chat.close()


def test_faults_are_waited_out_and_the_server_finds_no_fault_with_the_client(
    server: LLMockServer, world: World
) -> None:
    server.state.scenarios.add(Fail(429, retry_after=1), Fail(503, retry_after=0.2), Fail(500))
    assert world.insist().reply.text
    assert world.counted == ["rate_limited", "server", "server"]
    verdict = judge(server.state.journal.records(wait=2))
    assert [finding.code for finding in verdict.findings if finding.severity == "error"] == []
    statuses = {record.status for record in world.journal.calls("run")}
    assert statuses == {CallStatus.FAILED, CallStatus.UNKNOWN, CallStatus.SETTLED}  # 500: who knows


def test_the_bill_is_the_servers_usage(server: LLMockServer, world: World) -> None:
    answer = world.gateway.ask(CALL)
    usage = answer.reply.usage
    assert usage.prompt > 0
    assert not usage.estimated
    assert answer.cost_usd_micros == PriceTable.shipped()["gpt-4o-mini"].cost_micros(usage)


def test_an_account_without_money_is_not_asked_again_but_its_fallback_is(
    server: LLMockServer, world: World
) -> None:
    server.state.scenarios.add(Fail(429, code="insufficient_quota", message="no credit"))
    answer = world.gateway.ask(CALL)
    assert answer.reply.asked_model == "gpt-4o"
    records = server.state.journal.records(wait=2)
    assert [(r.status, r.model) for r in records] == [(429, "gpt-4o-mini"), (200, "gpt-4o")]


def test_a_server_that_falls_silent_costs_one_timeout(server: LLMockServer) -> None:
    world = World(server, SOON_S * slowness())
    server.state.scenarios.add(*[Delay(2 * SOON_S * slowness())] * 10)
    with pytest.raises(failures.TimedOut):
        world.gateway.ask(CALL)
    single = CALL.tier_settings.model_copy(update={"fallbacks": ()})
    for number in range(20):
        other = Call(
            **{name: getattr(CALL, name) for name in CALL.__slots__}
            | {"call_id": f"b{number}", "tier_settings": single}
        )
        with pytest.raises(failures.CircuitOpen):
            world.gateway.ask(other)  # one that waited for the server would have TimedOut
    world.chat.close()


def test_prose_and_cut_replies_are_read_for_what_they_hold(
    server: LLMockServer, world: World
) -> None:
    text = 'Sure! {"candidates": [{"expression": "rank(close)"}, {"expression": "ts_me'
    server.state.scenarios.add(Reply(text=text, finish_reason="length"))
    reply = world.gateway.ask(CALL).reply
    reading = read_proposal(reply.text, reply.finish_reason)
    assert [candidate.expression for candidate in reading.candidates] == ["rank(close)"]
    assert reading.problems


@pytest.fixture(scope="module")
def bench(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("llm_caps")


@pytest.mark.alone
@pytest.mark.slow
def test_three_processes_stay_within_both_caps_and_use_them(bench: ModuleType) -> None:
    seen = []
    for _ in range(3):  # a few seconds on a busy machine may say little; the benchmark says more
        seen.append(bench.measure(3.0, 240))
        if seen[-1].requests_frac > 0.7 and seen[-1].refused == 0:
            return
    pytest.fail(f"not used, or refused: {seen}")


def test_the_servers_buckets_refuse_who_overshoots(server: LLMockServer, world: World) -> None:
    server.state.limiter.configure(LimitSettings(rpm=60, tpm=60))
    with pytest.raises(failures.RateLimited) as raised:
        world.gateway.ask(CALL)  # takes more than the 60 tokens that there are
    assert raised.value.after_s > 0
