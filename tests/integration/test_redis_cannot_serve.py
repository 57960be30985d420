"""A Redis server that is there and cannot serve: every room asks to come back, none breaks."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alphamill.errors import RetryLater
from alphamill.ledger import Claim, JobRecord, JobSpec, JobState, RedisLedger
from alphamill.ledger.presence import Presence
from alphamill.limits import Pool, RedisLimiter, Slot, SteadyRate, TierGate
from alphamill.llm.breaker.protocol import FailureKind
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.endpoint.dialects import Dialect, RedisDialects
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatRequest, Message
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.redis_store import reached
from alphamill.settings import LedgerSettings
from alphamill.usage import RedisUsage, UsageEntry
from alphamill.usage.bars import BarCounters

REFUSALS = {
    "loading": "LOADING Redis is loading the dataset in memory",
    "replica": "READONLY You can't write against a read only replica.",
    "full": "OOM command not allowed when used memory > 'maxmemory'.",
    "full, in a script of Redis 6": "ERR Error running script (call to f_1): @user_script:12: "
    "@user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.",
    "no disk": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
    "persist to disk.",
    "lost its master": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set "
    "to 'no'.",
    "too few replicas": "NOREPLICAS Not enough good replicas to write.",
    "in a script": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or "
    "SHUTDOWN NOSAVE.",
}
GREETINGS = {b"HELLO", b"CLIENT", b"SELECT", b"MULTI"}
PROMPT = (Message("user", "data"),)
REQUEST = ChatRequest("m", PROMPT, 5)
RECORD = CallRecord.begin(
    "run", "call", "tier", REQUEST, prompt_version="1", started_ms=0, reserved_usd_micros=10
)
CAPS = Caps(100, 100)
POOL = Pool("llm:tier", (SteadyRate("requests", 60, 60_000, 5), SteadyRate("tokens", 60, 1000, 5)))
CLAIM = Claim("r", "j", "token", 1, JobRecord("j", "s", "q", {}, JobState.RUNNING))
ENTRY = UsageEntry("c", "run", "2026-01-31", "tier", "m", 1, 0, 1, 1, 1)


class Refusing(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := self.rfile.readline():
            parts = []
            for _ in range(int(head[1:])):
                length = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(length + 2)[:-2])
            said = "+OK" if parts[0].upper() in GREETINGS else f"-{self.server.refusal}"
            self.wfile.write(f"{said}\r\n".encode())


@pytest.fixture(params=REFUSALS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads = True
        server.refusal = REFUSALS[request.param]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2"
        server.shutdown()


@pytest.fixture(params=[redis.Redis, PipelinedRedis])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[redis.Redis]:
    with request.param.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        yield client


class Turn:
    def __init__(self, gate: TierGate) -> None:
        self.gate = gate

    def at_once(self) -> object:
        return self.gate.at_once(5)


def asked_of_ledger(client: redis.Redis) -> list[Callable[[], object]]:
    ledger = RedisLedger(client, LedgerSettings())
    return [
        lambda: ledger.open_run("r", "mine", {}),
        lambda: ledger.add_jobs("r", [JobSpec("j", "s", "q", {})]),
        lambda: ledger.claim("r", "j", "w"),
        lambda: ledger.renew(CLAIM),
        lambda: ledger.finish(CLAIM, {}),
        lambda: ledger.put_back(CLAIM, "why", 1.0),
        lambda: ledger.counts("r"),
        lambda: ledger.job("r", "j"),
        lambda: list(ledger.jobs("r")),
        ledger.runs,
        ledger.sweep,
    ]


def asked_of_limiter(client: redis.Redis) -> list[Callable[[], object]]:
    limiter = RedisLimiter(client)
    return [
        lambda: limiter.reserve(POOL, {"requests": 1.0}),
        lambda: limiter.pause(POOL, 1.0, "429"),
        lambda: limiter.state(POOL),
    ]


def asked_of_journal(client: redis.Redis) -> list[Callable[[], object]]:
    journal = RedisJournal(client)
    turn = Turn(TierGate(RedisLimiter(client), POOL))
    return [
        lambda: journal.lookup("run", "call"),
        lambda: journal.admit(RECORD, PROMPT, CAPS, turn),
        lambda: journal.reserve(RECORD, PROMPT, CAPS),
        lambda: journal.settle(RECORD),
        lambda: journal.lose(RECORD),
        lambda: list(journal.calls("run")),
        lambda: journal.prompt(RECORD),
    ]


def asked_of_breaker(client: redis.Redis) -> list[Callable[[], object]]:
    breaker = RedisBreaker(client, "https://host/v1")
    return [
        lambda: breaker.look("m"),
        lambda: breaker.enter("m"),
        lambda: breaker.alive("m"),
        lambda: breaker.limited("m"),
        lambda: breaker.failed("m", FailureKind.SILENT, 1.0),
    ]


def asked_of_usage(client: redis.Redis) -> list[Callable[[], object]]:
    usage = RedisUsage(client)
    return [
        lambda: usage.record(ENTRY),
        lambda: usage.record_error("run", "2026-01-31", "tier", "m", "server"),
        usage.report,
        lambda: usage.report("run"),
        lambda: BarCounters(client).read("run"),
    ]


ROOMS = {
    "ledger": asked_of_ledger,
    "limits": asked_of_limiter,
    "journal": asked_of_journal,
    "breaker": asked_of_breaker,
    "usage": asked_of_usage,
}


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_asked_may_be_asked_again_and_costs_no_attempt(
    room: str, client: redis.Redis
) -> None:
    for ask in ROOMS[room](client):
        with pytest.raises(RetryLater) as raised:
            ask()
        assert (raised.value.counts, raised.value.after_s) == (False, 2.0)


def test_what_is_only_a_correction_or_a_hint_is_let_go(client: redis.Redis) -> None:
    slot = Slot(POOL, {"requests": 1.0, "tokens": 5.0}, {}, 0.0, 0.0, "token")
    RedisLimiter(client).settle(slot, {"tokens": 3.0})
    BarCounters(client).add("run", {"bars": 1}, 0, 0)
    dialects = RedisDialects(client, "https://host/v1")
    dialects.learn("m", Dialect(seed=False))
    assert dialects.recall("other") == Dialect()
    presence = Presence(client)
    assert (presence.here(), presence.swept_ms()) == ([], None)


def test_any_other_refusal_is_a_defect_and_stays_one() -> None:
    with pytest.raises(redis.ResponseError), reached("the store"):
        raise redis.ResponseError("WRONGTYPE")
