"""A control worker tells what has ended, is stopped or is wrong, each once, and never waits."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alphamill.errors import GiveUp
from alphamill.fleet.notices import due
from alphamill.fleet.snapshot import FleetReader
from alphamill.frames import Market
from alphamill.limits import RedisLimiter, binance_pool
from alphamill.llm.breaker.protocol import FailureKind
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.settings import load_settings
from tests.deadlines import wait_for
from tests.integration.conftest import market_of
from tests.integration.test_fleet import HOSTILE, LLM_URL
from tests.integration.test_fleet import fleet as fleet
from workers.notify import Notifier


@pytest.fixture
def hook():
    """A webhook; `hook.told` are the bodies, `hook.status` what it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.told.append((self.path, json.loads(body)))
            self.send_response(self.server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.told, server.status = [], 200
        server.url = f"http://127.0.0.1:{server.server_address[1]}/s3cr3t"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def notices(fleet):
    return {notice.id: notice for notice in due(FleetReader(fleet.client, fleet.settings).read())}


def test_two_control_workers_tell_the_end_of_a_run_once(make_mill, hook):
    mill = make_mill(market_of(2, 1))
    mill.env["ALPHAMILL_NOTIFY_URL"] = hook.url
    workers = mill.worker("control", 2, beat=True), mill.worker("control", 2, beat=True)
    mill.wait_until_here(mill.worker("fetch", 2), *workers)
    ends = [mill.wait_for_end(mill.submit(mill.spec(salt=salt)).id) for salt in ("a", "b")]
    wanted = {run.id for run in ends}

    def told() -> list[str]:
        return [body["run"] for _, body in hook.told]

    wait_for(lambda: wanted <= set(told()), "notices of both runs", told)
    for key in mill.redis.keys("alphamill:told:*"):
        assert mill.redis.ttl(key) > 0
    assert sorted(told()) == sorted(wanted)
    [(path, body)] = [(path, body) for path, body in hook.told if body["run"] == ends[0].id]
    assert path == "/s3cr3t"
    assert (body["event"], body["state"]) == ("run_ended", "done")
    assert body["title"] == f"{ends[0].id}: done"
    assert body["text"].startswith("2 of 2 jobs done, in ")


def looked(notifier: Notifier) -> None:
    """One look to its end."""
    notifier._next_s = 0.0
    notifier.poke()
    with notifier._looking:
        pass


@pytest.fixture
def notifier(fleet, hook, monkeypatch):
    monkeypatch.setattr("workers.notify._PAUSE_S", 0.0)
    settings = load_settings(fleet.env | {"ALPHAMILL_NOTIFY_URL": hook.url})
    return Notifier(fleet.client, settings)


def test_what_cannot_be_sent_is_a_line_in_the_log_without_the_secret(fleet, hook, notifier, caplog):
    fleet.submit("fetch-a", 1)
    fleet.fail("fetch-a", 0, "no")
    hook.status = 500
    looked(notifier)
    assert len(hook.told) == 3, "tried again"
    assert "was not told of fetch-a: done: HTTP 500" in caplog.text
    hook.status = 200
    looked(notifier)
    assert len(hook.told) == 3, "and then given up"
    hook.status = 404
    fleet.submit("fetch-b", 1)
    fleet.fail("fetch-b", 0, "no")
    looked(notifier)
    assert len(hook.told) == 4, "what is refused is refused"
    assert "s3cr3t" not in caplog.text


def test_without_an_address_nobody_looks(fleet):
    notifier = Notifier(fleet.client, fleet.settings)
    fleet.client.config_resetstat()
    looked(notifier)
    assert "cmdstat_zrange" not in fleet.client.info("commandstats")


def test_a_ledger_that_is_away_costs_nobody_anything(fleet, notifier, monkeypatch, hook):
    def away(**_: object) -> None:
        raise GiveUp("gone")

    with monkeypatch.context() as patch:
        patch.setattr(notifier._reader, "read", away)
        looked(notifier)
        patch.setattr(notifier._reader, "read", lambda **_: 1 / 0)
        looked(notifier)
    fleet.submit("fetch-a", 1)
    fleet.fail("fetch-a", 0, "no")
    looked(notifier)
    assert len(hook.told) == 1


def test_a_budget_that_stops_a_run_is_told(fleet):
    fleet.submit("mine-a", 3, "mine", "llm.quick_scan")
    fleet.call("mine-a", 1, 900_000)
    assert notices(fleet) == {}
    with pytest.raises(BudgetExhausted):
        fleet.call("mine-a", 2, 900_000)
    [notice] = notices(fleet).values()
    assert notice.event == "budget_stopped"
    assert notice.run == "mine-a"
    assert notice.text == (
        "its own budget has no room for another call; $0.900000 of $1.000000 spent. "
        "How to go on: alphamill status mine-a"
    )


def test_the_days_budget_is_told_by_its_name_and_is_an_alarm_too(fleet):
    for number in range(12):
        run = f"mine-{number:02d}"
        fleet.submit(run, 1, "mine", "llm.quick_scan")
        if number < 11:
            try:
                fleet.call(run, 1, 950_000)
            except BudgetExhausted:
                break
    told = notices(fleet)
    assert told["mine-10:budget:1000000"].text.startswith("the day's budget has no room")
    assert told["alarm:day budget"].event == "alarm"


def test_alarms_ring_for_long_pauses_and_refused_keys_and_their_text_is_text(fleet):
    pool = binance_pool(fleet.settings.binance, Market.SPOT, 1200)
    RedisLimiter(fleet.client).pause(pool, 30.0, "HTTP 429")
    RedisBreaker(fleet.client, LLM_URL).failed("m", FailureKind.SILENT, 1.0, "timeout")
    assert notices(fleet) == {}, "daily business"
    RedisLimiter(fleet.client).pause(pool, 600.0, f"HTTP 418 {HOSTILE}")
    RedisBreaker(fleet.client, LLM_URL).failed("x", FailureKind.KEY_REFUSED, 0.0, HOSTILE)
    told = notices(fleet)
    assert set(told) == {f"alarm:pause {pool.name}", "alarm:circuit llm.test"}
    for notice in told.values():
        assert notice.again_s
        assert "<script>" in notice.text
        assert not set(notice.text) & set("\x1b\u202e\r\n")


def test_what_ended_long_ago_is_not_told(fleet):
    fleet.submit("fetch-a", 1)
    fleet.fail("fetch-a", 0, "no")
    assert len(notices(fleet)) == 1
    fleet.client.hset("alphamill:{fetch-a}:run", "finished_ms", 1_600_000_000_000)
    assert notices(fleet) == {}
