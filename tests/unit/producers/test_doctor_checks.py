"""What doctor concludes from what it found; nothing here opens a socket."""

from __future__ import annotations

import threading
import time
from datetime import date

import pytest

from alphamill.errors import Misconfigured, RetryLater
from alphamill.frames import Market
from alphamill.ledger.presence import Worker
from alphamill.llm.endpoint.failures import KeyRefused
from alphamill.redis_address import shown
from alphamill.settings import BinanceSettings, LLMSettings, Price, Settings, Tier, TierSettings
from producers.check import local, remote
from producers.check.examine import ask_all
from producers.check.local import failed, ok
from tests.deadlines import ANSWER_S
from tests.loopback import Handler, serving

KEY = "sk-very-secret-key"


@pytest.mark.parametrize(
    ("skew_ms", "error_ms", "state", "words"),
    [
        (200, 50, "ok", "within"),
        (-900, 10, "ok", "within"),
        (1200, 500, "ok", "within"),
        (2300, 100, "warn", "2.3 s behind"),
        (-5000, 100, "warn", "5.0 s ahead of"),
    ],
)
def test_a_clock_is_off_only_if_the_round_trip_cannot_explain_it(skew_ms, error_ms, state, words):
    check = remote.clock_check(skew_ms, error_ms)
    assert check.state == state
    assert words in check.detail


def test_the_limit_says_when_the_exchange_would_allow_more():
    check = remote.limit_check(6000, BinanceSettings(), Market.SPOT)
    assert "2,940 kline requests" in check.detail  # 98 % of 6,000, at weight 2
    assert check.detail.endswith("uses 1,200")
    assert check.cure == "raise it to use more"
    both = remote.limit_check(2400, BinanceSettings(requests_per_minute=9000), Market.COIN_M)
    assert "weight 2,400/min, USD-M and COIN-M together, 1,176 kline requests" in both.detail
    apart = BinanceSettings(cm_url="https://proxy.example")
    for market, settings in ((Market.COIN_M, apart), (Market.SPOT, BinanceSettings())):
        assert "together" not in remote.limit_check(2400, settings, market).detail
    tight = remote.limit_check(1200, BinanceSettings(), Market.SPOT)
    assert "the weight binds" in tight.detail


def worker(pool, queues=()):
    return Worker(f"{pool}-1@host", pool, tuple(queues), 4, 1)


def test_pools_without_a_worker_are_named_with_the_command():
    here = [worker(pool) for pool in ("fetch", "features", "control")]
    check = local.workers_check(here)
    assert check.state == "fail"
    assert check.detail.endswith("none for evaluate, llm")
    assert check.cure == "start them: alphamill worker evaluate; alphamill worker llm"
    assert local.workers_check([]).cure == "start them: alphamill up"


def test_a_worker_with_queues_of_its_own_choice_counts():
    here = [worker(pool) for pool in ("fetch", "features", "evaluate", "control")]
    assert local.workers_check([*here, worker("", ["llm.quick_scan"])]).state == "ok"


def test_a_clock_that_is_faster_by_setting_is_not_taken_for_a_wrong_one():
    check = remote.simulated_clock_check(1_622_505_600_000, 900.0)
    assert (check.state, check.cure) == ("ok", "")
    assert "900 times as fast and says 2021-06-01 00:00 UTC" in check.detail


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"maxmemory_policy": "noeviction"}, "ok"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warn"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 10}, "fail"),
    ],
)
def test_a_server_that_evicts_loses_jobs(info, state):
    assert local._eviction(info).state == state


@pytest.mark.parametrize(
    ("version", "state"),
    [("6.2.14", "ok"), ("10.0", "ok"), ("6.0.16", "warn"), ("5.9", "warn"), ("?", "warn")],
)
def test_an_old_server_is_a_warning(version, state):
    assert local.server_check("redis", version, "h:1").state == state


class Configured:
    def __init__(self, save):
        self._save = save

    def config_get(self, _):
        return {"save": self._save}


@pytest.mark.parametrize(
    ("used", "limit", "state", "detail"),
    [
        (5_000_000, 0, "ok", "5.0 MB used, no limit"),
        (5_000_000, 10_000_000, "ok", "5.0 MB of 10.0 MB used"),
        (8_000_000, 10_000_000, "warn", "8.0 MB of 10.0 MB used"),
        (10_000_000, 10_000_000, "fail", "Redis is full (10.0 MB of 10.0 MB used): it takes"),
    ],
)
def test_memory(used, limit, state, detail):
    check = local.memory_check({"used_memory": used, "maxmemory": limit})
    assert check.state == state
    assert check.detail.startswith(detail)


@pytest.mark.parametrize(
    ("info", "save", "state"),
    [
        ({"aof_enabled": 1}, "", "ok"),
        ({"aof_enabled": 0}, "3600 1", "warn"),
        ({"aof_enabled": 0}, "", "fail"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "", "fail"),
    ],
)
def test_persistence(info, save, state):
    assert local._persistence(info, Configured(save)).state == state


@pytest.mark.parametrize(
    "url", ["redis://:hunter2@host:6380/0", "redis://user:hunter2@host:no", "hunter2-is-no-url"]
)
def test_no_address_is_shown_with_its_password(url):
    assert "hunter2" not in shown(url)


def test_a_refused_key_is_named_by_its_status_and_never_repeated():
    error = KeyRefused("ALPHAMILL_LLM_API_KEY", f"refused (HTTP 401: wrong key {KEY[:8]}***)", "x")
    check = remote._key_problem(error, has_key=True, host="api.host")
    assert "HTTP 401" in check.detail
    assert KEY[:8] not in f"{check}"
    assert "none is set" in remote._key_problem(error, has_key=False, host="h").detail


def settings_of(model, **price):
    tiers = {tier: TierSettings(model=model) for tier in Tier}
    prices = {model: Price(input=1, output=1, **price)} if price else {}
    return Settings(llm=LLMSettings(tiers=tiers, prices=prices))


def test_a_tier_without_a_price_fails_and_one_that_retires_warns():
    unpriced = remote.prices_check(settings_of("unheard-of"))
    assert unpriced.state == "fail"
    assert "unheard-of" in unpriced.detail
    assert remote.prices_check(settings_of("mine", as_of="2026-01-01")).state == "ok"
    soon = remote.prices_check(settings_of("gpt-4.1"), today=date(2026, 11, 15))
    assert soon.state == "warn"
    assert soon.detail.startswith("gpt-4.1 retires on 2027-01-14 (OpenAI's deprecations page")
    assert soon.cure == "set a successor, such as gpt-6-luna, in llm.tiers"
    assert remote.prices_check(settings_of("gpt-4.1"), date(2026, 11, 14)).state == "ok"
    gone = remote.prices_check(settings_of("gpt-4.1"), date(2027, 1, 14))
    assert gone.detail.startswith("gpt-4.1 retired on 2027-01-14")


def test_each_model_that_ends_is_named_whoever_gave_its_price():
    """A fallback's too, and under a vendor's prefix."""
    other = {"model": "openai/gpt-4o-mini", "price": {"input": 1, "output": 1}}
    tier = TierSettings(model="mine", fallbacks=("gpt-4.1", other, "claude-sonnet-4.5"))
    prices = {"mine": Price(input=1, output=1), "gpt-4.1": Price(input=2, output=8)}
    llm = LLMSettings(tiers=dict.fromkeys(Tier, tier), prices=prices)
    check = remote.prices_check(Settings(llm=llm), date(2026, 12, 1))
    assert check.state == "warn"
    for said in (
        "gpt-4.1 retires on 2027-01-14",
        "openai/gpt-4o-mini retires on 2027-01-14",
        "claude-sonnet-4.5 retired on 2026-11-30",
    ):
        assert said in check.detail
    assert "claude-sonnet-5.5" in check.cure
    assert "mine" not in check.detail


def test_the_models_of_the_defaults_do_not_retire_soon():
    check = remote.prices_check(Settings(), date(2026, 11, 30))
    assert (check.state, check.detail) == ("ok", "each tier's model has one, as of 2026-11-30")


def fine(name):
    def probe():
        yield ok(name, "fine")

    return probe


def test_probes_are_answered_in_order_and_one_that_fails_hides_no_other():
    def misconfigured():
        yield ok("redis", "fine")
        raise Misconfigured("ALPHAMILL_LAKE", "no space", "free some")

    def broken():
        raise KeyError(KEY)
        yield

    def later():
        raise RetryLater("no answer")
        yield

    checks = ask_all({"a": misconfigured, "b": broken, "c": later, "d": fine("d")}, patience_s=20.0)
    assert [(check.name, check.state) for check in checks] == [
        ("redis", "ok"),
        ("a", "fail"),
        ("b", "fail"),
        ("c", "fail"),
        ("d", "ok"),
    ]
    assert checks[1].cure == "ALPHAMILL_LAKE: free some"
    assert checks[2].detail == "the check broke (KeyError)"
    assert KEY not in str(checks)


def test_a_probe_that_hangs_is_left_behind():
    release = threading.Event()

    def hangs():
        yield ok("first", "fine")
        release.wait(5 * ANSWER_S)

    began_s = time.monotonic()
    checks = ask_all({"slow": hangs, "quick": fine("quick")}, patience_s=1)
    release.set()
    assert time.monotonic() - began_s < ANSWER_S
    assert [(check.name, check.state) for check in checks] == [
        ("first", "ok"),
        ("slow", "fail"),
        ("quick", "ok"),
    ]
    assert "no answer within 1 s" in checks[1].detail


def test_each_endpoint_is_checked_with_its_own_key_and_models():
    away = {"model": "deepseek-flash", "url": "https://api.deepseek.com/v1", "key_env": "NOT_SET"}
    dead = {"model": "tiny", "url": "http://127.0.0.1:9/v1"}
    tier = TierSettings(model="gpt-4.1", fallbacks=(away, dead))
    llm = LLMSettings(url="http://127.0.0.1:1/v1", tiers=dict.fromkeys(Tier, tier))
    checks = list(remote.llm_checks(Settings(llm=llm)))
    assert [(check.name, check.state) for check in checks] == [("llm", "fail")] * 3
    assert "NOT_SET" in f"{checks[1].detail} {checks[1].cure}"  # named, and nothing was sent
    assert checks[0].cure.startswith("correct ALPHAMILL_LLM_URL")
    assert checks[2].cure.startswith("correct the url of 127.0.0.1")


def test_what_one_endpoint_refuses_is_told_with_its_cure_and_hides_no_other():
    region = {"message": "Country, region, or territory not supported"}
    header = {"message": "Either x-portkey-config or x-portkey-provider header is required"}
    answers = {
        "/region/v1/models": (403, {"error": region}),
        "/portkey/v1/models": (400, header),
        "/good/v1/models": (200, {"data": [{"id": "gpt-4.1"}]}),
    }

    class Provider(Handler):
        def do_GET(self) -> None:
            self.reply(*answers[self.path])

    with serving(Provider) as (_, url):
        others = ({"model": "gpt-4.1", "url": f"{url}/{name}/v1"} for name in ("portkey", "good"))
        tier = TierSettings(model="gpt-4.1", fallbacks=tuple(others))
        llm = LLMSettings(url=f"{url}/region/v1", tiers=dict.fromkeys(Tier, tier))
        checks = list(remote.llm_checks(Settings(llm=llm)))
    assert [check.state for check in checks] == ["fail", "fail", "ok", "ok"]
    assert "does not serve this region" in checks[0].detail
    assert "key" not in checks[0].cure
    assert "set it under [llm.headers]" in f"{checks[1].detail} {checks[1].cure}"


def test_a_fallback_without_a_price_fails_too_and_a_tiers_own_price_counts():
    unpriced = TierSettings(model="gpt-4.1", fallbacks=("unheard-of",))
    llm = LLMSettings(tiers=dict.fromkeys(Tier, unpriced))
    assert remote.prices_check(Settings(llm=llm)).state == "fail"
    priced = TierSettings(model="mine", price={"input": 1, "output": 1, "as_of": "2026-01-01"})
    llm = LLMSettings(tiers=dict.fromkeys(Tier, priced))
    assert remote.prices_check(Settings(llm=llm)).detail.endswith("as of 2026-01-01")


def test_what_an_error_says_to_do_is_the_cure():
    check = failed("exchange", RetryLater("no answer; check the network, or wait", 5.0))
    assert (check.detail, check.cure) == ("no answer", "check the network, or wait")
    assert failed("exchange", RetryLater("no answer", 5.0)).cure == ""


def test_two_questions_to_the_exchange_have_two_names_and_its_port_is_told(monkeypatch):
    class Half:
        """Tells the time, and then nothing more."""

        def __init__(self, *_arguments, **_options):
            pass

        def server_time_ms(self):
            return 0

        def weight_limit(self):
            raise RetryLater("timed out after 5 s", 1.0)

        def close(self):
            pass

    monkeypatch.setattr(remote, "Binance", Half)
    settings = Settings(
        redis_url="redis://127.0.0.1:1/0", binance={"spot_url": "http://127.0.0.1:8123"}
    )
    checks = list(remote.exchange_checks(settings, Market.SPOT))
    assert [(check.name, check.state) for check in checks] == [
        ("exchange", "ok"),
        ("clock", "warn"),
        ("limits", "fail"),
    ]
    assert "127.0.0.1:8123 answers in" in checks[0].detail
    assert "timed out" in checks[2].detail
