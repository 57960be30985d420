"""A run's own bars searched again: worthless returns that keep all else, and what is counted."""

import json
import math
import tempfile
from dataclasses import replace
from types import SimpleNamespace

import click
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest, kurtosis

from alphamill.clock import ManualClock
from alphamill.controls.luck import Arm, arm_of_run
from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.controls.mirrored import fair_signs, mirrored
from alphamill.controls.noise import count_noise, interval_of_share, worthless
from alphamill.controls.own_bars import (
    Patient,
    Searched,
    _with_indicators,
    offline_process,
    search_again,
    searched_again,
    spec_again,
    whole_panel,
)
from alphamill.controls.planted import Search
from alphamill.errors import GiveUp, RetryLater
from alphamill.evaluation import forward_returns, information_coefficient
from alphamill.factors import compute
from alphamill.frames import Interval, Panel
from alphamill.lake import Lake, run_key
from alphamill.language import read_expression
from alphamill.llm.call import Call
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.records import CallStatus
from alphamill.replay.run import replay
from alphamill.runs.panels import read_manifest
from alphamill.settings import Price, Settings, Tier, TierSettings
from alphamill.sim.market import PlantedFactor
from alphamill.testing import work_market
from producers.cli import main
from producers.run import bench_own_bars, processes
from producers.run.bench_money import Asked, budget_a_search, plan_of

REVERSAL = "-ts_zscore(close, 24)"
TORN = ControlMarket(seed=5, n_symbols=6, n_bars=600)


@pytest.fixture(scope="module")
def torn():
    """A panel with outages, a late listing and a collapse with delisting."""
    return panel_of(TORN)


def log_returns(panel):
    """Of each coin's bars in a row, (bars, symbols)."""
    return np.diff(np.log(panel["close"]), axis=0)


def test_signs_that_turn_nothing_leave_the_bars_as_they_were(torn):
    same = mirrored(torn, np.ones(torn.n_bars))
    assert list(same) == list(torn)
    for name, values in torn.items():
        np.testing.assert_allclose(same[name], values, rtol=1e-12, err_msg=name)


def test_mirrored_bars_are_bars_with_the_same_moves_volumes_and_holes(torn):
    signs = fair_signs(1, torn.n_bars)
    made = Panel(torn.interval, torn.times_ms, torn.symbols, mirrored(torn, signs))
    for name, values in torn.items():
        np.testing.assert_array_equal(np.isnan(made[name]), np.isnan(values), err_msg=name)
    there = np.isfinite(torn["close"])
    near = 1 + 1e-9
    assert (made["low"] * (1 / near) <= np.minimum(made["open"], made["close"]))[there].all()
    assert (made["high"] * near >= np.maximum(made["open"], made["close"]))[there].all()
    np.testing.assert_allclose(
        log_returns(made), signs[1:, None] * log_returns(torn), rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(made["quote_volume"], torn["quote_volume"])
    np.testing.assert_array_equal(made["trades"], torn["trades"])
    traded = there & (torn["volume"] > 0)
    mean = made["quote_volume"][traded] / made["volume"][traded]
    assert (mean <= made["high"][traded] * near).all()
    assert (mean >= made["low"][traded] / near).all()
    bought = (torn["taker_buy_base"] / torn["volume"])[traded]
    turned = np.broadcast_to(signs[:, None] < 0, there.shape)[traded]
    np.testing.assert_allclose(
        (made["taker_buy_base"] / made["volume"])[traded], np.where(turned, 1 - bought, bought)
    )
    first = np.argmax(there, axis=0)
    columns = np.arange(len(torn.symbols))
    opened = np.exp(np.log(torn["open"][first, columns]))
    np.testing.assert_allclose(made["open"][first, columns], opened, rtol=1e-12)


def test_prices_beside_the_bars_keep_their_distance_and_what_is_no_price_stays(torn):
    close = torn["close"]
    beside = {"mark_price": close * 1.01, "open_interest": 5.0 / close, "funding_rate": close * 0}
    made = mirrored({**torn, **beside}, fair_signs(2, torn.n_bars))
    np.testing.assert_allclose(made["mark_price"], made["close"] * 1.01)
    np.testing.assert_allclose(made["open_interest"], 5.0 / made["close"])
    np.testing.assert_array_equal(made["funding_rate"], beside["funding_rate"])


@pytest.fixture(scope="module")
def predictable():
    """Twelve coins with clustered volatility and fat tails, whose prices turn back."""
    planted = (PlantedFactor(REVERSAL, 0.15, 4),)
    return panel_of(ControlMarket(7, 12, 3000, planted, ragged=False))


def reversal_ic(panel):
    """Mean RankIC of the reversal with the next four bars."""
    values = compute(read_expression(REVERSAL), panel)
    return float(np.nanmean(information_coefficient(values, forward_returns(panel, 4))))


def turned(panel, signs):
    return Panel(panel.interval, panel.times_ms, panel.symbols, mirrored(panel, signs))


def test_a_sign_a_bar_takes_what_blocks_and_shifts_leave_to_be_predicted(predictable):
    recorded = reversal_ic(predictable)
    assert recorded > 0.08
    seeds = range(8)
    apart = [reversal_ic(turned(predictable, fair_signs(seed, 3000))) for seed in seeds]
    # A mean over 3,000 bars of overlapping labels: standard error 0.3 x 2 / sqrt(3000) = 0.011.
    assert abs(np.mean(apart)) < 3 * 0.011 / math.sqrt(len(seeds))
    assert max(map(abs, apart)) < 0.4 * recorded
    blocks = [reversal_ic(turned(predictable, fair_signs(seed, 3000, 96))) for seed in seeds]
    assert np.mean(blocks) > 0.6 * recorded
    fields = {
        name: np.stack([np.roll(column, 97 * at) for at, column in enumerate(values.T)], axis=1)
        for name, values in predictable.items()
    }
    shifted = Panel(predictable.interval, predictable.times_ms, predictable.symbols, fields)
    assert reversal_ic(shifted) > 0.3 * recorded


def shared(returns):
    """Mean correlation of two coins' returns."""
    found = np.corrcoef(returns.T)
    return found[np.triu_indices(len(found), 1)].mean()


def clustering(returns):
    """Mean autocorrelation of returns' sizes, a bar apart."""
    sizes = np.abs(returns)
    return np.mean([np.corrcoef(one[1:], one[:-1])[0, 1] for one in sizes.T])


def test_a_sign_a_bar_keeps_volatility_tails_and_what_coins_share(predictable):
    before = log_returns(predictable)
    after = log_returns(turned(predictable, fair_signs(3, 3000)))
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-12)
    assert shared(before) > 0.3
    assert shared(after) == pytest.approx(shared(before), abs=0.01)
    assert clustering(before) > 0.1
    assert clustering(after) == pytest.approx(clustering(before), abs=1e-9)
    assert kurtosis(after.ravel()) == pytest.approx(kurtosis(before.ravel()), rel=0.05)
    # What a shift of each coin's bars takes apart.
    rolled = np.stack([np.roll(column, 97 * at) for at, column in enumerate(before.T)], axis=1)
    assert abs(shared(rolled)) < 0.1 * shared(before)


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    market = ControlMarket(seed=5, n_symbols=4, n_bars=600)
    return work_market(tmp_path_factory.mktemp("lake"), market, Search(candidates=2))


def test_a_run_searched_again_over_its_own_bars_finds_what_it_found(worked):
    """The same panel to the last bit, and so the same trials, ranks and verdicts."""
    run = worked.published
    spec = spec_again(run.spec, "same", 1)  # the seed of the proposer that the run asked
    before = run.lake.list("")
    with searched_again(run, spec, lambda panel: panel, offline_process(spec)) as again:
        there, here = (
            read_manifest(one.lake, one.id, Interval.H1).snapshot for one in (run, again)
        )
        assert here == there
        assert [one.text for one in again.trials] == [one.text for one in run.trials]
        assert [one.validation for one in again.trials] == [one.validation for one in run.trials]
        mine, theirs = (arm_of_run(one.lake, one.id, Interval.H1) for one in (again, run))
        assert mine == theirs
        assert mine.finalists > 0
    assert run.lake.list("") == before, "no look at the run's holdout, nothing in its library"


def test_a_seed_of_noise_is_the_same_every_time_and_not_the_run(worked):
    run = worked.published
    found = []
    for _ in range(2):
        spec = spec_again(run.spec, "noise", 3)
        found.append(search_again(run, spec, worthless(3), offline_process(spec)))
    assert found[0] == found[1]
    assert found[0].arms != (arm_of_run(run.lake, run.id, Interval.H1),)
    assert found[0].seed == 3
    assert found[0].trials == len(run.trials)
    assert not found[0].failed
    assert Searched.from_dict(json.loads(json.dumps(found[0].to_dict()))) == found[0]


def test_indicators_of_the_bars_that_are_searched_are_computed_anew(worked):
    run = worked.published
    manifest, panel = whole_panel(run, Interval.H1)
    facts = {
        name: replace(one, fields={**one.fields, "returns_1d": ""})
        for name, one in manifest.segments.items()
    }
    made = _with_indicators(panel, replace(manifest, segments=facts))
    days = panel["close"][24:] / panel["close"][:-24] - 1
    gaps = np.isnan(panel["close"]).any(axis=1)
    whole = ~np.array([gaps[at : at + 25].any() for at in range(len(days))])
    assert whole.sum() > 100
    np.testing.assert_allclose(made["returns_1d"][24:][whole], days[whole], rtol=1e-9)


def searched(seed=0, claims=0, p_value=0.5, failed=(), best_t=2.0):
    return Searched(
        seed, (Arm("1h", 10, 9, best_t, 0.7, 3, claims, 0, ""),), p_value, failed, cost_usd_micros=7
    )


def test_what_is_counted_over_seeds():
    found = count_noise(
        [searched(0), searched(1, 3, best_t=5.0), searched(2, 1), searched(3, failed=("x: gone",))]
    )
    assert (found.seeds, found.claiming, found.incomplete) == (3, 2, 1)
    assert (found.mean_claims, found.worst_claims) == (pytest.approx(4 / 3), 3)
    assert (found.mean_best_t, found.worst_best_t) == (3.0, 5.0)
    assert (found.trials, found.cost_usd_micros) == (30, 28)
    assert found.claiming_frac == pytest.approx(2 / 3)
    assert found.to_dict()["ks_p"] is None, "three searches say nothing of a distribution"
    nothing = count_noise([]).to_dict()
    assert nothing["claiming_frac"] is nothing["low_frac"] is None


@pytest.mark.parametrize(("hits", "tries"), [(0, 200), (15, 419), (3, 20), (10, 10)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(hits, tries):
    exact = binomtest(hits, tries).proportion_ci(0.95, "exact")
    assert interval_of_share(hits, tries) == pytest.approx((exact.low, exact.high), abs=1e-9)


def here(tasks_done):
    """In place of processes: the same work, and a list of its tasks."""

    def work_here(work, tasks, jobs, what, *, quiet):
        tasks_done.append(list(tasks))
        return map(work, tasks)

    return work_here


def test_the_command_counts_and_goes_on_with_what_it_had(worked, monkeypatch):
    done = []
    monkeypatch.setenv("ALPHAMILL_LAKE", worked.lake.uri)
    monkeypatch.setattr(bench_own_bars, "in_processes", here(done))
    words = ["bench", "noise", "--run", worked.spec.run_id, "--jobs", "1"]
    first = CliRunner().invoke(main, [*words, "--seeds", "2"])
    assert first.exit_code == 0, first.output
    assert "2 searches of mine-" in first.output
    assert "15 of 419" in " ".join(first.output.split())
    told = json.loads(CliRunner().invoke(main, [*words, "--seeds", "3", "--json"]).stdout)
    assert [len(tasks) for tasks in done] == [2, 1], "two seeds are known"
    assert [one["seed"] for one in told["searches"]] == [0, 1, 2]
    assert told["anchor"] == {"searches": 419, "claiming": 15}
    assert told["claiming"] == sum(bool(one["arms"][0]["predictive"]) for one in told["searches"])
    kept = [key for key in worked.lake.list("runs") if "/bench/search=noise-" in key]
    assert len(kept) == 3
    worked.lake.write_bytes(kept[0], b"{")
    damaged = CliRunner().invoke(main, [*words, "--seeds", "3"])
    assert (damaged.exit_code, "remove it" in damaged.output) == (1, True), damaged.output
    worked.lake.delete(kept[0])
    assert CliRunner().invoke(main, [*words, "--seeds", "3"]).exit_code == 0
    assert len(done[-1]) == 1


def test_a_replay_does_not_copy_what_control_arms_found(worked, tmp_path):
    worked.lake.write_bytes(run_key(worked.spec.run_id, "bench/search=noise-1/seed-0.json"), b"{}")
    scratch = Lake(str(tmp_path))
    assert replay(worked.published, scratch).equal
    assert not [key for key in scratch.list("") if "/bench/" in key]


MODEL = TierSettings(model="m", price=(Price(input=1.0, output=10.0),))
KEYLESS = Settings(
    llm={"url": "http://127.0.0.1:1/v1", "tiers": {tier.value: MODEL for tier in Tier}}
)


def asking_run(worked):
    """A run whose two calls took 3,000 and 200 tokens each, for $0.005 by today's price."""
    tokens = {"prompt_tokens": 3000, "cached_tokens": 0, "completion_tokens": 200}
    call = SimpleNamespace(paid=True, tier="quick_scan", status=CallStatus.SETTLED, **tokens)
    failed = SimpleNamespace(paid=False)
    spec = replace(worked.spec, tiers=dict.fromkeys(Tier, MODEL))
    return SimpleNamespace(id="mine-1", offline=False, spec=spec, calls=[call, call, failed])


def test_models_are_asked_for_no_more_than_was_given_and_the_estimate_is_told(worked, capsys):
    run = asking_run(worked)
    plan = plan_of(run, Asked(False, None), 4, KEYLESS)
    with pytest.raises(click.UsageError, match=r"about \$0\.040000, \$0\.010000 a search") as no:
        budget_a_search([plan], None)
    assert "by the tokens of mine-1's own 2 calls. Give --budget-usd" in str(no.value)
    with pytest.raises(click.UsageError, match=r"leaves \$0\.007500 for each"):
        budget_a_search([plan], 0.03)
    assert budget_a_search([plan], 0.1) == 25_000
    assert "at most $0.025000 each" in capsys.readouterr().err
    assert budget_a_search([plan_of(run, Asked(True, None), 4, KEYLESS)], None) == 0
    assert budget_a_search([replace(plan, searches=0)], None) == 0, "all are known"
    spec = spec_again(run.spec, "noise", 2, 25_000)
    assert spec.budget_usd_micros == 25_000
    assert {tier.model for tier in spec.tiers.values()} == {"m"}
    assert {tier.model for tier in spec_again(run.spec, "noise", 2).tiers.values()} == {
        "offline-proposer"
    }


def test_a_call_is_waited_for_and_given_up_as_a_workers_job_is():
    clock, asked = ManualClock(), []

    class Gateway:
        def ask(self, call):
            asked.append(call.retries)
            if len(asked) < 3:
                raise RetryLater("its turn is far", 30.0, counts=False)
            raise RetryLater("no answer", 5.0)

    call = a_call()
    started_s = clock.monotonic_s()
    with pytest.raises(GiveUp, match="no answer, 2 times in a row"):
        Patient(Gateway(), clock, 2).ask(call)
    assert asked == [0, 0, 0, 1]
    assert clock.monotonic_s() - started_s == 65.0


def a_call():
    return Call("r", "c", "quick_scan", MODEL, (), Caps(1, 1))


def test_what_processes_leave_when_they_are_ended_lies_in_a_folder_of_their_parent(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", None)
    cores = pa.cpu_count()
    try:
        processes._begin(str(tmp_path))
        assert tempfile.mkdtemp().startswith(str(tmp_path))
    finally:
        pa.set_cpu_count(cores)
