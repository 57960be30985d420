"""`alphamill resume --budget-usd`: what is refused, with which figures, and what goes back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import click
import fakeredis
import pytest
from click.testing import CliRunner

from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.ledger import JobSpec, RedisLedger
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import Caps, utc_day
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.report.caveats import resumed_line
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import SUMMARY
from alphamill.settings import LedgerSettings, Settings
from producers.read import status as status_command
from producers.submit import submission
from producers.submit.lifecycle import resume
from producers.submit.resumption import resume_run
from workers import send

RUN = "mine-1f2e3d4c5b6a7988"
NEEDS = 1_000  # micro-dollars that each call left out may cost


class Desk:
    """A mining run that was allowed $0.004, spent $0.0035 and left two calls out."""

    def __init__(self, client, monkeypatch, lake) -> None:
        self.client, self.said, self.sent, self.lake = client, [], [], lake
        self.ledger = RedisLedger(client, LedgerSettings())
        self.journal = RedisJournal(client)
        self.settings = Settings()
        monkeypatch.setattr(send, "publish", self._publish)

    def _publish(self, hints) -> int:
        self.sent += [hint.job_id for hint in hints]
        return len(self.sent)

    def run(self, **spec):
        asks = [JobSpec(f"ask{n}", "propose.quick_scan", "llm.quick_scan", {}) for n in range(3)]
        last = JobSpec(
            "publish", "publish", "control", {}, after=("ask0", "ask1", "ask2"), goal=True
        )
        self.ledger.open_run(
            RUN, "mine", {"budget_usd_micros": 4_000, "lake": self.lake.uri} | spec
        )
        self.ledger.add_jobs(RUN, [*asks, last])
        self.ledger.seal(RUN)
        self.ledger.feed(RUN)
        return self.record()

    def record(self):
        run = self.ledger.run(RUN)
        assert run is not None
        return run

    def pay(self, micros: int, day: str | None = None) -> None:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        messages = (Message("user", "x"),)
        begun = CallRecord.begin(
            RUN,
            "ask0",
            "quick_scan",
            ChatRequest("m", messages, max_tokens=10),
            prompt_version="1",
            started_ms=now_ms,
            reserved_usd_micros=micros,
        )
        call = replace(begun, day=day or utc_day(now_ms))
        self.journal.reserve(call, messages, Caps(10**12, 10**12))
        reply = ChatReply("a reply", "stop", "m", TokenUsage(1, 0, 1), 1, "m")
        self.journal.settle(call.settled(reply, Charge(micros, micros), now_ms))

    def work(self, *jobs: str, short_of: str = "") -> None:
        for job in jobs:
            claim = self.ledger.claim(RUN, job, "w")
            assert claim is not None
            said = {
                "stopped": f"no money for {job}",
                "unfunded": short_of,
                "needs_usd_micros": NEEDS,
            }
            self.ledger.finish(claim, said if short_of else {})

    def stopped(self, short_of: str = "run", **spec):
        self.run(**spec)
        self.pay(3_500)
        self.work("ask0")
        self.work("ask1", "ask2", short_of=short_of)
        self.work("publish")
        return self.record()

    def resume(self, usd_micros=None, run=None):
        self.sent.clear()
        self.said.clear()
        chosen = run or self.record()
        return resume_run(
            chosen, self.ledger, self.client, self.settings, usd_micros, self.said.append
        )

    def refused(self, usd_micros=None) -> str:
        before = self.record()
        with pytest.raises(GiveUp) as caught:
            self.resume(usd_micros)
        assert self.record() == before, "a refusal changes nothing"
        assert self.sent == []
        return str(caught.value)


@pytest.fixture
def desk(monkeypatch, tmp_path):
    with fakeredis.FakeRedis() as client:
        yield Desk(client, monkeypatch, Lake(str(tmp_path)))


def test_with_more_money_what_was_left_out_goes_back(desk):
    desk.stopped()
    desk.client.hset(f"alphamill:{RUN}:llm:account", "exhausted_ms", 5)
    run = desk.resume(50_000)
    assert (run.state, run.budget_usd_micros, run.unfunded) == ("running", 50_000, {})
    assert sorted(desk.sent) == ["ask1", "ask2"]
    assert desk.said == [
        "its budget is raised from $0.004 to $0.05",
        "2 model calls left out and all that came after go back; nothing is paid twice",
    ]
    assert desk.journal.state(RUN, "2026-01-01").run.exhausted_ms == 0
    assert [one.usd_micros for one in run.raises] == [50_000]


def test_what_was_published_before_is_said_to_be_older(desk):
    desk.stopped()
    desk.lake.write_bytes(run_key(RUN, SUMMARY), b"{}")
    assert PublishedRun(desk.lake, RUN, {}).resumed_ms is None
    before_ms = int(datetime.now(UTC).timestamp() * 1000)
    desk.resume(50_000)
    published = PublishedRun(desk.lake, RUN, {})
    assert before_ms <= published.resumed_ms <= int(datetime.now(UTC).timestamp() * 1000)
    assert resumed_line(published).endswith(f"alphamill status {RUN} shows how far it is.")
    desk.lake.write_bytes(run_key(RUN, SUMMARY), b'{"anew": 1}')
    assert published.resumed_ms is None
    assert resumed_line(published) == ""


def test_a_run_that_is_whole_is_not_said_to_work_again(desk):
    desk.run()
    desk.work("ask0", "ask1", "ask2", "publish")
    desk.lake.write_bytes(run_key(RUN, SUMMARY), b"{}")
    desk.resume()
    assert PublishedRun(desk.lake, RUN, {}).resumed_ms is None


def test_the_same_message_twice_and_two_at_once_double_nothing(desk):
    seen = desk.stopped()
    desk.resume(50_000)
    assert desk.resume(50_000, run=seen).raises == desk.record().raises
    assert desk.sent == []
    assert len(desk.record().raises) == 1
    desk.work("ask1", "ask2", "publish")
    assert desk.resume(50_000, run=seen).whole
    assert (desk.sent, len(desk.record().raises)) == ([], 1)
    assert desk.resume(50_000).whole
    assert desk.said == ["it is done and nothing was left out"]


def test_a_kill_between_the_raise_and_what_goes_back_is_mended_by_typing_it_again(desk):
    desk.stopped()
    desk.ledger.raise_budget(RUN, 50_000)
    run = desk.resume(50_000)
    assert (run.state, len(run.raises), sorted(desk.sent)) == ("running", 1, ["ask1", "ask2"])


@pytest.mark.parametrize(
    ("usd_micros", "why"),
    [
        (4_000, r"may spend \$0.004000 already; \$0.004000 is not more"),
        (3_900, r"may spend \$0.004000 already; \$0.003900 is not more"),
        (3_000, r"\$0.003 is less than the \$0.0035 that .* has spent and set aside already"),
        (
            4_400,
            r"\$0.0044 pays for no call: \$0.0035 is spent and set aside, and the least that was "
            r"left out may cost \$0.001; go on with: alphamill resume .* --budget-usd 0.008$",
        ),
        (
            None,
            r"its budget of \$0.004 has \$0.0005 left and the least of 2 calls left out may cost "
            r"\$0.001; go on with: alphamill resume .* --budget-usd 0.008$",
        ),
    ],
)
def test_what_pays_for_nothing_is_refused_with_the_figures(desk, usd_micros, why):
    desk.stopped()
    assert re.search(why, desk.refused(usd_micros))


def test_a_budget_that_pays_for_some_is_taken_and_says_what_would_be_enough(desk):
    desk.stopped()
    desk.resume(5_000)
    assert sorted(desk.sent) == ["ask1", "ask2"]
    assert desk.said[-1] == (
        "all of them may cost more than is left; enough for all: "
        f"alphamill resume {RUN} --budget-usd 0.008"
    )


def test_a_run_that_the_days_budget_stopped_waits_for_the_next_day(desk):
    desk.settings = Settings.model_validate({"budget": {"day_usd": 0.004}})
    desk.stopped("day", budget_usd_micros=1_000_000)
    said = desk.refused()
    assert said.startswith("today's budget of $0.004 (budget.day_usd) has $0.0005 left")
    assert "resume it from 00:00 UTC on, in " in said
    assert desk.refused(2_000_000).startswith("today's budget of $0.004")
    desk.client.delete(f"alphamill:llm:day:{utc_day(int(datetime.now(UTC).timestamp() * 1000))}")
    desk.resume()
    assert sorted(desk.sent) == ["ask1", "ask2"]
    assert desk.record().raises == ()


def test_a_run_past_its_hours_would_ask_nothing_and_is_not_judged_again(desk):
    desk.stopped(search={"max_hours": 1e-9})
    assert "search.max_hours (1e-09 h)" in desk.refused(50_000)


def test_a_running_run_may_spend_more_at_once_and_puts_back_later(desk):
    desk.run()
    desk.pay(3_500)
    desk.work("ask0")
    desk.work("ask1", short_of="run")
    run = desk.resume(50_000)
    assert (run.state, run.budget_usd_micros) == ("running", 50_000)
    assert desk.said[-1].endswith(f"once it has ended: alphamill resume {RUN}")
    assert desk.sent == []
    desk.work("ask2", "publish")
    desk.resume()
    assert desk.sent == ["ask1"]


def test_a_cancelled_run_goes_on_with_or_without_money(desk):
    desk.run()
    desk.pay(3_500)
    desk.work("ask0")
    desk.work("ask1", short_of="run")
    desk.ledger.cancel(RUN)
    assert desk.resume().state == "running"
    assert desk.sent == ["ask2"]
    assert desk.said[0].startswith("its budget of $0.004 has $0.0005 left")
    desk.ledger.cancel(RUN)
    desk.resume(50_000)
    assert sorted(desk.sent) == ["ask1", "ask2"]


def test_a_complete_run_and_one_without_models_have_nothing_to_pay_for(desk):
    desk.run()
    desk.work("ask0", "ask1", "ask2", "publish")
    assert "is done, and its budget of $0.004 kept nothing from being asked" in desk.refused(50_000)
    assert desk.resume().whole
    desk.ledger.open_run("fetch-1", "fetch", {})
    run = desk.ledger.run("fetch-1")
    with pytest.raises(click.UsageError, match="fetch-1 is a fetch run: it asks no model"):
        desk.resume(50_000, run=run)


def test_a_stop_by_money_is_called_so_and_is_no_success(desk, monkeypatch, capsys):
    desk.stopped()
    monkeypatch.setattr(submission, "wait_for_run", lambda *_, **__: desk.record())
    run = submission.watched(desk.ledger, RUN, None, desk.client)
    said = capsys.readouterr().err
    assert (
        "the run is done, stopped by money: its budget of $0.004 kept 2 model calls from being "
        f"made; go on with: alphamill resume {RUN} --budget-usd 0.008\n"
    ) in said
    assert not run.whole
    assert submission._joined(run).startswith("a budget stopped it")

    monkeypatch.setattr(status_command, "connect", lambda _: desk.client)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(status_command.status, [RUN])
    assert shown.exit_code == 0, shown.output
    assert "done, out of budget" in shown.output
    assert f"alphamill resume {RUN} --budget-usd 0.008" in shown.output
    told = json.loads(CliRunner().invoke(status_command.status, [RUN, "--json"]).stdout)
    assert told["unfunded"] == {"run": 2}
    assert told["go_on"] == f"alphamill resume {RUN} --budget-usd 0.008"
    monkeypatch.setattr(status_command, "wait_for_run", lambda *_, **__: desk.record())
    waited = CliRunner().invoke(status_command.status, [RUN, "--wait", "--json"])
    assert waited.exit_code == 1
    desk.resume(50_000)
    told = json.loads(CliRunner().invoke(status_command.status, [RUN, "--json"]).stdout)
    assert (told["budget_asked_usd_micros"], told["budget_usd_micros"]) == (4_000, 50_000)
    assert [one["usd_micros"] for one in told["budget_raises"]] == [50_000]
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(status_command.status, [RUN])
    assert "its budget: $0.004 asked for, raised to $0.05 on " in shown.output


def test_a_budget_of_next_to_nothing_is_wrong_usage():
    for text in ("0", "-1", "nan", "0.0000001"):
        result = CliRunner().invoke(resume, [RUN, "--budget-usd", text])
        assert result.exit_code == 2, result.output
