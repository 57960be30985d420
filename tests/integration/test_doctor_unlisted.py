"""`doctor` asks a model that its endpoint does not list one tiny question, within the budget."""

from __future__ import annotations

import json

import pytest
import redis
from click.testing import CliRunner

from alphamill.clock import SystemClock
from alphamill.llm.journal.budget import utc_day
from alphamill.llm.journal.redis import RedisJournal
from alphamill.settings import BudgetSettings, LLMSettings, Settings, Tier, TierSettings
from alphamill.usage import RedisUsage
from producers.check import remote
from producers.cli import main
from tests.loopback import Handler, serving

PRICE = {"input": 1000, "output": 1000}  # a thousandth of a dollar a token
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
NO_MODEL = {"error": {"message": "The model does not exist", "code": "model_not_found"}}


class Gateway(Handler):
    """Lists one model, and answers as `server.answers` has it."""

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "listed"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        self.reply(*self.server.answers(asked["model"]))


def reply(model: str, usage: object = None) -> tuple[int, dict]:
    choice = {"message": {"role": "assistant", "content": "ok"}, "finish_reason": "length"}
    return 200, {"model": model, "choices": [choice], "usage": usage or USAGE}


@pytest.fixture
def client(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def endpoint():
    with serving(Gateway) as (server, url):
        server.asked, server.answers = [], reply
        server.base = f"{url}/v1"
        yield server


def settings_of(endpoint, redis_url, *models, day_usd=10.0, price=PRICE):
    first, *others = ({"model": model, "price": price} for model in models)
    tier = TierSettings(**first, fallbacks=tuple(others), requests_per_minute=6000)
    llm = LLMSettings(url=endpoint.base, tiers=dict.fromkeys(Tier, tier))
    return Settings(redis_url=redis_url, llm=llm, budget=BudgetSettings(day_usd=day_usd))


def checks(settings):
    return [check for check in remote.llm_checks(settings) if check.name == "models"]


def spent(client):
    """Of today's budget, in micro-dollars."""
    today = utc_day(SystemClock().now_ms())
    return RedisJournal(client).state("doctor", today).day.committed_usd_micros


def test_one_that_answers_is_a_warning_that_says_what_it_cost(endpoint, redis_url, client):
    settings = settings_of(endpoint, redis_url, "listed", "wild")
    [check] = checks(settings)
    assert check.state == "warn"
    assert check.detail == (
        "quick_scan, detailed_analysis, final_verification: wild is not listed there, but answers "
        "(asking cost $0.010000)"
    )
    [asked] = endpoint.asked
    assert (asked["model"], asked["max_tokens"]) == ("wild", 1)
    assert spent(client) == 10_000  # of the day's budget, 9 tokens and 1
    assert RedisUsage(client).report("doctor")["totals"]["cost_usd_micros"] == 10_000
    [again] = checks(settings)  # within the hour it is on record
    assert (again.state, len(endpoint.asked), spent(client)) == ("warn", 1, 10_000)


def test_what_is_listed_is_not_asked(endpoint, redis_url, client):
    assert [check.state for check in checks(settings_of(endpoint, redis_url, "listed"))] == ["ok"]
    assert endpoint.asked == []


def test_one_that_is_not_served_fails(endpoint, redis_url, client):
    endpoint.answers = lambda _: (404, NO_MODEL)
    [check] = checks(settings_of(endpoint, redis_url, "wild"))
    assert check.state == "fail"
    assert "not offered there" in check.detail
    assert "alphamill models" in check.cure
    assert spent(client) == 0


def test_one_that_answers_for_another_fails(endpoint, redis_url, client):
    endpoint.answers = lambda _: reply("tiny-llama")
    [check] = checks(settings_of(endpoint, redis_url, "wild"))
    assert check.state == "fail"
    assert "tiny-llama answers in its place" in check.detail


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((429, {"error": {"message": "slow down"}}), "rate limited"),
        ((400, {"error": {"message": "max_tokens must be at least 16"}}), "at least 16"),
        ((500, b"oh"), "the server failed"),
    ],
)
def test_what_tells_nothing_is_a_warning(endpoint, redis_url, client, answer, why):
    endpoint.answers = lambda _: answer
    [check] = checks(settings_of(endpoint, redis_url, "wild"))
    assert check.state == "warn"
    assert "whether it answers is not known" in check.detail
    assert why in check.detail


def test_a_spent_day_is_not_passed_and_without_redis_or_price_nothing_is_asked(
    endpoint, redis_url, client
):
    tight = settings_of(endpoint, redis_url, "wild", day_usd=0.005)
    nowhere = settings_of(endpoint, "redis://127.0.0.1:1/0", "wild")
    unpriced = settings_of(endpoint, redis_url, "wild", price="")
    for settings, why in ((tight, "budget"), (nowhere, "Redis"), (unpriced, "no price")):
        [check] = checks(settings)
        assert check.state == "warn"
        assert why in check.detail
    assert (endpoint.asked, spent(client)) == ([], 0)


def test_several_are_asked_side_by_side(endpoint, redis_url, client):
    endpoint.answers = lambda model: reply(model) if model != "gone" else (404, NO_MODEL)
    found = checks(settings_of(endpoint, redis_url, "one", "gone", "two"))
    assert [check.state for check in found] == ["warn", "fail", "warn"]
    assert spent(client) == 20_000


def test_usage_shows_what_doctor_spent(endpoint, redis_url, client, monkeypatch):
    checks(settings_of(endpoint, redis_url, "wild"))
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", redis_url)
    shown = CliRunner().invoke(main, ("usage", "--json"))
    assert shown.exit_code == 0, shown.output
    assert '"cost_usd_micros": 10000' in shown.stdout
