"""`--universe` as typed, over a simulated exchange, its archive and a real Redis."""

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock, SystemClock
from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, partitions
from alphamill.live.register import Register
from alphamill.live.spec import LiveSpec
from alphamill.runs.panels import load_panel
from alphamill.runs.published import PublishedRun
from alphamill.settings import Tier, load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.sim.llm.server import LLMConfig
from alphamill.stages.registry import STAGES
from alphamill.universe.master_list import Listed
from alphamill.universe.snapshots import MasterList, write_master_list
from producers.cli import main
from tests.mortal_market import MortalMarket, life
from tests.serving import serving
from workers import tasks
from workers.resources import Resources

RULE = "top:3 by mean_10d(quote_volume), listed:20d"
LIVES = {
    "AAAUSDT": life("2022-01", "2023-04", 9e6),
    "BBBUSDT": life("2022-01", "2023-04", 5e6),
    "CCCUSDT": life("2022-01", "2023-04", 1e6),
    "DEADUSDT": (Month(2022, 1).start_ms, Month(2023, 2).start_ms + 9 * 86_400_000, 7e6),
    "USDCUSDT": life("2022-01", "2023-04", 9e7),
}
SPAN = ("--interval", "1d", "--start", "2023-01-01", "--end", "2023-05-01")


class April(ManualClock):
    """A clock that stands in April 2023."""

    def __init__(self):
        super().__init__(Month(2023, 4).start_ms + 3 * 86_400_000)


@dataclass
class Typed:
    """Commands as typed, and what works off the runs that they leave, job by job, here."""

    env: dict
    tools: Resources

    def __call__(self, *words):
        return CliRunner(env=self.env).invoke(main, words)

    def work(self, run_id):
        spec = self.spec(run_id)
        for job in plan(spec):
            tasks.attend(run_id, job.id, STAGES[job.stage])
        return self.tools.ledger.run(run_id)

    def spec(self, run_id):
        (record,) = [one for one in self.tools.ledger.runs() if one.id == run_id]
        return RunSpec.from_message(record.spec)


@pytest.fixture
def typed(redis_url, tmp_path, monkeypatch):
    with ExchangeServer(ExchangeConfig(), MortalMarket(LIVES)) as server:
        yield typing_at(server, redis_url, tmp_path, monkeypatch)


def typing_at(server, redis_url, tmp_path, monkeypatch, **more):
    env = {
        "ALPHAMILL_BINANCE_URL": server.url,
        "ALPHAMILL_ARCHIVE_URL": server.url,
        "ALPHAMILL_REDIS_URL": redis_url,
        "ALPHAMILL_HOME": str(tmp_path),
        "ALPHAMILL_CONFIG": None,
        **more,
    }
    tools = Resources(load_settings({k: v for k, v in env.items() if v}))
    monkeypatch.setattr(tasks, "resources", lambda: tools)
    monkeypatch.setattr(tasks, "publish", lambda hints: 0)
    return Typed(env, tools)


def test_a_universe_is_fetched_in_two_steps_and_then_scored(typed, tmp_path):
    early = typed("evaluate", "rank(close)", "--universe", RULE, *SPAN)
    assert early.exit_code == 1
    assert (
        "the lake lacks daily bars of 4 of 4 candidates between 2022-01 and 2023-03" in early.stderr
    )
    cure = f'alphamill fetch --universe "{RULE}" --interval 1d --start 2023-01-01 --end 2023-05-01'
    assert cure in early.stderr

    first = typed("fetch", "--universe", RULE, *SPAN)
    assert first.exit_code == 0, first.output
    assert "step 1 of 2" in first.stderr
    assert "give the same command again" in first.stderr
    daily = first.stdout.split()[-1]
    assert typed.spec(daily).symbols == ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DEADUSDT")
    assert typed.work(daily).whole
    assert {one.interval for one in partitions(Lake(str(tmp_path / "lake")))} == {Interval.D1}

    second = typed("fetch", "--universe", RULE, *SPAN, "--json")
    assert second.exit_code == 0, second.output
    said = json.loads(second.stdout)
    assert [sorted(one["members"]) for one in said["universe"]["months"]] == [
        ["AAAUSDT", "BBBUSDT", "DEADUSDT"],
        ["AAAUSDT", "BBBUSDT", "DEADUSDT"],
        ["AAAUSDT", "BBBUSDT", "CCCUSDT"],
        ["AAAUSDT", "BBBUSDT", "CCCUSDT"],
    ]
    spec = typed.spec(said["run_id"])
    assert spec.symbols == ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DEADUSDT")
    assert spec.universe.digest == said["universe"]["digest"]
    assert typed.work(said["run_id"]).whole

    scored = typed("evaluate", "rank(close)", "--universe", RULE, *SPAN)
    assert scored.exit_code == 0, scored.output
    assert "4 symbols belong in 4 months, 2023-01 to 2023-04, of 4 candidates" in scored.stderr
    assert "never taken: TradFi perpetuals, dated contracts, stable pairs" in scored.stderr
    run_id = scored.stdout.split()[-1]
    assert typed.spec(run_id).kind is RunKind.EVALUATE
    assert typed.spec(run_id).universe == spec.universe


def test_a_list_from_before_the_last_month_is_asked_for_anew(typed, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    old = Listed("AAAUSDT", "AAA", "USDT", "TRADING", first=Month(2022, 1))
    for on in (date(2023, 3, 31), date(2023, 4, 1)):  # the last month is April
        write_master_list(lake, MasterList(Market.SPOT, on, (old,)))
        told = typed("evaluate", "rank(close)", "--universe", RULE, *SPAN).stderr
        asked = len(lake.list("symbols")) == 2
        assert asked is (on.month == 3)
        assert f"of {4 if asked else 1} candidates" in told
        for key in lake.list("symbols"):
            lake.delete(key)


def test_who_waits_gets_both_steps_with_one_command(typed, monkeypatch):
    worked = []

    def wait(_ledger, run_id, **_how):
        worked.append(run_id)
        return typed.work(run_id)

    monkeypatch.setattr("producers.submit.submission.wait_for_run", wait)
    done = typed("fetch", "--universe", RULE, *SPAN, "--wait", "--json")
    assert done.exit_code == 0, done.output
    assert len(worked) == 2
    assert json.loads(done.stdout)["run_id"] == worked[1]
    assert "step 2 of 2" in done.stderr
    again = typed("fetch", "--universe", RULE, *SPAN, "--wait")
    assert again.exit_code == 0
    assert "step" not in again.stderr
    assert worked[2:] == worked[1:2]  # the same run, joined


def test_daily_bars_that_do_not_come_stop_it_with_the_way_on(typed, monkeypatch):
    def wait(ledger, run_id, **_how):
        return ledger.cancel(run_id)

    monkeypatch.setattr("producers.submit.submission.wait_for_run", wait)
    stopped = typed("fetch", "--universe", RULE, *SPAN, "--wait")
    assert stopped.exit_code == 1
    (daily,) = [run.id for run in typed.tools.ledger.runs()]
    assert f"not all came; try what failed again with: alphamill resume {daily}" in stopped.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fetch", "--universe", "top:3 by volume", *SPAN), "'volume' is no measure"),
        (("fetch", "AAAUSDT", "--universe", RULE, *SPAN), "name no symbols"),
        (("features", "--top", "5", "--universe", RULE, *SPAN), "name no symbols"),
        (("evaluate", "close", *SPAN), "--universe RULE"),
        (("bars", "--universe", RULE, "--rule", "1m", *SPAN[2:]), "goes with fetch, features"),
        (("fetch", "--universe", f"{RULE}, quote:EUR", *SPAN), "there are USDT"),
        (
            ("fetch", "--universe", f"{RULE}, without:AAA+BBB+CCC+DEAD", *SPAN),
            "no symbol of spot is quoted in 'USDT' and may belong",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(typed, words, said):
    refused = typed(*words)
    assert refused.exit_code in (1, 2)
    assert said in refused.stderr
    assert typed.tools.ledger.runs() == []


def test_a_live_follows_the_members_of_its_month_and_says_until_when(typed, tmp_path, monkeypatch):
    monkeypatch.setattr("producers.live.SystemClock", April)
    follow = ("live", "start", "--expr", "rank(close)", "--interval", "1d", "--universe", RULE)
    early = typed(*follow)
    assert early.exit_code == 1
    cure = f'alphamill fetch --universe "{RULE}" --interval 1d --start 2023-03-01 --wait'
    assert cure in early.stderr
    daily = typed("fetch", "--universe", RULE, *SPAN).stdout.split()[-1]
    assert typed.work(daily).whole

    started = typed(*follow)
    assert started.exit_code == 0, started.output
    assert "members of 2023-04 and hold until 2023-05-01 00:00 UTC" in started.stderr
    (entry,) = Register(Lake(str(tmp_path / "lake"))).survey()[0]
    assert entry.spec.symbols == ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    assert (entry.spec.universe, entry.spec.members_of) == (
        f"{RULE}, quote:USDT, monthly",
        "2023-04",
    )
    assert entry.id == entry.spec.id == LiveSpec.from_message(entry.spec.to_message()).id
    monkeypatch.setattr("producers.read.live.SystemClock", April)
    shown = " ".join(typed("live", "status").stdout.split())
    assert "they hold until 2023-05-01 00:00 UTC" in shown
    monkeypatch.setattr("producers.read.live.SystemClock", SystemClock)
    shown = " ".join(typed("live", "status").stdout.split())
    assert "another month has begun since 2023-05-01 00:00 UTC: start a new live" in shown
    both = typed(*follow, "--symbols", "AAAUSDT")
    assert both.exit_code == 2
    assert "name no --symbols" in both.stderr


@pytest.fixture
def recorded(redis_url, shared_data, tmp_path, monkeypatch):
    """Recordings of four coins, of which one collapses and is delisted, and an offline model."""
    folder = tmp_path / "recordings" / "spot"
    folder.mkdir(parents=True)
    for coin in ("BTC", "ETH", "LUNA", "XRP"):
        name = f"{coin}USDT-1h.parquet"
        (folder / name).symlink_to(shared_data / "klines" / "spot" / name)
    offset_ms = Month(2022, 6).start_ms - SystemClock().now_ms()
    config = ExchangeConfig(replay=folder.parent, derive=True, clock_offset_ms=offset_ms)
    tier = f'model = "{PROPOSER}"\nrequests_per_minute = 6000\ntokens_per_minute = 10000000\n'
    settings = tmp_path / "alphamill.toml"
    settings.write_text("".join(f"[llm.tiers.{one}]\n{tier}" for one in Tier))
    with ExchangeServer(config) as server, serving(LLMConfig(latency_ms=0)) as url:
        more = {"ALPHAMILL_LLM_URL": url, "ALPHAMILL_CONFIG": str(settings)}
        yield typing_at(server, redis_url, tmp_path, monkeypatch, **more)


def test_a_mining_run_over_a_universe_with_its_dead_and_with_flow_from_recordings(
    recorded, tmp_path
):
    rule = "top:3 by mean_10d(quote_volume), listed:20d"
    span = ("--interval", "1h", "--start", "2022-05-01", "--end", "2022-05-17")
    daily = recorded("fetch", "--universe", rule, "--interval", "1d", *span[2:])
    assert daily.exit_code == 0, daily.output
    assert recorded.work(daily.stdout.split()[-1]).whole
    once = ("--rounds", "1", "--budget-usd", "1")
    asked = recorded("mine", "--universe", rule, "--with", "flow", *span, *once)
    assert asked.exit_code == 0, asked.output
    run_id = asked.stdout.split()[-1]
    assert recorded.work(run_id).whole

    run = PublishedRun.open(Lake(str(tmp_path / "lake")), run_id)
    [manifest] = run.manifests
    assert "LUNAUSDT" in manifest.symbols  # belonged when it was halted on 2022-05-13
    assert manifest.ended == ("LUNAUSDT",)
    held = load_panel(run.lake, run_id, Interval.H1, "holdout", ["vpin", "signed_volume"])
    luna = manifest.symbols.index("LUNAUSDT")
    days = held.panel.times_ms // 86_400_000 - Month(2022, 5).start_ms // 86_400_000
    for field in ("vpin", "signed_volume"):
        known = np.isfinite(held.panel[field])
        assert known[days < 12].all()
        assert not known[days > 13, luna].any()
        assert known[days > 13].any()
    assert len(run.trials) > 10
    assert all(factor.look_ahead_ok for factor in run.factors)
    assert recorded("factors", run_id).exit_code == 0
