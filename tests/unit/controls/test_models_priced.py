"""What a token and a dollar buy, model by model: counted, with intervals, beside luck."""

import json
import math
from functools import partial

import pytest
from click.testing import CliRunner
from scipy.stats import chi2, t

from alphamill.clock import ManualClock
from alphamill.controls.luck import Arm, luck_funnel
from alphamill.controls.markets import ControlMarket
from alphamill.controls.models import Price, count_models, poisson_interval
from alphamill.controls.own_bars import Searched, seed_of
from alphamill.controls.planted import OfflineChat, Search
from alphamill.limits import OpenGate
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.mill import InProcess
from alphamill.settings import Tier
from alphamill.testing import work_market
from alphamill.usage import MemoryUsage
from producers.cli import main
from producers.run import bench_models


@pytest.mark.parametrize("count", [0, 1, 7, 400])
def test_the_interval_of_a_count_is_garwoods(count):
    low, high = poisson_interval(count)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0.0)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2)


def test_what_was_not_found_has_a_price_that_is_not_known_but_from_below():
    none = Price.of(3_690_000, 0)
    assert math.isnan(none.each)
    assert math.isinf(none.high)
    assert none.low == pytest.approx(1_000_000, rel=1e-3), "3.69 may be expected where none is seen"
    assert Price.of(300.0, 4).each == 75.0


def searched(seed, proposed=10, evaluated=6, claims=0, passed=3, failed=(), luck_passed=1):
    arm = Arm("1h", proposed, evaluated, 2.0, 0.7, 3, claims, min(claims, 1), "")
    funnel = {
        "proposed": proposed,
        "evaluated": evaluated,
        "duplicate": 2,
        "slower": 1,
        "passed_validation": passed,
        "admitted": claims,
        "prompt_tokens": 3000,
        "completion_tokens": 1000,
        "asked": 4,
        "failed_attempts": 1,
        "latency_ms": {"p50": 100 * (seed + 1), "p99": 900 - seed},
    }
    luck = {"evaluated": 10, "passed_validation": luck_passed, "admitted": 1}
    return Searched(seed, (arm,), 0.5, failed, 500, None, (), funnel, luck)


def test_what_is_counted_over_searches_of_one_configuration():
    found = count_models(
        "small",
        "m",
        [
            searched(0),
            searched(1, proposed=20, claims=3, luck_passed=5),
            searched(2, proposed=30, failed=("x: gone",)),
        ],
    )
    assert (found.searches, found.incomplete, found.calls) == (2, 1, 12)
    assert (found.tokens, found.cost_usd_micros) == (12_000, 1500), "what failed was paid too"
    by_stage = {one.stage: one for one in found.yields}
    assert [one.count for one in found.yields] == [30, 14, 10, 3, 1]
    assert (by_stage["proposed"].mean, by_stage["proposed"].worst) == (15.0, 10)
    assert (by_stage["predictive"].mean, by_stage["predictive"].worst) == (1.5, 0)
    assert by_stage["predictive"].usd_micros.each == 500.0
    assert by_stage["new"].tokens.each == 1200.0
    # 3 of 6 against 1 and 5 of 10.
    assert (found.passes.mean, found.passes.worst) == (pytest.approx(0.2), pytest.approx(0.0))
    half = t.ppf(0.975, 1) * 0.2
    assert (found.passes.low, found.passes.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert (found.admitted.mean, found.admitted.worst) == (0.5, -1.0)
    assert (found.latency_p50_ms, found.latency_p99_ms) == (150.0, 900)
    nothing = json.dumps(count_models("small", "m", []).to_dict(), allow_nan=False)
    assert json.loads(nothing)["passes"]["mean"] is None


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    market = ControlMarket(seed=5, n_symbols=4, n_bars=600)
    return work_market(tmp_path_factory.mktemp("lake"), market, Search(candidates=2))


OFFLINE = "".join(f'[llm.tiers.{tier.value}]\nmodel = "offline-proposer"\n' for tier in Tier)
PAID = (
    '[llm]\nurl = "http://127.0.0.1:1/v1"\n[llm.prices."m"]\ninput = 1.0\noutput = 10.0\n'
    + "".join(f'[llm.tiers.{tier.value}]\nmodel = "m"\n' for tier in Tier)
)


def process_here(spec, settings):
    """The offline proposer under the file's models, at its prices."""
    prices = PriceTable.shipped(settings.llm.prices)
    routes = OneEndpoint(
        OfflineChat(seed_of(spec)), prices, {tier.value: OpenGate() for tier in Tier}
    )
    journal = MemoryJournal()
    gateway = Gateway(routes, prices, journal, MemoryUsage(), ManualClock())
    return InProcess(gateway, journal=journal, indicators=False)


def test_the_command_prices_each_file_and_asks_for_a_budget(worked, tmp_path, monkeypatch):
    done = []

    def here(work, tasks, jobs, what, *, quiet):
        done.append([(task.name, task.spec.budget_usd_micros) for task in tasks])
        return map(work, tasks)

    asked = process_here, bench_models.process_of
    monkeypatch.setattr(
        bench_models,
        "process_of",
        lambda spec, settings: asked["offline" in spec.salt.partition(" of ")[0]](spec, settings),
    )
    monkeypatch.setattr(bench_models, "in_processes", here)
    plain = partial(luck_funnel, operators=("ts_mean", "rank", "neg", "div", "pct_change"))
    monkeypatch.setattr("alphamill.controls.models.luck_funnel", plain)
    monkeypatch.setenv("ALPHAMILL_LAKE", worked.lake.uri)
    files = {"offline": OFFLINE, "paid": PAID}
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    words = ["bench", "models", "--seeds", "1", "--jobs", "1"]
    words += [word for name in files for word in ("--config", str(tmp_path / f"{name}.toml"))]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "1 x paid (m): about $" in refused.output
    assert "Give --budget-usd" in refused.output
    words += ["--budget-usd", "2"]
    told = json.loads(CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False).stdout)
    assert done == [[("offline", 1_000_000), ("paid", 2_000_000)]]
    free, paid = told["models"]
    assert (free["name"], free["models"], free["cost_usd_micros"]) == (
        "offline",
        "offline-proposer",
        0,
    )
    assert (paid["models"], paid["searches"]) == ("m", 1)
    assert paid["tokens"] == free["tokens"] > 0
    assert paid["cost_usd_micros"] > 0
    proposed = paid["yields"][0]
    assert proposed["usd_micros"]["each"] == paid["cost_usd_micros"] / proposed["count"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert done[1:] == [[]], "both are known"
    absent = CliRunner().invoke(main, ["bench", "models", "--config", str(tmp_path / "gone.toml")])
    assert absent.exit_code == 3
    assert absent.output.startswith("--config: cannot read ")
    twice = ["--config", words[words.index("--config") + 1]]
    same = CliRunner().invoke(main, [*words, *twice])
    assert (same.exit_code, "a name of its own" in same.output) == (2, True)
    monkeypatch.setenv("ALPHAMILL_LLM_QUICK_SCAN_MODEL", "m")
    wins = CliRunner().invoke(main, words)
    assert wins.exit_code == 3
    assert "wins over every --config; unset it" in wins.output
