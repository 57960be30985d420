"""`alphamill metrics`: what a scraper is told adds up to what the journal and the ledger hold."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from decimal import Decimal

import pytest
import requests
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from alphamill.errors import RetryLater
from alphamill.live.condition import Condition, Problem
from alphamill.live.followers import Followers
from alphamill.llm.journal.redis import RedisJournal
from alphamill.report.prometheus import FAMILIES
from alphamill.usage import RedisUsage
from producers.cli import main
from producers.run.metrics import serve
from tests.integration.test_fleet import HOSTILE, _busy
from tests.integration.test_fleet import fleet as fleet
from tests.unit.live.test_condition import live_state
from tests.unit.live.test_journal import SPEC, START

RUNS = ("mine-a", "mine-b")


def scrape(fleet) -> str:
    shown = CliRunner(env=fleet.env).invoke(main, ["metrics", "--once"])
    assert shown.exit_code == 0, shown.output
    return shown.output


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """By metric, then by the values of its labels; each once."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels[name] for name in FAMILIES[sample.name].labels)
            assert labels not in found.setdefault(sample.name, {}), (sample.name, labels)
            found[sample.name][labels] = sample.value
    return found


def micros(text: str, metric: str) -> int:
    """The sum of a metric's samples in micro-dollars, from the text itself."""
    lines = [line for line in text.splitlines() if line.startswith((metric + "{", metric + " "))]
    return int(sum(Decimal(line.rsplit(" ", 1)[1]) for line in lines) * 1_000_000)


def test_money_and_tokens_are_the_call_journals_to_the_micro_dollar(fleet):
    costs = (1, 599_999, 333_333, 7)
    for run in RUNS:
        fleet.submit(run, 5, "mine", "llm.quick_scan")
        for number, cost in enumerate(costs):
            tier = "detailed_analysis" if number % 2 else "quick_scan"
            fleet.call(run, number, cost if run == "mine-a" else cost // 3, tier)
    calls = [call for run in RUNS for call in RedisJournal(fleet.client).calls(run)]
    for call in calls:  # as a worker that repeats itself after a crash
        RedisUsage(fleet.client).record(call.usage)
    scrape(fleet)
    text = scrape(fleet)  # asked twice, counted once
    paid = sum(call.cost_usd_micros for call in calls)
    assert paid > 1_000_000
    for metric in (
        "alphamill_llm_cost_usd_total",
        "alphamill_spent_usd",
        "alphamill_run_spent_usd",
        "alphamill_day_spent_usd",
    ):
        assert micros(text, metric) == paid, metric
    told = samples(text)
    for kind, field in {
        "prompt": "prompt_tokens",
        "cached": "cached_tokens",
        "completion": "completion_tokens",
    }.items():
        of_kind = [n for (*_, k), n in told["alphamill_llm_tokens_total"].items() if k == kind]
        assert sum(of_kind) == sum(getattr(call, field) for call in calls)
    assert sum(told["alphamill_llm_requests_total"].values()) == len(calls)
    for tier in ("quick_scan", "detailed_analysis"):
        of_tier = sum(call.cost_usd_micros for call in calls if call.tier == tier)
        assert told["alphamill_llm_cost_usd_total"][tier, "m"] == of_tier / 1e6


def test_what_a_run_spent_stays_in_the_sum_when_it_has_ended(fleet):
    fleet.submit("mine-a", 1, "mine", "llm.quick_scan")
    fleet.call("mine-a", 1, 123_457)
    fleet.ledger.cancel("mine-a")
    text = scrape(fleet)
    assert micros(text, "alphamill_spent_usd") == 123_457
    assert "alphamill_run_spent_usd" not in samples(text), "a series an active run, no more"


def test_jobs_are_those_of_the_ledger(fleet):
    fleet.submit("fetch-a", 10)
    fleet.fail("fetch-a", 0, "the disk is full")
    fleet.submit("fetch-b", 3)
    fleet.ledger.cancel("fetch-b")
    told = samples(scrape(fleet))
    assert sum(told["alphamill_jobs"].values()) == 13
    assert told["alphamill_jobs"]["fetch", "dead"] == 1
    assert told["alphamill_jobs"]["fetch", "cancelled"] == 3
    assert told["alphamill_jobs_dead"] == {("fetch", "the disk is full"): 1}
    assert told["alphamill_runs"] == {("fetch", "running"): 1, ("fetch", "cancelled"): 1}
    assert told["alphamill_backlog"]["fetch",] == 9
    waiting = told["alphamill_queue_jobs"]
    assert waiting["fetch", "ready"] + waiting["fetch", "queued"] == 9


def test_hostile_text_is_a_label_and_nothing_else(fleet):
    _busy(fleet)
    fleet.submit("fetch-odd", 1)
    fleet.fail("fetch-odd", 0, 'a "quote"\\ and\n# TYPE evil counter\nevil 1')
    told = samples(scrape(fleet))
    assert set(told) <= set(FAMILIES)
    reasons = [reason for _, reason in told["alphamill_jobs_dead"]]
    assert 'a "quote"\\ and # * evil counter evil 1'.replace("*", "TYPE") in reasons
    assert not any(mark in reason for reason in reasons for mark in HOSTILE if mark < " ")
    assert told["alphamill_circuit_open"] == {("llm.test", "m"): 1}


def test_every_figure_is_explained_and_some_scrape_has_it(fleet):
    _busy(fleet)
    RedisUsage(fleet.client).record_error("r", "2026-01-31", "quick_scan", "m", "timeout")
    fleet.client.set("alphamill:swept", 1, ex=30)
    problem = Problem.named("rest", "no answer", START)
    told = Condition("spot", "host:1", START, 0, (live_state(unexplained=3),), (problem,))
    Followers(fleet.client).tell("spot:default", told)
    Followers(fleet.client).tell("spot:other", told)  # two stacks that follow one live
    text = scrape(fleet)
    assert samples(text)["alphamill_live_values"][SPEC.id, "unexplained"] == 3
    assert samples(text)["alphamill_live_rows"] == {(SPEC.id, "spot", "1m"): 12}
    page = CliRunner(env=fleet.env).invoke(main, ["top", "--once"], terminal_width=200).output
    assert "3 values differ from batch for no known reason" in page
    shown = CliRunner(env=fleet.env).invoke(main, ["status", "--json"]).stdout
    assert json.loads(shown)["followers"][0]["lives"][0]["parity"]["counts"]["unexplained"] == 3
    assert set(samples(text)) == set(FAMILIES)
    for name, family in FAMILIES.items():
        assert f"# HELP {name} {family.says}\n# TYPE {name} {family.kind}\n" in text


@contextmanager
def served(scrape, password=""):
    with serve(scrape, "127.0.0.1", 0, password) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_the_server_gives_the_figures_and_no_other_page(fleet):
    with served(lambda: scrape(fleet)) as url:
        answer = requests.get(f"{url}/metrics", timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "alphamill_backlog" in samples(answer.text)
        assert requests.get(f"{url}/etc/passwd", timeout=30).status_code == 404


def test_a_password_is_asked_for_and_only_the_right_one_admits():
    with served(lambda: "", "alphamill:s3cret") as url:
        ask = f"{url}/metrics"
        assert requests.get(ask, timeout=30).status_code == 401
        assert requests.get(ask, auth=("alphamill", "wrong"), timeout=30).status_code == 401
        odd = {"Authorization": "Basic é\xff"}
        assert requests.get(ask, headers=odd, timeout=30).status_code == 401
        assert requests.get(ask, auth=("alphamill", "s3cret"), timeout=30).status_code == 200


def test_while_redis_is_away_the_scrape_fails_and_says_so():
    def away() -> str:
        raise RetryLater("ledger unreachable (refused)", counts=False)

    with served(away) as url:
        answer = requests.get(f"{url}/metrics", timeout=30)
    assert (answer.status_code, answer.text) == (503, "ledger unreachable (refused)\n")


@pytest.mark.parametrize(
    ("address", "auth"),
    [("192.0.2.1", ""), ("192.0.2.1", "user:"), ("::", "user"), ("127.0.0.1", "nocolon")],
)
def test_beyond_loopback_there_is_no_page_without_a_password(fleet, address, auth):
    env = fleet.env | {"METRICS_BASIC_AUTH": auth}
    shown = CliRunner(env=env).invoke(main, ["metrics", "--address", address])
    assert shown.exit_code == 3
    assert "METRICS_BASIC_AUTH" in shown.output
    assert "set it to user:password" in shown.output


@pytest.mark.parametrize(
    ("auth", "code", "words"), [("alphamill:s3cret", 0, ""), ("alphamill:old", 1, "HTTP 401")]
)
def test_a_check_asks_with_the_password_of_its_environment(auth, code, words):
    with served(lambda: "", "alphamill:s3cret") as url:
        port = url.rpartition(":")[2]
        runner = CliRunner(env={"METRICS_BASIC_AUTH": auth})
        shown = runner.invoke(main, ["metrics", "--port", port, "--check"])
    assert (shown.exit_code, words in shown.output) == (code, True), shown.output


def test_a_check_fails_while_redis_is_away_and_where_nobody_listens():
    def away() -> str:
        raise RetryLater("ledger unreachable (refused)", counts=False)

    with served(away) as url:
        port = url.rpartition(":")[2]
        shown = CliRunner().invoke(main, ["metrics", "--port", port, "--check"])
        assert (shown.exit_code, "HTTP 503" in shown.output) == (1, True)
    shown = CliRunner().invoke(main, ["metrics", "--port", port, "--check"])
    assert (shown.exit_code, "does not answer" in shown.output) == (1, True)
