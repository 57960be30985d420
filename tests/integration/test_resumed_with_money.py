"""A run that its budget stopped goes on with more, over real workers, Redis and HTTP."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from alphamill.controls.planted import Search
from alphamill.frames import Interval
from alphamill.jobs import Queue, RunKind
from alphamill.llm.journal.redis import RedisJournal
from alphamill.runs.published import PublishedRun
from alphamill.settings import Tier, TierSettings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.sim.llm.server import Endpoint, LLMConfig
from producers.cli import main
from tests.loopback import Handler, serving

SEARCH = Search()


@pytest.fixture
def model():
    """The offline proposer at a URL, and how many completions it was asked for."""
    endpoint, lock, asked = Endpoint(LLMConfig()), threading.Lock(), []

    class Completions(Handler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append(body)
                status, said, headers = endpoint.complete(body)
            self.reply(status, said, headers)

    with serving(Completions) as (_, url):
        yield f"{url}/v1", asked


def test_a_run_stopped_by_its_budget_is_resumed_and_pays_each_call_once(make_mill, market, model):
    url, asked = model
    mill = make_mill(market(symbols=4, months=1, interval=Interval.H1))
    mill.env |= {"ALPHAMILL_LLM_URL": url, "ALPHAMILL_LAKE": mill.settings.lake_uri}
    queues = ",".join(queue.value for queue in Queue)
    celery = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-Q", queues]
    one_for_all = ["-P", "threads", "-c", "4", "-n", "all@%h", "-B", "-s", str(mill.home / "beat")]
    mill.wait_until_here(mill.start("all", [*celery, *one_for_all]))
    spec = replace(
        mill.spec(kind=RunKind.MINE),
        rounds=1,
        candidates=4,
        shards=1,
        budget_usd_micros=2_500,
        llm_url=url,
        tiers=dict.fromkeys(Tier, TierSettings(model=PROPOSER)),
        segments=SEARCH.segments,
        gates=SEARCH.gates,
    )
    run = mill.wait_for_end(mill.submit(spec).id)
    assert run.unfunded.keys() == {"run"}
    assert not run.whole
    before = PublishedRun.open(mill.lake, run.id)
    first, tried = len(asked), {trial.hash for trial in before.trials if trial.counted}
    assert 0 < first < len(spec.symbols) + 2

    def command(*arguments: str, code: int = 0) -> str:
        result = CliRunner(env=mill.env).invoke(main, arguments)
        assert result.exit_code == code, result.output
        return result.stdout

    advice = json.loads(command("status", run.id, "--json"))["go_on"]
    assert advice == before.shortfall.command
    command("resume", run.id, code=1)
    assert mill.ledger.run(run.id) == run, "nothing goes back that could not be paid for"
    assert command(*shlex.split(advice)[1:], "--wait").splitlines()[-1] == run.id

    after, record = PublishedRun.open(mill.lake, run.id), mill.ledger.run(run.id)
    assert record.whole
    assert after.unasked == []
    assert tried < {trial.hash for trial in after.trials if trial.counted}
    calls = Counter(call.call_id for call in after.calls)
    assert set(calls.values()) == {1}
    assert len(asked) == len(calls) > first
    spent = sum(call.cost_usd_micros or 0 for call in after.calls)
    assert 0 < spent <= after.budget_usd_micros == record.budget_usd_micros
    assert RedisJournal(mill.redis).state(run.id, "2026-01-01").run.spent_usd_micros == spent
    report = json.loads(command("usage", "--run", run.id, "--json"))
    assert report["totals"]["cost_usd_micros"] == spent
    assert report["totals"]["requests"] == len(asked)
    command("replay", run.id)
