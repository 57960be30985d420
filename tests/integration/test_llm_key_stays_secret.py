"""A planted key is looked for wherever a run leaves traces, though the provider repeats it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from llmock.scenarios import Fail, Reply
from llmock.testing import LLMockServer
from pydantic import SecretStr

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError
from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import ProposeJob, PublishJob, RunKind, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.breaker.protocol import BreakerTimes
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.call import Call
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import SettingsRoutes
from alphamill.runs.failures import missing_job
from alphamill.runs.rows import Trial
from alphamill.runs.schemas import TRIALS, read_rows, trials_key, write_rows
from alphamill.settings import Settings, Tier, load_settings
from alphamill.stages import propose, publish
from alphamill.stages.asking import AskingDeps
from alphamill.usage import RedisUsage

KEY = "sk-planted-7f3a9c51d2e84b60"
OTHER_KEY = "sk-planted-for-a-tier-19c27"


@pytest.fixture
def server() -> Iterator[LLMockServer]:
    with LLMockServer() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, server: LLMockServer) -> Settings:
    file = tmp_path / "outside" / "key"
    file.parent.mkdir()
    file.write_text(f"{KEY}\n")
    return load_settings(
        {
            "ALPHAMILL_HOME": str(tmp_path / "home"),
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_LLM_URL": server.base_url("openai"),
            "ALPHAMILL_LLM_API_KEY_FILE": str(file),
            "ALPHAMILL_LLM_DETAILED_ANALYSIS_API_KEY": OTHER_KEY,
            "ALPHAMILL_LLM_DETAILED_ANALYSIS_MODEL": "gpt-4o-mini",
        }
    )


def everything_in_redis(client: redis.Redis) -> bytes:
    """Every key and value, as bytes."""
    found = []
    for key in client.keys("*"):
        kind = client.type(key).decode()
        read = {
            "hash": client.hgetall,
            "string": client.get,
            "set": client.smembers,
            "list": lambda k: client.lrange(k, 0, -1),
            "zset": lambda k: client.zrange(k, 0, -1),
        }[kind]
        found.append(repr((key, read(key))).encode())
    return b"\n".join(found)


def test_no_key_is_anywhere_but_in_the_header(
    settings: Settings, server: LLMockServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = redis.Redis.from_url(settings.redis_url)
    llm, lake = settings.llm, Lake(settings.lake_uri)
    own = llm.tiers[Tier.DETAILED_ANALYSIS].model_copy(update={"requests_per_minute": 60_000})
    tiers = {tier: own.model_copy(update={"key_env": ""}) for tier in Tier}
    tiers[Tier.DETAILED_ANALYSIS] = own
    spec = RunSpec(
        RunKind.MINE,
        settings.lake_uri,
        Market.SPOT,
        ("BTCUSDT",),
        (Interval.H1,),
        0,
        1,
        budget_usd_micros=10**6,
        llm_url=llm.url,
        tiers=tiers,
    )
    journal = RedisJournal(client)
    prices, opened = PriceTable.shipped(), []

    def gate(tier: str, url: str) -> TierGate:
        return TierGate(RedisLimiter(client), tier_pool(tier, url, own), 5)

    def breaker(url: str, key: SecretStr | None) -> RedisBreaker:
        opened.append(key)
        return RedisBreaker(client, url, key=key, times=BreakerTimes(first_open_ms=0))

    routes = SettingsRoutes(llm, prices, gate, breaker)
    gateway = Gateway(routes, prices, journal, RedisUsage(client), SystemClock())
    errors: list[AlphamillError] = []
    for times, tier, key in ((1, Tier.QUICK_SCAN, KEY), (2, Tier.DETAILED_ANALYSIS, OTHER_KEY)):
        said = (
            f'{{"candidates": [{{"expression": "rank(returns)", "hypothesis": "{key}"}}, "{key}"]}}'
        )
        server.state.scenarios.add(
            Fail(401, message=f"Incorrect API key provided: {key}"),
            Fail(500, message=f"Authorization: Bearer {key}"),
            Fail(429, message=key, code=key),
            Reply(text=said, times=times),
        )
        call = Call(
            spec.run_id,
            f"call-{tier}",
            tier.value,
            tiers[tier],
            (Message("user", "hello"),),
            Caps(10**6, 10**6),
        )
        for _ in range(3):
            with pytest.raises(AlphamillError) as raised:
                gateway.ask(call)
            errors.append(raised.value)
        assert "[key]" in gateway.ask(call).reply.text
    deps = AskingDeps(lake, spec.run_id, spec, gateway, 10**6, call_id="call")
    propose.run(ProposeJob(Tier.DETAILED_ANALYSIS, Interval.H1, 0), replace(deps))
    assert {key.get_secret_value() for key in opened if key} == {KEY, OTHER_KEY}
    rows = read_rows(lake, run_key(spec.run_id, "proposals"), Trial)
    key = trials_key(spec.run_id, Interval.H1, 0, Tier.DETAILED_ANALYSIS, 0)
    write_rows(lake, key, rows, TRIALS)
    publish.run(
        PublishJob(),
        publish.PublishDeps(
            lake,
            spec.run_id,
            spec,
            journal.calls(spec.run_id),
            [missing_job({"stage": "x", "id": "y", "reason": str(error)}) for error in errors],
        ),
    )

    sent = server.state.journal.records(wait=2)
    assert len(sent) >= 9  # the provider was asked, and did repeat the key
    traces = {
        "redis": everything_in_redis(client),
        "lake": b"".join(path.read_bytes() for path in Path(lake.uri).rglob("*") if path.is_file()),
        "tables": repr(
            [lake.read(k).to_pylist() for k in lake.list("runs") if k.endswith(".parquet")]
        ).encode(),
        "logs": caplog.text.encode(),
        "errors": "\n".join(f"{e!r} {e} {e.args} {e.__cause__!r}" for e in errors).encode(),
        "pickled": pickle.dumps([(type(e).__name__, e.args) for e in errors]),
        "messages": repr([job.message for job in plan(spec)]).encode() + spec.run_id.encode(),
        "spec": repr(spec.to_message()).encode(),
        "settings": repr(settings).encode() + settings.model_dump_json().encode(),
        "client": repr(vars(gateway)).encode() + repr(vars(routes)).encode(),
    }
    for chat, _ in routes._open.values():
        chat.close()
    client.close()
    assert b"rank(returns)" in traces["redis"]  # so that a hit would have been seen
    assert b"[key]" in traces["tables"]
    for key in (KEY, OTHER_KEY):
        assert [where for where, trace in traces.items() if key.encode() in trace] == []
